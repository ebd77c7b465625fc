package queue

import (
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/trace"
)

func TestDelivered(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.start()
		id := r.accept(q, r.message("bob@there.example"))
		settle()
		if r.deliverer.count() != 1 {
			t.Fatalf("%d attempts", r.deliverer.count())
		}
		job := r.deliverer.last()
		if job.Dest != "mx:there.example" || job.Message.ID != id || job.Probe || len(job.Recipients) != 1 {
			t.Errorf("job: %+v", job)
		}
		if got := r.kinds(id); got != "delivered" {
			t.Errorf("trace: %s", got)
		}
		events := r.observer.of(trace.KindDelivered)
		if len(events) != 1 || events[0].Recipient.String() != "bob@there.example" || events[0].Attempts != 1 {
			t.Errorf("observed: %+v", events)
		}
		r.empty()
		r.balance(q)
	})
}

// A recipient that is put off is tried again by the schedule, and ends alone:
// the other one of its message has ended before.
func TestDeferredThenDelivered(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.start()
		r.deliverer.set(func(_ Job, p Pending) Result {
			if p.Address.Local() == "grey" && p.Attempts == 0 {
				return temporary()
			}
			return ok()
		})
		id := r.accept(q, r.message("bob@there.example", "grey@there.example", "eve@elsewhere.example"))
		settle()
		if r.deliverer.count() != 2 {
			t.Fatalf("%d attempts", r.deliverer.count())
		}
		if n := r.count("SELECT pending FROM message"); n != 1 {
			t.Errorf("pending %d", n)
		}
		pass(50 * time.Second)
		if r.deliverer.count() != 2 {
			t.Fatal("tried again before the schedule said so")
		}
		pass(30 * time.Second)
		if r.deliverer.count() != 3 {
			t.Fatalf("%d attempts after the first wait", r.deliverer.count())
		}
		if job := r.deliverer.last(); len(job.Recipients) != 1 || job.Recipients[0].Attempts != 1 || job.Recipients[0].N != 1 {
			t.Errorf("job: %+v", job.Recipients)
		}
		account := r.account()
		if account.Ended != 1 || account.Recipients != 3 || account.Ends[trace.KindDelivered] != 3 {
			t.Errorf("account: %+v, trace: %s", account, r.kinds(id))
		}
		r.empty()
		r.balance(q)
	})
}

func TestBounced(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.start()
		r.deliverer.set(func(j Job, _ Pending) Result {
			if j.Dest == "mx:there.example" {
				return permanent()
			}
			return ok()
		})
		id := r.accept(q, r.message("nobody@there.example"))
		settle()
		if got := r.kinds(id); got != "bounced" {
			t.Fatalf("trace: %s", got)
		}
		job := r.deliverer.last()
		if job.Dest != "mx:example.com" || !job.Message.Envelope.From.IsNull() || job.Recipients[0].Address.String() != "alice@example.com" {
			t.Fatalf("notice: %+v", job)
		}
		if o := job.Message.Origin; o.Role != mail.RoleInternal || o.From.String() != "example.com" {
			t.Errorf("origin of the notice: %+v", o)
		}
		if e := r.life(id)[0]; e.Related != job.Message.ID {
			t.Errorf("the trace names notice %s, not %s", e.Related, job.Message.ID)
		}
		r.empty()
		r.balance(q)
	})
}
