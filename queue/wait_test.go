package queue

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/store"
	"gatepost/trace"
)

// fill writes n waiting messages of one recipient each, as Accept would have.
func (r *rig) fill(n int, dest string, senders int) {
	r.t.Helper()
	ctx := context.Background()
	now := clock()
	for first := 0; first < n; first += 500 {
		var batch []store.Statement
		for i := first; i < min(n, first+500); i++ {
			m := r.message(fmt.Sprintf("user%d@%s", i, strings.TrimPrefix(dest, "mx:")))
			meta, err := encodeMeta(m)
			if err != nil {
				r.t.Fatal(err)
			}
			batch = append(batch,
				store.Statement{SQL: insertMessage, Args: []any{int64(m.ID), millis(now), m.Content.Size(), 1, 1, []byte("alice@example.com"), meta, m.Prefix, m.Facts}},
				store.Statement{SQL: insertBody, Args: []any{int64(m.ID), 0, make([]byte, m.Content.Size())}},
				store.Statement{SQL: insertRecipient, Args: []any{int64(m.ID), 0, []byte(m.Envelope.Recipients[0].Address.String()), 0, []byte(nil),
					dest, int64(i % senders), stateQueued, millis(now), millis(now.Add(DefaultWarnAfter)), millis(now.Add(DefaultExpire)), 0, []byte(nil), []byte(nil)}})
		}
		if _, err := r.store.Submit(ctx, batch...); err != nil {
			r.t.Fatal(err)
		}
	}
	r.exec(upsertDestination, dest, millis(now), int64(r.ids.Next()))
}

// bareSender comes after all others.
const bareSender = int64(1) << 62

// fillBare writes waiting recipients' rows alone: they only take up room.
func (r *rig) fillBare(n int, dest string) {
	r.t.Helper()
	now := clock()
	for first := 0; first < n; first += 1000 {
		var batch []store.Statement
		for range min(1000, n-first) {
			batch = append(batch, store.Statement{SQL: insertRecipient, Args: []any{int64(r.ids.Next()), 0, []byte("a@b.example"), 0, []byte(nil), dest,
				bareSender, stateQueued, millis(now), millis(now.Add(DefaultWarnAfter)), millis(now.Add(DefaultExpire)), 0, []byte(nil), []byte(nil)}})
		}
		if _, err := r.store.Submit(context.Background(), batch...); err != nil {
			r.t.Fatal(err)
		}
	}
}

// A site that is down costs one destination row, however many wait for it.
func TestSiteFailureTouchesOneRow(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		const n, real = 10_000, 700
		r.fill(real, "mx:down.example", 20)
		r.fillBare(n-real, "mx:down.example")
		r.deliverer.set(func(Job, Pending) Result { return siteDown() })
		q := r.start(slowly, func(o *Options) { o.Poll = time.Second })
		pass(3 * time.Second)
		if got := r.count("SELECT fails FROM destination WHERE dest = 'mx:down.example'"); got != 1 {
			t.Fatalf("fails %d", got)
		}
		first := r.deliverer.count()
		if first > DefaultWindow {
			t.Errorf("%d attempts before the destination was given up", first)
		}
		if got := r.count("SELECT COUNT(*) FROM recipient WHERE owner = 0 AND attempts = 0 AND state = 0"); got != n {
			t.Errorf("%d of %d recipients wait without a penalty", got, n)
		}
		var changed int64
		r.faults.setChanged(func(statements []store.Statement, affected []int64) {
			for i, s := range statements {
				if strings.Contains(s.SQL, " recipient ") {
					changed += affected[i]
				}
			}
		})
		pass(2 * time.Minute) // the probe fails too
		r.faults.setChanged(nil)
		if got := r.deliverer.count() - first; got != 1 {
			t.Errorf("%d probes", got)
		}
		if changed > 4 {
			t.Errorf("the failed probe changed %d of %d recipient rows", changed, n)
		}
		if got := r.count("SELECT fails FROM destination"); got != 2 {
			t.Errorf("fails %d after the probe", got)
		}
		r.exec("DELETE FROM recipient WHERE sender_key = ?", bareSender)
		r.deliverer.set(func(Job, Pending) Result { return ok() })
		pass(6 * time.Minute)
		if got := len(r.observer.of(trace.KindDelivered)); got != real {
			t.Errorf("%d of %d delivered after the site came back", got, real)
		}
		if got := r.count("SELECT COUNT(*) FROM destination"); got != 0 {
			t.Errorf("%d destination rows left", got)
		}
		r.empty()
		_ = q
	})
}

// Every second probe found the reading of the rows at its end, took nothing,
// and the destination was left alone for the whole lease of a probe.
func TestProbeGoesOnTime(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.deliverer.set(func(Job, Pending) Result { return siteDown() })
		q := r.start(func(o *Options) {
			o.Retry, o.Poll = []time.Duration{time.Second, 2 * time.Second}, 100*time.Millisecond
		})
		r.accept(q, r.message("bob@down.example"))
		pass(30 * time.Second)
		if got := r.deliverer.count(); got < 10 {
			t.Errorf("%d attempts in 30 s, at %v; want one about every 2 s", got, r.deliverer.times)
		}
	})
}

// shortLived makes mail expire after an hour, and warn after ten minutes.
func shortLived(o *Options) {
	o.Expire, o.WarnAfter, o.Retry = time.Hour, 10*time.Minute, []time.Duration{time.Minute, 7 * time.Minute}
}

func TestFreshMailDoesNotDisturbABackOff(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.start()
		r.deliverer.set(func(Job, Pending) Result { return siteDown() })
		r.accept(q, r.message("a@down.example"))
		settle()
		wake := r.count("SELECT wake_at FROM destination")
		for range 5 {
			r.accept(q, r.message("b@down.example"))
			pass(3 * time.Second)
		}
		if got := r.count("SELECT wake_at FROM destination"); got != wake || r.deliverer.count() != 1 {
			t.Errorf("wake moved by %d ms, %d attempts", got-wake, r.deliverer.count())
		}
		r.accept(q, r.message("c@up.example"))
		settle()
		if r.deliverer.count() != 2 {
			t.Error("another destination waits too")
		}
		r.balance(q)
	})
}

func TestRecipientsScheduleHasJitter(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start()
		r.deliverer.set(func(Job, Pending) Result { return temporary() })
		for range 20 {
			r.accept(q, r.message("bob@there.example"))
		}
		settle()
		if n := r.count("SELECT COUNT(DISTINCT not_before) FROM recipient"); n < 15 {
			t.Errorf("20 recipients are tried again at %d different times", n)
		}
		wait := int64(r.count("SELECT MAX(not_before) FROM recipient")) - millis(clock())
		least := int64(r.count("SELECT MIN(not_before) FROM recipient")) - millis(clock())
		if wait > 70_000 || least < 50_000 {
			t.Errorf("waits from %d to %d ms around one minute", least, wait)
		}
	})
}

func TestRetryAfterIsHeeded(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start()
		r.deliverer.set(func(_ Job, p Pending) Result {
			if p.Attempts > 0 {
				return ok()
			}
			result := temporary()
			result.RetryAfter = 10 * time.Second
			return result
		})
		r.accept(q, r.message("bob@there.example"))
		pass(15 * time.Second)
		if r.deliverer.count() != 2 {
			t.Errorf("%d attempts after 15s, 10s was asked for", r.deliverer.count())
		}
	})
}

// A recipient that is put off for ever expires, with one notice of delay on
// the way and the last words of the remote host at the end.
func TestDelayAndExpiry(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.deliverer.set(func(j Job, p Pending) Result {
			if j.Dest == "mx:grey.example" {
				return temporary()
			}
			return ok()
		})
		q := r.start(slowly, shortLived)
		id := r.accept(q, r.message("bob@grey.example"))
		pass(70 * time.Minute)
		kinds := strings.Fields(r.kinds(id))
		if got := strings.Join(kinds[len(kinds)-2:], " "); got != "expired bounced" {
			t.Errorf("trace ends with %s", got)
		}
		if n := strings.Count(r.kinds(id), "delayed"); n != 1 {
			t.Errorf("%d notices of delay: %s", n, r.kinds(id))
		}
		notices := r.notices()
		if len(notices) != 2 || !strings.Contains(notices[0], "Action: delayed") || !strings.Contains(notices[1], "Action: failed") ||
			!strings.Contains(notices[1], "Status: 5.4.7") || !strings.Contains(notices[1], "450 4.2.0 Greylisted") {
			t.Errorf("notices: %s", strings.Join(notices, "\n----\n"))
		}
		r.empty()
		r.balance(q)
	})
}

// notices are the contents of all notices that were delivered.
func (r *rig) notices() []string {
	r.t.Helper()
	var out []string
	for _, job := range r.deliverer.jobs {
		if job.Message.Origin.Role != mail.RoleInternal {
			continue
		}
		body, err := job.Message.Open(context.Background())
		if err != nil {
			r.t.Fatal(err)
		}
		b, err := io.ReadAll(body)
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, string(b))
	}
	return out
}

// Mail for a site that is down gets hardly an attempt of its own; its time
// runs out all the same.
func TestExpiryBehindADeadSite(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.deliverer.set(func(j Job, _ Pending) Result {
			if j.Dest == "mx:down.example" {
				return siteDown()
			}
			return ok()
		})
		q := r.start(slowly, shortLived)
		var ids []mail.ID
		for range 20 {
			ids = append(ids, r.accept(q, r.message("bob@down.example")))
		}
		pass(70 * time.Minute)
		for _, id := range ids {
			if got := r.kinds(id); !strings.HasSuffix(got, "delayed expired bounced") && !strings.Contains(got, "delayed") {
				t.Errorf("trace of %s: %s", id, got)
			}
		}
		if n := len(r.observer.of(trace.KindBounced)); n != 20 {
			t.Errorf("%d of 20 bounced", n)
		}
		pass(40 * time.Minute)
		r.empty()
		r.balance(q)
		if n := r.count("SELECT COUNT(*) FROM destination"); n != 0 {
			t.Errorf("%d destination rows left", n)
		}
	})
}

// An attempt that takes until the recipient has expired is the last one.
func TestExpiryDuringAnAttempt(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start(slowly, shortLived)
		r.deliverer.hold(func(context.Context, Job) { time.Sleep(2 * time.Hour) })
		r.deliverer.set(func(j Job, _ Pending) Result { return temporary() })
		id := r.accept(q, r.message("bob@there.example"))
		pass(2*time.Hour + time.Second)
		if got := r.kinds(id); got != "expired bounced" {
			t.Errorf("trace: %s", got)
		}
	})
}

// A destination that answers is healthy for all nodes, though the answer was
// no delivery.
func TestAnswerEndsTheBackOffInTheStore(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.deliverer.set(func(Job, Pending) Result { return siteDown() })
		q := r.start(slowly, func(o *Options) { o.Poll = time.Second })
		for range 3 {
			r.accept(q, r.message("bob@there.example"))
			settle()
		}
		if got := r.count("SELECT fails FROM destination"); got != 1 {
			t.Fatalf("fails %d", got)
		}
		r.deliverer.set(func(Job, Pending) Result { return temporary() })
		pass(90 * time.Second)
		if n := len(r.observer.of(trace.KindDeferred)); n != 4 {
			t.Fatalf("%d deferred", n)
		}
		if got := r.count("SELECT fails FROM destination"); got != 0 {
			t.Errorf("fails %d", got)
		}
	})
}
