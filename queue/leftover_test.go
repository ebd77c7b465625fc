package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/store"
	"gatepost/trace"
)

// A message whose commit got lost, and which no lookup could find out about,
// was in the store, owned by this node and in nobody's memory: it would have
// waited there for the next restart.
func TestMessageThatNobodyKnewOfIsDelivered(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.start()
		r.faults.setAfter(func(int, []store.Statement) error {
			r.faults.kill()
			return fmt.Errorf("test: %w", store.ErrUnknown)
		})
		m := r.message("bob@there.example", "carol@elsewhere.example")
		var failure *Error
		if err := q.Accept(t.Context(), m); !errors.As(err, &failure) || failure.Reason != ReasonUnknown {
			t.Errorf("Accept says %v", err)
		}
		r.faults.setAfter(nil)
		r.faults.revive()
		pass(time.Minute)
		if got := r.kinds(m.ID); got != "delivered delivered" {
			t.Errorf("trace: %q", got)
			r.dump()
		}
		r.empty()
	})
}

// The lookup came before the lost commit had happened: the client was told
// that its message is not stored, and then it was.
func TestLostCommitThatComesLate(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.start()
		var late []store.Statement
		r.faults.setBefore(func(_ int, statements []store.Statement) error {
			if late == nil {
				late = statements
				return fmt.Errorf("test: %w", store.ErrUnknown)
			}
			r.faults.setBefore(nil)
			_, err := r.store.Submit(context.Background(), late...)
			return err
		})
		m := r.message("bob@there.example")
		if err := q.Accept(t.Context(), m); err != nil {
			t.Errorf("Accept says %v", err)
		}
		pass(time.Minute)
		if got := r.kinds(m.ID); got != "delivered" {
			t.Errorf("trace: %q", got)
			r.dump()
		}
		r.empty()
		r.balance(q)
	})
}

// When the outcome of a failed attempt turned out not to be ours, the rows
// that were to be released with it stayed owned, in nobody's memory.
func TestSiblingsOfAnOutcomeThatIsNotOursAreReleased(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		r.options.Window = 1
		q := r.start()
		first := r.message("bob@there.example")
		r.deliverer.hold(func(context.Context, Job) {
			r.deliverer.hold(nil)
			time.Sleep(time.Second) // the others come meanwhile
			r.exec("UPDATE recipient SET due = due + 1 WHERE message = ?", int64(first.ID))
		})
		r.deliverer.set(func(Job, Pending) Result { return siteDown() })
		r.accept(q, first)
		settle()
		for range 3 {
			r.accept(q, r.message("bob@there.example"))
		}
		pass(2 * time.Second)
		r.deliverer.set(func(Job, Pending) Result { return ok() })
		pass(10 * time.Minute)
		if got := r.count("SELECT COUNT(*) FROM recipient WHERE owner <> 0"); got != 0 {
			t.Errorf("%d rows are owned and in nobody's memory", got)
		}
		if got := len(r.observer.of(trace.KindDelivered)); got != 4 {
			t.Errorf("%d of 4 delivered", got)
			r.dump()
		}
	})
}

// What was kept in memory for messages that were refused in the end was
// never given back, and after 32 MiB of them nothing was kept any more.
func TestRefusedMessagesGiveTheirMemoryBack(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start()
		r.faults.fail(fmt.Errorf("test: %w", store.ErrFull))
		for range 10 {
			if q.Accept(t.Context(), r.message("bob@there.example")) == nil {
				t.Fatal("accepted by a full store")
			}
		}
		r.faults.fail(nil)
		if kept := q.kept.Load(); kept != 0 {
			t.Errorf("%d octets are counted for messages that are not there", kept)
		}
	})
}

// Content that several attempts share counts until the last of them ended:
// one slow destination could keep thousands of messages in memory, none of
// which counted.
func TestSharedContentCountsUntilTheLastAttempt(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start()
		slow, cancel := context.WithCancel(t.Context())
		defer cancel()
		r.deliverer.hold(func(_ context.Context, job Job) {
			if job.Dest == "mx:slow.example" {
				<-slow.Done()
			}
		})
		r.accept(q, r.message("bob@fast.example", "carol@slow.example"))
		settle()
		if got := len(r.observer.of(trace.KindDelivered)); got != 1 {
			t.Fatalf("%d delivered", got)
		}
		if q.kept.Load() == 0 {
			t.Error("the content is still in memory and does not count")
		}
		cancel()
		settle()
		if kept := q.kept.Load(); kept != 0 {
			t.Errorf("%d octets are counted for a message that is delivered", kept)
		}
		r.empty()
	})
}

// A wall clock that steps back made the lease of a node that cannot renew it
// longer than the database had granted: two nodes would have delivered.
func TestLeaseEndsThoughTheClockStepsBack(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		var step atomic.Int64
		q := r.start(func(o *Options) {
			o.Lease = 30 * time.Second
			o.Now = func() time.Time { return wall(clock().Add(time.Duration(step.Load()))) }
			o.Steady = clock
		})
		r.faults.kill()
		step.Store(int64(-time.Hour))
		pass(31 * time.Second)
		if q.holds(q.lease.incarnation.Load()) {
			t.Error("the lease holds longer than the store granted it")
		}
		r.faults.revive()
	})
}

// wall takes the monotonic reading off.
func wall(t time.Time) time.Time { return t.Round(0) }

// Each destination that failed once left its place in the reading of its rows
// in memory.
func TestPlacesOfWalksAreBounded(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.make()
		for i := range 3 * destinationsKnown {
			if _, err := q.walkOf(t.Context(), fmt.Sprintf("mx:%d.example", i)); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(q.keeper.walks); n > destinationsKnown {
			t.Errorf("%d walks", n)
		}
	})
}

// One recipient that this program cannot read, as after a change of what an
// address may be, kept all others of its destination from being read, and all
// whose time had come from being ended.
func TestRecipientThatCannotBeReadHidesNoOther(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		bad := r.accept(r.make(), r.message("bob@there.example"))
		r.exec("UPDATE recipient SET address = ? WHERE message = ?", []byte("\xff@@"), int64(bad))
		for range 3 {
			r.accept(r.make(), r.message("bob@there.example"))
		}
		q := r.start(slowly, func(o *Options) { o.Poll = time.Second })
		pass(time.Minute)
		if n := len(r.observer.of(trace.KindDelivered)); n != 3 {
			t.Errorf("%d of 3 delivered", n)
		}
		if n := r.count("SELECT COUNT(*) FROM recipient WHERE state = 1 AND owner = 0"); n != 1 {
			t.Errorf("%d held", n)
		}
		if all, err := q.List(t.Context(), Filter{}); err != nil || len(all) != 1 {
			t.Errorf("list: %v, %v", all, err)
		}
		progress, err := q.Delete(t.Context(), Choice{ID: bad}, "alice")
		if err != nil || progress.Waiting != 0 {
			t.Errorf("delete: %+v, %v", progress, err)
		}
		if got := r.kinds(bad); !strings.HasSuffix(got, "deleted") {
			t.Errorf("trace: %s", got)
		}
		pass(time.Hour)
		r.empty()
	})
}

// A message that cannot be read and whose time has come was tried every 30
// seconds, for ever, and five hundred of them hid all others.
func TestDueMessageThatCannotBeReadIsHeld(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		r.deliverer.set(func(Job, Pending) Result { return siteDown() })
		q := r.start(slowly)
		id := r.accept(q, r.message("bob@there.example"))
		settle()
		r.exec("UPDATE message SET meta = ? WHERE id = ?", []byte("{"), int64(id))
		r.exec("UPDATE recipient SET due = 1 WHERE message = ?", int64(id))
		pass(2 * time.Minute)
		if n := r.count("SELECT COUNT(*) FROM recipient WHERE state = 1 AND due > 1"); n != 1 {
			t.Errorf("%d held", n)
		}
	})
}

// One message that cannot be read kept all behind it at a next hop that is no
// more, and a failure of a second was made up for after a day.
func TestRerouteGoesOnBehindTrouble(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start(slowly)
		for _, dest := range []string{"mx:old.example", "mx:new.example"} {
			if err := q.Suspend(t.Context(), dest, true); err != nil {
				t.Fatal(err)
			}
		}
		bad := r.accept(q, r.message("bob@old.example"))
		r.accept(q, r.message("bob@old.example"))
		r.exec("UPDATE message SET meta = ? WHERE id = ?", []byte("{"), int64(bad))
		r.router.move("mx:old.example", "mx:new.example")
		var failed atomic.Bool
		r.faults.setBefore(func(_ int, statements []store.Statement) error {
			if strings.Contains(statements[0].SQL, "SET dest") && !failed.Swap(true) {
				return fmt.Errorf("test: %w", store.ErrUnavailable)
			}
			return nil
		})
		q.Reroute()
		pass(5 * time.Minute)
		if n := r.count("SELECT COUNT(*) FROM recipient WHERE dest = 'mx:new.example'"); n != 1 {
			t.Errorf("%d moved", n)
		}
	})
}

// What a node concluded when it had lost its lease stopped healthy
// destinations: its own attempts ended early, not theirs.
func TestLostLeaseIsNoFailureOfTheSite(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start(func(o *Options) { o.Lease = 30 * time.Second })
		r.deliverer.set(func(Job, Pending) Result {
			return Result{Status: mail.Status{Code: 451, Scope: mail.ScopeSession}}
		})
		r.deliverer.hold(func(context.Context, Job) { time.Sleep(40 * time.Second) })
		for range 2 * lossesOfSite {
			r.accept(q, r.message("bob@there.example"))
		}
		settle()
		r.faults.kill()
		pass(50 * time.Second)
		q.mu.Lock()
		d := q.scheduler.dests["mx:there.example"]
		if d == nil || d.fails > 0 {
			t.Errorf("%+v", d)
		}
		q.mu.Unlock()
		r.faults.revive()
	})
}
