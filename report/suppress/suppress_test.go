package suppress

import (
	"fmt"
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/queue"
	"gatepost/store/storetest"
	"gatepost/trace"
)

func address(t *testing.T, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s, false)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

type rig struct {
	*List
	t   *testing.T
	now time.Time
}

func each(t *testing.T, test func(r *rig)) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		r := &rig{t: t, now: time.Date(2026, 11, 2, 1, 0, 0, 0, time.UTC)}
		var err error
		r.List, err = New(Options{Store: open(Schema), Now: func() time.Time { return r.now }, Pause: func() time.Duration { return 48 * time.Hour }})
		if err != nil {
			t.Fatal(err)
		}
		test(r)
	})
}

// report sends one.
func (r *rig) report(id mail.ID, to ...string) *mail.Message {
	r.t.Helper()
	m := &mail.Message{ID: id, Envelope: mail.Envelope{From: address(r.t, "out@us.example")}, Origin: mail.Origin{Role: mail.RoleInternal}}
	for _, a := range to {
		m.Envelope.Recipients = append(m.Envelope.Recipients, mail.Recipient{Address: address(r.t, a)})
	}
	if _, err := r.o.Store.Submit(r.t.Context(), r.Copies(Aggregate, m)...); err != nil {
		r.t.Fatal(err)
	}
	return m
}

// end tells of an end and writes it.
func (r *rig) end(m *mail.Message, kind trace.Kind, to, text string) {
	r.t.Helper()
	r.Observe(queue.Event{Kind: kind, Message: m, Recipient: address(r.t, to), Status: mail.Status{Code: 550, Enhanced: mail.Enhanced{5, 1, 1}, Text: text}})
	r.written()
}

// written writes what was observed.
func (r *rig) written() {
	r.t.Helper()
	for {
		select {
		case e := <-r.events:
			if err := r.ended(r.t.Context(), e); err != nil {
				r.t.Fatal(err)
			}
		default:
			return
		}
	}
}

func (r *rig) paused(a string) string {
	r.t.Helper()
	p, paused, err := r.Paused(r.t.Context(), address(r.t, a))
	if err != nil || paused == p.Until.IsZero() {
		r.t.Fatal(p, paused, err)
	}
	return p.Reason
}

// TestPause: what bounces is left alone for a while, and only that.
func TestPause(t *testing.T) {
	each(t, func(r *rig) {
		m := r.report(7, "bad@a.example", "Good@a.example")
		r.end(m, trace.KindFailed, "BAD@a.example", "no\x00body\xff")
		r.end(m, trace.KindDelivered, "good@a.example", "")
		r.end(m, trace.KindDeferred, "good@a.example", "later")
		if r.paused("Bad@A.example") == "" || r.paused("good@a.example") != "" {
			r.t.Error("the wrong one is paused")
		}
		all, err := r.Pauses(r.t.Context())
		if err != nil || len(all) != 1 || all[0].Address != "bad@a.example" || all[0].Message != 7 || all[0].Until != r.now.Add(48*time.Hour) {
			r.t.Errorf("%+v, %v", all, err)
		}
		copies, err := r.CopiesOf(r.t.Context(), 7)
		if err != nil || len(copies) != 2 || copies[0].Outcome != "failed" || copies[1].Outcome != "delivered" {
			r.t.Errorf("%+v, %v", copies, err)
		}
		r.now = r.now.Add(47 * time.Hour)
		r.end(r.report(8, "bad@a.example"), trace.KindBounced, "bad@a.example", "again")
		r.now = r.now.Add(47 * time.Hour)
		if r.paused("bad@a.example") == "" {
			r.t.Error("the second bounce does not count")
		}
		r.now = r.now.Add(time.Hour)
		if reason := r.paused("bad@a.example"); reason != "" {
			r.t.Errorf("it does not end: %s", reason)
		}
	})
}

// TestRefusedContentPausesSharedAddress: many owners name the same service; a
// report that it does not like the words of pauses it only if it takes no other.
func TestRefusedContentPausesSharedAddress(t *testing.T) {
	each(t, func(r *rig) {
		words := func(m *mail.Message) {
			r.events <- queue.Event{Kind: trace.KindFailed, Message: m, Recipient: address(r.t, "d@service.example"),
				Status: mail.Status{Code: 554, Enhanced: mail.Enhanced{5, 7, 1}, Text: "blocked", Said: true, Scope: mail.ScopeMessage}}
			r.written()
		}
		r.end(r.report(1, "d@service.example"), trace.KindDelivered, "d@service.example", "")
		words(r.report(2, "d@service.example"))
		if reason := r.paused("d@service.example"); reason != "" {
			r.t.Errorf("paused though it takes others: %s", reason)
		}
		r.now = r.now.Add(49 * time.Hour)
		words(r.report(3, "d@service.example"))
		if r.paused("d@service.example") == "" {
			r.t.Error("it took none for as long as a pause, and is not paused")
		}
	})
	each(t, func(r *rig) {
		r.end(r.report(1, "d@service.example"), trace.KindDelivered, "d@service.example", "")
		r.events <- queue.Event{Kind: trace.KindFailed, Message: r.report(2, "d@service.example"), Recipient: address(r.t, "d@service.example"),
			Status: mail.Status{Code: 550, Text: "expired", Scope: mail.ScopeMessage}}
		r.written()
		if r.paused("d@service.example") == "" {
			r.t.Error("what expired does not pause")
		}
	})
}

// TestOtherMail: only what was recorded as a report makes a pause.
func TestOtherMail(t *testing.T) {
	each(t, func(r *rig) {
		m := r.report(7, "bad@a.example")
		other := *m
		other.ID = 8
		r.end(&other, trace.KindFailed, "bad@a.example", "another message")
		r.end(m, trace.KindFailed, "other@a.example", "another recipient")
		for _, change := range []func(*mail.Message){
			func(m *mail.Message) { m.Origin.Role = mail.RoleRelay },
			func(m *mail.Message) { m.Envelope.From = mail.Address{} },
		} {
			other := *m
			change(&other)
			r.end(&other, trace.KindFailed, "bad@a.example", "no report of ours")
		}
		if all, err := r.Pauses(r.t.Context()); err != nil || len(all) != 0 {
			r.t.Errorf("%+v, %v", all, err)
		}
	})
}

func TestCount(t *testing.T) {
	each(t, func(r *rig) {
		begin := r.now
		for i := range 3 {
			r.report(mail.ID(i+1), "a@a.example", "b@a.example")
			r.now = r.now.Add(time.Hour)
		}
		for since, want := range map[time.Duration]int64{0: 3, time.Minute: 2, 3 * time.Hour: 0} {
			if n, err := r.Count(r.t.Context(), Aggregate, address(r.t, "A@A.example"), begin.Add(since)); err != nil || n != want {
				r.t.Errorf("since %s: %d, want %d, %v", since, n, want, err)
			}
		}
		if n, err := r.Count(r.t.Context(), Failure, address(r.t, "a@a.example"), begin); err != nil || n != 0 {
			r.t.Errorf("of another kind: %d, %v", n, err)
		}
	})
}

func TestExpire(t *testing.T) {
	each(t, func(r *rig) {
		r.end(r.report(1, "a@a.example"), trace.KindFailed, "a@a.example", "x")
		for _, c := range []struct {
			after          time.Duration
			copies, paused int64
		}{{time.Hour, 1, 1}, {50 * time.Hour, 0, 0}} {
			now := r.now
			r.now = now.Add(c.after)
			if err := r.Expire(r.t.Context(), r.now.Add(-49*time.Hour)); err != nil {
				r.t.Fatal(err)
			}
			r.now = now
			var copies, paused int64
			if err := r.o.Store.Get(r.t.Context(), "SELECT (SELECT COUNT(*) FROM report_copy), (SELECT COUNT(*) FROM report_pause)", nil, &copies, &paused); err != nil {
				r.t.Fatal(err)
			}
			if copies != c.copies || paused != c.paused {
				r.t.Errorf("after %s: %d copies, %d pauses", c.after, copies, paused)
			}
		}
	})
}

// TestFlood: the observer never waits.
func TestFlood(t *testing.T) {
	l, err := New(Options{Store: struct{ Store }{}})
	if err != nil {
		t.Fatal(err)
	}
	m := &mail.Message{Envelope: mail.Envelope{From: address(t, "out@us.example")}, Origin: mail.Origin{Role: mail.RoleInternal}}
	for i := range 2 * eventsWaiting {
		l.Observe(queue.Event{Kind: trace.KindFailed, Message: m, Recipient: address(t, fmt.Sprintf("a%d@a.example", i))})
	}
	if len(l.events) != eventsWaiting {
		t.Errorf("%d events wait", len(l.events))
	}
}
