package queue

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/trace"
)

// Who hears of what: the rules of RFC 3461, and no backscatter.
func TestWhoIsTold(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*mail.Message)
		result  func() Result
		kind    trace.Kind
		notices int
		reason  string
	}{
		{"failure", func(*mail.Message) {}, permanent, trace.KindBounced, 1, ""},
		{"null sender", func(m *mail.Message) { m.Envelope.From = mail.Address{} }, permanent, trace.KindFailed, 0, "null reverse-path"},
		{"never", func(m *mail.Message) { m.Envelope.Recipients[0].Notify = mail.NotifyNever }, permanent, trace.KindFailed, 0, "NOTIFY=NEVER"},
		{"success only", func(m *mail.Message) { m.Envelope.Recipients[0].Notify = mail.NotifySuccess }, permanent, trace.KindFailed, 0, "not asked for by NOTIFY"},
		{"failure asked for", func(m *mail.Message) { m.Envelope.Recipients[0].Notify = mail.NotifyFailure }, permanent, trace.KindBounced, 1, ""},
		{"forged sender", func(m *mail.Message) { m.Origin = mail.Origin{Role: mail.RoleMX} }, permanent, trace.KindFailed, 0, "reverse-path not confirmed"},
		{"confirmed stranger", func(m *mail.Message) { m.Origin = mail.Origin{Role: mail.RoleMX, Confirmed: true} }, permanent, trace.KindBounced, 1, ""},
		{"delivered", func(*mail.Message) {}, ok, trace.KindDelivered, 0, ""},
		{"success asked for, next hop tells", func(m *mail.Message) { m.Envelope.Recipients[0].Notify = mail.NotifySuccess }, ok, trace.KindDelivered, 0, ""},
		{"success asked for, next hop lacks DSN", func(m *mail.Message) { m.Envelope.Recipients[0].Notify = mail.NotifySuccess }, lackedDSN, trace.KindDelivered, 1, ""},
		{"read by us", func(m *mail.Message) { m.Envelope.Recipients[0].Notify = mail.NotifySuccess }, consumed, trace.KindConsumed, 0, ""},
		{"success not asked for, next hop lacks DSN", func(*mail.Message) {}, lackedDSN, trace.KindDelivered, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			onSQLite(t, func(t *testing.T, r *rig) {
				q := r.start()
				r.deliverer.set(func(j Job, _ Pending) Result {
					if j.Dest == "mx:there.example" {
						return c.result()
					}
					return ok()
				})
				m := r.message("bob@there.example")
				c.change(m)
				id := r.accept(q, m)
				settle()
				event := r.life(id)[0]
				if event.Kind != c.kind || event.Reason != c.reason {
					t.Errorf("trace: %s (%s)", event.Kind, event.Reason)
				}
				if n := len(r.notices()); n != c.notices {
					t.Errorf("%d notices, want %d", n, c.notices)
				}
				r.empty()
				r.balance(q)
			})
		})
	}
}

func consumed() Result {
	result := ok()
	result.Consumed = true
	return result
}

func lackedDSN() Result {
	result := ok()
	result.LackedDSN = true
	return result
}

// A notice that cannot be delivered is the end of it.
func TestNoticeOfANotice(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start()
		r.deliverer.set(func(Job, Pending) Result { return permanent() })
		r.accept(q, r.message("bob@there.example"))
		settle()
		if n := r.deliverer.count(); n != 2 {
			t.Errorf("%d attempts", n)
		}
		if a := r.account(); a.Ends[trace.KindBounced] != 1 || a.Ends[trace.KindFailed] != 1 {
			t.Errorf("account: %+v", a)
		}
		r.balance(q)
	})
}

func TestOneNoticeForRecipientsThatFailTogether(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start()
		r.deliverer.set(func(j Job, p Pending) Result {
			if j.Dest == "mx:there.example" && p.Address.Local() != "fine" {
				return permanent()
			}
			return ok()
		})
		m := r.message("a@there.example", "fine@there.example", "c@there.example", "quiet@there.example")
		m.Envelope.Recipients[3].Notify = mail.NotifyNever
		id := r.accept(q, m)
		settle()
		notices := r.notices()
		if len(notices) != 1 {
			t.Fatalf("%d notices", len(notices))
		}
		for address, want := range map[string]bool{"a@there": true, "c@there": true, "fine@": false, "quiet@": false} {
			if got := strings.Contains(notices[0], "Final-Recipient: rfc822; "+address); got != want {
				t.Errorf("notice names %s: %t", address, got)
			}
		}
		if got := r.kinds(id); got != "bounced delivered bounced failed" {
			t.Errorf("trace: %s", got)
		}
	})
}

func TestNoWayToTheSender(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start()
		r.deliverer.set(func(Job, Pending) Result {
			r.router.mu.Lock()
			r.router.err = errors.New("no way")
			r.router.mu.Unlock()
			return permanent()
		})
		id := r.accept(q, r.message("bob@there.example"))
		pass(time.Minute)
		if e := r.life(id); len(e) != 1 || e[0].Kind != trace.KindFailed {
			t.Errorf("trace: %+v", e)
		}
		r.empty()
		r.balance(q)
	})
}
