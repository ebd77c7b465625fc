package queue

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/trace"
)

func TestQuarantine(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.start()
		ctx := context.Background()
		released := r.accept(q, r.message("bob@there.example", "eve@there.example"), AcceptOptions{Hold: "DMARC policy of example.com"})
		deleted := r.accept(q, r.message("bob@there.example"), AcceptOptions{Hold: "tagged"})
		r.accept(q, r.message("bob@there.example"))
		settle()
		if r.deliverer.count() != 1 {
			t.Fatalf("%d attempts, two messages are held", r.deliverer.count())
		}
		held, err := q.List(ctx, Filter{State: "held"})
		if err != nil || len(held) != 2 || held[0].ID != released || held[0].Recipients[0].Reason != "DMARC policy of example.com" || held[0].Recipients[0].State != "held" {
			t.Fatalf("list: %+v, %v", held, err)
		}
		m, err := q.Message(ctx, released)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(open(t, m)); err != nil || !strings.HasSuffix(string(b), "\r\n\r\nText.\r\n") {
			t.Errorf("held message: %q %v", b, err)
		}
		if p, err := q.Release(ctx, Choice{ID: released}, "alice"); err != nil || p.Recipients != 2 {
			t.Errorf("release: %+v %v", p, err)
		}
		if p, err := q.Delete(ctx, Choice{ID: deleted}, "alice"); err != nil || p.Recipients != 1 || p.Waiting != 0 {
			t.Errorf("delete: %+v %v", p, err)
		}
		pass(2 * time.Second)
		if got := r.kinds(released); got != "held released released delivered delivered" {
			t.Errorf("trace: %s", got)
		}
		events := r.life(deleted)
		if got := r.kinds(deleted); got != "held deleted" || events[1].By != "alice" {
			t.Errorf("trace: %s by %s", got, events[1].By)
		}
		if len(r.notices()) != 0 {
			t.Error("the sender of deleted mail is told")
		}
		r.empty()
		r.balance(q)
		if _, err := q.Release(ctx, Choice{ID: deleted}, "alice"); !errors.Is(err, ErrNotFound) {
			t.Errorf("release of what is gone: %v", err)
		}
		if _, err := q.Delete(ctx, Choice{ID: deleted}, "alice"); !errors.Is(err, ErrNotFound) {
			t.Errorf("delete of what is gone: %v", err)
		}
	})
}

func TestQuarantineIsKeptForATime(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.start(slowly, func(o *Options) { o.Keep = 2 * time.Hour })
		id := r.accept(q, r.message("bob@there.example"), AcceptOptions{Hold: "spoofed"})
		short := r.accept(q, r.message("bob@there.example"), AcceptOptions{Hold: "spoofed", Keep: time.Hour})
		pass(90 * time.Minute)
		if got := r.kinds(short); got != "held deleted" {
			t.Errorf("kept for an hour: %s", got)
		}
		if got := r.kinds(id); got != "held" {
			t.Errorf("kept for two hours: %s", got)
		}
		pass(time.Hour)
		if e := r.life(id); len(e) != 2 || !strings.Contains(e[1].Reason, "spoofed") {
			t.Errorf("trace: %+v", e)
		}
		r.empty()
		r.balance(q)
	})
}

// A wish concerns rows wherever they are: in the store, in memory, or in an
// attempt, which it waits for.
func TestHoldAndDeleteWhereverMailIs(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		ctx := context.Background()
		q := r.start(func(o *Options) { o.Window = 1 })
		release := make(chan struct{})
		r.deliverer.hold(func(context.Context, Job) { <-release })
		r.deliverer.set(func(_ Job, p Pending) Result {
			if p.Attempts == 0 {
				return temporary()
			}
			return ok()
		})
		running := r.accept(q, r.message("bob@there.example"))
		inMemory := r.accept(q, r.message("bob@there.example"))
		gone := r.accept(q, r.message("bob@there.example"))
		settle()
		if p, err := q.Hold(ctx, Choice{ID: inMemory}, "alice"); err != nil || p.Waiting != 0 {
			t.Errorf("hold in memory: %+v %v", p, err)
		}
		if p, err := q.Delete(ctx, Choice{ID: gone}, "alice"); err != nil || p.Waiting != 0 {
			t.Errorf("delete in memory: %+v %v", p, err)
		}
		if p, err := q.Hold(ctx, Choice{ID: running}, "alice"); err != nil || p.Waiting != 1 {
			t.Errorf("hold while it runs: %+v %v", p, err)
		}
		close(release)
		pass(11 * time.Second)
		for id, want := range map[mail.ID]string{running: "deferred held", inMemory: "held", gone: "deleted"} {
			if got := r.kinds(id); got != want {
				t.Errorf("trace: %s, want %s", got, want)
			}
		}
		pass(10 * time.Minute)
		if n := r.deliverer.count(); n != 1 {
			t.Errorf("%d attempts, all mail is held", n)
		}
		for _, id := range []mail.ID{running, inMemory} {
			if _, err := q.Release(ctx, Choice{ID: id}, "bob"); err != nil {
				t.Error(err)
			}
		}
		pass(5 * time.Minute)
		r.empty()
		r.balance(q)
	})
}

func TestRetryNow(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		ctx := context.Background()
		q := r.start()
		r.deliverer.set(func(j Job, _ Pending) Result {
			if j.Dest == "mx:down.example" {
				return siteDown()
			}
			return temporary()
		})
		grey := r.accept(q, r.message("bob@grey.example"))
		down := r.accept(q, r.message("bob@down.example"))
		settle()
		r.deliverer.set(func(Job, Pending) Result { return ok() })
		for _, id := range []mail.ID{grey, down} {
			if p, err := q.Retry(ctx, Choice{ID: id}); err != nil || p.Recipients != 1 {
				t.Errorf("retry: %+v %v", p, err)
			}
		}
		settle()
		if n := r.deliverer.count(); n != 4 {
			t.Errorf("%d attempts", n)
		}
		r.empty()
		if _, err := q.Retry(ctx, Choice{ID: down}); !errors.Is(err, ErrNotFound) {
			t.Errorf("retry of what is gone: %v", err)
		}
		r.deliverer.set(func(Job, Pending) Result { return temporary() })
		r.accept(q, r.message("a@grey.example"))
		r.accept(q, r.message("b@other.example"))
		settle()
		r.deliverer.set(func(Job, Pending) Result { return ok() })
		if err := q.RetryDestination(ctx, "mx:grey.example"); err != nil {
			t.Error(err)
		}
		settle()
		if n := r.count("SELECT COUNT(*) FROM recipient"); n != 1 {
			t.Errorf("%d recipients left", n)
		}
		if err := q.RetryAll(ctx); err != nil {
			t.Error(err)
		}
		settle()
		r.empty()
	})
}

func TestSuspend(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		ctx := context.Background()
		q := r.start(func(o *Options) { o.Lease = 9 * time.Second })
		other := r.start(func(o *Options) { o.Lease = 9 * time.Second })
		if err := q.Suspend(ctx, "mx:there.example", true); err != nil {
			t.Fatal(err)
		}
		pass(5 * time.Second) // the other node hears of it
		r.accept(q, r.message("bob@there.example"))
		r.accept(other, r.message("bob@there.example"))
		pass(time.Minute)
		if n := r.deliverer.count(); n != 0 {
			t.Fatalf("%d attempts at a suspended destination", n)
		}
		s, err := q.Stats(ctx)
		if err != nil || s.Queued != 2 || len(s.Destinations) != 1 || !s.Destinations[0].Suspended || s.Destinations[0].Queued != 2 {
			t.Errorf("stats: %+v %v", s, err)
		}
		if err := q.Suspend(ctx, "mx:there.example", false); err != nil {
			t.Fatal(err)
		}
		pass(10 * time.Second)
		r.empty()
	})
}

func TestListAndStats(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		ctx := context.Background()
		q := r.start()
		r.deliverer.set(func(j Job, p Pending) Result {
			if p.Address.Local() == "ok" {
				return ok()
			}
			return temporary()
		})
		var ids []mail.ID
		for range 250 {
			ids = append(ids, r.accept(q, r.message("bob@there.example")))
		}
		mixed := r.accept(q, r.message("ok@there.example", "Eve@Elsewhere.example"))
		settle()
		all, err := q.List(ctx, Filter{Limit: 1000})
		if err != nil || len(all) != 251 || all[0].ID != ids[0] {
			t.Fatalf("%d listed, %v", len(all), err)
		}
		page, err := q.List(ctx, Filter{After: ids[99], Limit: 10})
		if err != nil || len(page) != 10 || page[0].ID != ids[100] {
			t.Errorf("page: %d, %v", len(page), err)
		}
		for f, want := range map[Filter]int{
			{To: "eve@elsewhere.example"}:          1,
			{To: "@elsewhere.example"}:             1,
			{From: "<ALICE@example.com>"}:          100,
			{From: "<>"}:                           0,
			{Dest: "mx:elsewhere.example"}:         1,
			{State: "held"}:                        0,
			{State: "queued", To: "@nowhere.test"}: 0,
		} {
			if got, err := q.List(ctx, f); err != nil || len(got) != want {
				t.Errorf("%+v: %d listed, %v", f, len(got), err)
			}
		}
		e, err := q.Show(ctx, mixed)
		if err != nil || len(e.Recipients) != 2 || e.Recipients[0].State != "delivered" || e.Recipients[1].State != "queued" ||
			e.Recipients[1].Attempts != 1 || e.Recipients[1].Status.Text != "Greylisted" || e.Recipients[1].Next.Before(clock()) {
			t.Errorf("show: %+v %v", e, err)
		}
		if _, err := q.Show(ctx, 1); !errors.Is(err, ErrNotFound) {
			t.Errorf("show of nothing: %v", err)
		}
		s, err := q.Stats(ctx)
		if err != nil || s.Queued != 251 || s.Oldest.IsZero() || !s.Delivering || len(s.Destinations) != 2 || s.Destinations[0].Queued != 250 {
			t.Errorf("stats: %+v %v", s, err)
		}
		r.balance(q)
	})
}

// Rows that make no sense are held for somebody who can read them; they do
// not hold up the rest.
func TestMessageThatCannotBeRead(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		bad := r.accept(r.make(), r.message("bob@there.example"))
		r.exec("UPDATE message SET meta = ? WHERE id = ?", []byte("{"), int64(bad))
		q := r.start()
		r.accept(q, r.message("bob@there.example"))
		pass(5 * time.Second)
		if n := r.count("SELECT COUNT(*) FROM recipient WHERE state = 1"); n != 1 {
			t.Errorf("%d held", n)
		}
		if n := len(r.observer.of(trace.KindDelivered)); n != 1 {
			t.Errorf("%d delivered", n)
		}
	})
}

func TestPanicOfTheDelivererIsTemporary(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start()
		r.deliverer.set(func(_ Job, p Pending) Result {
			if p.Attempts == 0 {
				panic("out of luck")
			}
			return ok()
		})
		id := r.accept(q, r.message("bob@there.example"))
		pass(2 * time.Minute)
		if got := r.kinds(id); got != "deferred delivered" {
			t.Errorf("trace: %s", got)
		}
	})
}

func TestMissingResultsAreTemporary(t *testing.T) {
	got := completeResults([]Result{ok(), {}}, 3, time.Second)
	if got[0].Outcome() != mail.Delivered || got[1].Outcome() != mail.Deferred || got[2].Outcome() != mail.Deferred || got[2].Took != time.Second {
		t.Errorf("%+v", got)
	}
}

// A choice by address or state never touches the message's other recipients.
func TestChoiceConcernsOnlyTheRecipientsItNames(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.start()
		ctx := context.Background()
		held := r.accept(q, r.message("bob@there.example", "eve@there.example"), AcceptOptions{Hold: "test"})
		f := Filter{State: "held", To: "EVE@there.example"}
		found, err := q.List(ctx, f)
		if err != nil || len(found) != 1 {
			t.Fatalf("list: %+v, %v", found, err)
		}
		if p, err := q.DeleteHeld(ctx, Choice{ID: held, Numbers: f.Numbers(found[0])}, "alice"); err != nil || p.Recipients != 1 {
			t.Errorf("delete: %+v %v", p, err)
		}
		entry, err := q.Show(ctx, held)
		if err != nil || entry.Recipients[0].State != "held" || entry.Recipients[1].State != "deleted" {
			t.Errorf("after the delete: %+v, %v", entry, err)
		}
		if p, err := q.Release(ctx, Choice{ID: held}, "alice"); err != nil || p.Recipients != 1 {
			t.Errorf("release: %+v %v", p, err)
		}
		if _, err := q.DeleteHeld(ctx, Choice{ID: held}, "alice"); !errors.Is(err, ErrNotFound) {
			t.Errorf("delete of held recipients where none is held: %v", err)
		}
		pass(2 * time.Second)
		r.empty()
		r.balance(q)
	})
}
