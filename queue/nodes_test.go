package queue

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/store"
	"gatepost/trace"
)

// Two nodes on one store share the mail that waits, and deliver nothing twice.
func TestTwoNodesDeliverOnce(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		const n = 1500
		for i := range 3 {
			r.fill(n/3, fmt.Sprintf("mx:there%d.example", i), 7)
		}
		r.deliverer.hold(func(context.Context, Job) { time.Sleep(100 * time.Millisecond) })
		one, two := r.start(), r.start()
		for i := range 50 {
			r.accept(one, r.message(fmt.Sprintf("bob@there%d.example", i%3)))
			r.accept(two, r.message(fmt.Sprintf("bob@there%d.example", i%3)))
		}
		pass(2 * time.Minute)
		seen := map[mail.ID]int{}
		for _, job := range r.deliverer.jobs {
			seen[job.Message.ID]++
		}
		for id, times := range seen {
			if times != 1 {
				t.Errorf("%s was delivered %d times", id, times)
			}
		}
		if len(seen) != n+100 {
			t.Errorf("%d of %d delivered", len(seen), n+100)
		}
		r.empty()
		if a := r.account(); len(a.Faults) > 0 {
			t.Errorf("%v", a.Faults)
		}
	})
}

// Where two nodes see that a destination is due for its probe, one goes.
func TestOneProbeOfTwoNodes(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.deliverer.set(func(Job, Pending) Result { return siteDown() })
		one := r.start()
		r.start()
		for range 5 {
			r.accept(one, r.message("bob@down.example"))
		}
		settle()
		before := r.deliverer.count()
		pass(90 * time.Second)
		if n := r.deliverer.count() - before; n != 1 {
			t.Errorf("%d probes", n)
		}
	})
}

// A node that died is taken over when its lease has run out, and its late
// outcomes are refused.
func TestTakeover(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		release := make(chan struct{})
		r.deliverer.hold(func(_ context.Context, job Job) {
			if job.Message.Envelope.Recipients[0].Address.Local() == "slow" {
				<-release
			}
		})
		short := func(o *Options) { o.Lease = time.Minute }
		one := r.start(short)
		slow := r.accept(one, r.message("slow@there.example"))
		settle()
		lease := r.deliverer.last().Lease
		if err := lease(t.Context()); err != nil {
			t.Fatalf("lease: %v", err)
		}
		r.exec("UPDATE node SET until = 1") // the database thinks it dead
		r.deliverer.hold(nil)
		r.start(short)
		pass(5 * time.Second)
		if n := r.deliverer.count(); n != 2 {
			t.Fatalf("%d attempts after the takeover", n)
		}
		if got := r.kinds(slow); got != "delivered" {
			t.Fatalf("trace: %s", got)
		}
		pass(time.Minute) // one finds out
		if err := lease(t.Context()); err == nil {
			t.Error("the lease of the ended incarnation is good")
		}
		close(release)
		settle()
		if got := r.kinds(slow); got != "delivered" {
			t.Errorf("the late outcome was written: %s", got)
		}
		id := r.accept(one, r.message("bob@there.example"))
		settle()
		if got := r.kinds(id); got != "delivered" {
			t.Errorf("the node does not go on as a new incarnation: %q", got)
		}
	})
}

// The late outcome of a dead node finds the row as it was, but for its owner.
func TestLateOutcomeIsRefused(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		release := make(chan struct{})
		r.deliverer.hold(func(context.Context, Job) { <-release })
		one := r.start()
		id := r.accept(one, r.message("bob@there.example"))
		settle()
		r.exec("UPDATE recipient SET owner = 0") // as a takeover does
		close(release)
		pass(5 * time.Second)
		if n := r.deliverer.count(); n != 2 {
			t.Errorf("%d attempts: the first one had lost the row, the second one took it", n)
		}
		if got := r.kinds(id); got != "delivered" || len(r.observer.of(trace.KindDelivered)) != 1 {
			t.Errorf("trace: %s", got)
		}
		r.empty()
	})
}

// Rows that change between the reading and the claiming are left alone, and
// read again.
func TestRowThatChangesWhileItIsClaimed(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.accept(r.make(), r.message("bob@there.example"))
		changed := false
		r.faults.setBefore(func(_ int, statements []store.Statement) error {
			if !changed && strings.HasPrefix(statements[0].SQL, "UPDATE recipient SET owner = ? ") {
				changed = true
				r.exec("UPDATE recipient SET due = due + 1")
			}
			return nil
		})
		r.start()
		pass(5 * time.Second)
		if n := r.deliverer.count(); n != 1 || !changed {
			t.Errorf("%d attempts", n)
		}
		r.empty()
	})
}

// A destination that another node wakes first is left to it.
func TestWakeThatAnotherNodeTakes(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.accept(r.make(), r.message("bob@there.example"))
		r.faults.setBefore(func(_ int, statements []store.Statement) error {
			if strings.HasPrefix(statements[0].SQL, "UPDATE destination SET wake_at") {
				r.exec("UPDATE destination SET stamp = stamp + 1, wake_at = wake_at + 3600000")
			}
			return nil
		})
		r.start()
		pass(5 * time.Second)
		if n := r.deliverer.count(); n != 0 {
			t.Errorf("%d attempts", n)
		}
	})
}

// The store does not even answer: nobody renews the lease and nobody notices,
// but no attempt begins without it.
func TestNoAnswerNoDelivery(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start(func(o *Options) { o.Lease, o.Window = 30*time.Second, 1 })
		release := make(chan struct{})
		r.deliverer.hold(func(context.Context, Job) { <-release })
		r.accept(q, r.message("bob@there.example"))
		r.accept(q, r.message("bob@there.example"))
		settle()
		r.faults.setBefore(func(_ int, statements []store.Statement) error {
			if strings.HasPrefix(statements[0].SQL, "UPDATE node") {
				time.Sleep(time.Hour)
			}
			return nil
		})
		pass(40 * time.Second)
		close(release)
		pass(time.Second)
		if n := r.deliverer.count(); n != 1 {
			t.Errorf("%d attempts", n)
		}
		r.faults.setBefore(nil)
		pass(2 * time.Hour)
		r.empty()
	})
}

// While the store is out of reach the lease runs out, and nothing new starts.
func TestNoLeaseNoDelivery(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start(func(o *Options) { o.Lease, o.Window = 30*time.Second, 1 })
		release := make(chan struct{})
		r.deliverer.hold(func(context.Context, Job) { <-release })
		r.accept(q, r.message("bob@there.example"))
		r.accept(q, r.message("bob@there.example"))
		settle()
		lease := r.deliverer.last().Lease
		r.faults.fail(store.ErrUnavailable)
		pass(20 * time.Second)
		if err := lease(t.Context()); err != nil {
			t.Errorf("the lease is lost after 20s: %v", err)
		}
		pass(20 * time.Second)
		if err := lease(t.Context()); err == nil {
			t.Error("the lease is good after 40s")
		}
		close(release)
		r.faults.fail(nil)
		r.deliverer.hold(nil)
		pass(time.Minute)
		if n := len(r.observer.of(trace.KindDelivered)); n != 2 {
			t.Errorf("%d delivered when the store is back", n)
		}
		r.empty()
	})
}

func TestShutdown(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.start(func(o *Options) { o.Window = 1 })
		release := make(chan struct{})
		r.deliverer.hold(func(ctx context.Context, _ Job) {
			select {
			case <-release:
			case <-ctx.Done():
			}
		})
		r.accept(q, r.message("bob@there.example"))
		r.accept(q, r.message("eve@there.example"))
		r.accept(q, r.message("stuck@elsewhere.example"))
		settle()
		r.deliverer.set(func(j Job, _ Pending) Result {
			if j.Dest == "mx:there.example" {
				return ok()
			}
			return Result{Status: mail.ReplyShuttingDown.Status(mail.ScopeSession)}
		})
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		ended := make(chan struct{})
		go func() {
			q.Shutdown(ctx)
			close(ended)
		}()
		pass(time.Second)
		for range 1 {
			release <- struct{}{} // the first of the two ends in peace; which is not known
		}
		late := r.accept(q, r.message("late@there.example"))
		pass(5 * time.Second)
		select {
		case <-ended:
			t.Fatal("Shutdown did not wait for the running attempt")
		default:
		}
		pass(10 * time.Second)
		<-ended
		if n := r.deliverer.count(); n != 2 {
			t.Errorf("%d attempts, none may start in a shutdown", n)
		}
		if n := r.count("SELECT COUNT(*) FROM recipient WHERE owner <> 0"); n != 0 {
			t.Errorf("%d rows are still owned", n)
		}
		if got := r.kinds(late); got != "" {
			t.Errorf("late mail: %s", got)
		}
		r.deliverer.hold(nil)
		r.deliverer.set(func(Job, Pending) Result { return ok() })
		r.start()
		pass(5 * time.Second)
		r.empty()
		if a := r.account(); a.Ends[trace.KindDelivered] != 4 {
			t.Errorf("account: %+v", a)
		}
	})
}

func TestRunTwice(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start()
		if err := q.Run(t.Context()); err != ErrRunning {
			t.Errorf("second Run: %v", err)
		}
	})
}

// A next hop that was removed keeps no mail, whether it waits in the store,
// behind a back-off, in a suspended destination or in memory.
func TestReroute(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.deliverer.set(func(j Job, _ Pending) Result {
			if j.Dest == "hop:new" {
				return ok()
			}
			return siteDown()
		})
		q := r.start(func(o *Options) { o.Window = 1 })
		for _, dest := range []string{"down.example", "stopped.example", "busy.example"} {
			if dest == "stopped.example" {
				if err := q.Suspend(t.Context(), "mx:"+dest, true); err != nil {
					t.Fatal(err)
				}
			}
			if dest == "busy.example" {
				r.deliverer.hold(func(_ context.Context, job Job) {
					if job.Dest == "mx:busy.example" {
						time.Sleep(10 * time.Second)
					}
				})
			}
			for range 3 {
				r.accept(q, r.message("bob@"+dest))
			}
			settle()
			r.router.move("mx:"+dest, "hop:new")
		}
		q.Reroute()
		pass(15 * time.Second)
		pass(5 * time.Second)
		if n := r.count("SELECT COUNT(*) FROM recipient WHERE dest <> 'hop:new'"); n != 0 {
			t.Errorf("%d recipients are still on their old way", n)
		}
		pass(time.Minute)
		r.empty()
		r.balance(q)
	})
}

// The routes may also have changed while the gateway was down.
func TestRerouteAtTheStart(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.accept(r.make(), r.message("bob@there.example"))
		r.exec("UPDATE destination SET fails = 3, wake_at = wake_at + 3600000")
		r.router.move("mx:there.example", "hop:new")
		r.start()
		pass(3 * time.Second)
		if n := r.deliverer.count(); n != 1 || r.deliverer.last().Dest != "hop:new" {
			t.Errorf("%d attempts", n)
		}
	})
}

// Between the reading of a row and its claim another node may have taken it,
// or an administrator may have wished something.
func TestClaimTakesOnlyWhatIsStillAsItWasRead(t *testing.T) {
	for name, meanwhile := range map[string]string{
		"another node": "UPDATE recipient SET owner = 77",
		"a wish":       "UPDATE recipient SET wish = 'hold alice'",
		"held":         "UPDATE recipient SET state = 1",
	} {
		t.Run(name, func(t *testing.T) {
			onSQLite(t, func(t *testing.T, r *rig) {
				r.exec("INSERT INTO node (incarnation, until) VALUES (77, ?)", millis(clock().AddDate(1, 0, 0)))
				id := r.accept(r.make(), r.message("bob@there.example"))
				done := false
				r.faults.setBefore(func(_ int, statements []store.Statement) error {
					if !done && strings.HasPrefix(statements[0].SQL, "UPDATE recipient SET owner = ? WHERE") {
						done = true
						r.exec(meanwhile)
					}
					return nil
				})
				r.start()
				pass(time.Second)
				if !done {
					t.Fatal("nothing was claimed")
				}
				for _, job := range r.deliverer.jobs {
					if job.Dest == "mx:there.example" {
						t.Errorf("delivered: %s", r.kinds(id))
					}
				}
			})
		})
	}
}
