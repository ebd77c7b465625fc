package queue

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/mail"
	"gatepost/store"
	"gatepost/store/storetest"
	"gatepost/trace"
)

// The queue is killed before and after each of its commits, and another one
// goes on with what it left. Whatever was accepted comes to its end.
func TestCrashAtEveryCommit(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		crashed := true
		for n := 1; crashed; n++ {
			t.Run(fmt.Sprintf("%s commit %d", when, n), func(t *testing.T) {
				dir := t.TempDir()
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, storetest.Open(t, store.Options{URL: "sqlite", Dir: dir, Schemas: []store.Schema{Schema, trace.Schema}}))
					defer r.close()
					crashed = crashOnce(t, r, n, when == "after")
				})
			})
			if n < 20 && !crashed {
				t.Fatalf("the scenario takes only %d commits", n)
			}
		}
	}
}

// crashOnce tells whether there was a crash.
func crashOnce(t *testing.T, r *rig, at int, after bool) (crashed bool) {
	r.deliverer.set(func(j Job, p Pending) Result {
		switch {
		case p.Address.Local() == "nobody":
			return permanent()
		case p.Address.Local() == "grey" && p.Attempts == 0:
			return temporary()
		case j.Dest == "mx:down.example" && !j.Probe:
			return siteDown()
		}
		return ok()
	})
	crash := func(n int, _ []store.Statement) error {
		if n < at {
			return nil
		}
		r.faults.kill()
		return errCrashed
	}
	if after {
		r.faults.setAfter(crash)
	} else {
		r.faults.setBefore(crash)
	}
	q := r.start(func(o *Options) { o.Alone, o.Poll = true, 5*time.Second })
	accepted := acceptSome(r, q)
	pass(3 * time.Minute)
	crashed = r.faults.isDead()
	r.faults.setBefore(nil)
	r.faults.setAfter(nil)
	r.crash(q)

	r.start(func(o *Options) { o.Alone, o.Poll = true, 10*time.Second })
	pass(15 * time.Minute)
	account := r.account()
	if len(account.Faults) > 0 {
		t.Errorf("the trace contradicts itself: %v", account.Faults)
	}
	for _, m := range accepted {
		ends := map[string]int{}
		for _, e := range r.life(m.ID) {
			if e.Kind.Ends() {
				ends[e.Recipient.String()]++
			}
		}
		for _, to := range m.Envelope.Recipients {
			if ends[to.Address.String()] != 1 {
				t.Errorf("%s of %s ended %d times: %s", to.Address, m.ID, ends[to.Address.String()], r.kinds(m.ID))
			}
		}
	}
	r.empty()
	if t.Failed() {
		r.dump()
	}
	return crashed
}

// acceptSome gives the messages that were accepted before the crash.
func acceptSome(r *rig, q *running) (accepted []*mail.Message) {
	large := r.message("bob@there.example")
	large.Content = mail.MemoryBody(make([]byte, 3*chunkSize))
	for _, m := range []*mail.Message{
		r.message("bob@there.example"),
		r.message("bob@there.example", "grey@there.example", "nobody@elsewhere.example"),
		large,
		r.message("bob@down.example", "eve@there.example"),
		r.message("eve@down.example"),
	} {
		if q.Accept(context.Background(), m) == nil {
			accepted = append(accepted, m)
		}
		settle()
	}
	return accepted
}

// The outcome of an attempt survives trouble with the store in memory, and its
// place stays taken meanwhile.
func TestOutcomeWaitsForTheStore(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.start(func(o *Options) { o.Concurrency = 2 })
		release := make(chan struct{})
		r.deliverer.hold(func(context.Context, Job) { <-release })
		for i := range 5 {
			r.accept(q, r.message(fmt.Sprintf("bob@there%d.example", i)))
		}
		settle()
		r.faults.fail(store.ErrUnavailable)
		close(release)
		pass(5 * time.Minute)
		if n := r.deliverer.count(); n != 2 {
			t.Errorf("%d attempts while the store is gone, 2 at once are allowed", n)
		}
		r.faults.fail(nil)
		pass(time.Minute)
		if n := r.deliverer.count(); n != 5 {
			t.Errorf("%d attempts for 5 messages", n)
		}
		r.empty()
		r.balance(q)
	})
}

func TestOutcomeWhoseCommitWasLost(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.start()
		r.deliverer.set(func(j Job, _ Pending) Result {
			if j.Dest == "mx:there.example" {
				return permanent()
			}
			return ok()
		})
		r.faults.setAfter(func(_ int, statements []store.Statement) error {
			if strings.HasPrefix(statements[0].SQL, dropRow) {
				r.faults.setAfter(nil)
				return fmt.Errorf("test: %w", store.ErrUnknown)
			}
			return nil
		})
		id := r.accept(q, r.message("bob@there.example"))
		pass(time.Minute)
		if got := r.kinds(id); got != "bounced" {
			t.Errorf("trace: %s", got)
		}
		if n := len(r.notices()); n != 1 {
			t.Errorf("%d notices", n)
		}
		if len(r.observer.of(trace.KindBounced)) != 1 {
			t.Error("not observed")
		}
		r.empty()
		r.balance(q)
	})
}

// Two recipients of a message end at the same moment: each batch counts on the
// other one being still there.
func TestRecipientsThatEndTogether(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.start()
		for range 20 {
			release := make(chan struct{})
			r.deliverer.hold(func(context.Context, Job) { <-release })
			r.accept(q, r.message("a@one.example", "b@two.example", "c@three.example"))
			settle()
			close(release)
			pass(time.Minute)
		}
		if a := r.account(); a.Ended != 20 || a.Ends[trace.KindDelivered] != 60 {
			t.Errorf("account: %+v", a)
		}
		if n := r.deliverer.count(); n != 60 {
			t.Errorf("%d attempts", n)
		}
		r.empty()
		r.balance(q)
	})
}
