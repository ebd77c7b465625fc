package queue

import (
	"context"
	"errors"
	"time"

	"gatepost/mail"
	"gatepost/queue/dsn"
	"gatepost/store"
	"gatepost/trace"
)

// outcome is what became of rows of one message, and the batch that says so.
type outcome struct {
	q       *Queue
	message *mail.Message
	owner   int64 // of the rows; 0: nobody
	now     time.Time
	endings []ending
	pending int // recipients that the message still has, these included; 0: unknown

	release []*parcel // siblings to release in the same batch
	backoff *backoff  // of the destination
	revived string    // a destination that is back

	batch   []store.Statement // empty: to be built
	notices []*entry
	swept   bool // the body is left to the sweep
}

// ending is what became of one row.
type ending struct {
	row
	dueBefore time.Time
	dest      string
	state     int // of the row before: queued or held
	kind      trace.Kind
	status    mail.Status
	expired   bool
	next      time.Time // of deferred rows
	waits     bool      // deferred for the destination's sake, without a penalty
	freed     bool      // nothing happened: the attempt was stopped
	relayed   bool      // a notice of success is due
	delayed   bool      // a notice of delay is due
	reason    string
	by        string
	notice    mail.ID
}

// conclude writes the results of an attempt, however long that takes.
func (q *Queue) conclude(p *parcel, results []Result, stopped bool) {
	o := &outcome{q: q, message: p.message, owner: p.owner, now: q.o.Now()}
	waits := false
	if !stopped {
		v, hint := verdictOf(results)
		if v == sessionLost && !q.holds(p.owner) {
			v = saysNothing // it ended for our sake
		}
		a := q.step(judged{p, v, hint})
		o.release, o.backoff, waits = a.release, a.backoff, a.waits
		if a.recovered {
			o.revived = p.dest
		}
		a.release = nil
		q.do(a)
	}
	for i, r := range p.rows {
		e := q.ending(p, r, results[i], o.now)
		e.waits = waits && e.kind == trace.KindDeferred
		e.freed = stopped && e.kind == trace.KindDeferred
		if e.waits && o.backoff != nil {
			e.next = o.backoff.until
		}
		o.endings = append(o.endings, e)
	}
	if p.whole {
		o.pending = len(p.rows)
	}
	if !q.write(q.run, o) {
		q.o.Logger.Error("queue: outcome not written, the message is no longer ours", "id", p.id)
		q.handBack(p) // should it be ours after all
		q.keeper.add(nil, o.release)
	} else {
		for _, released := range o.release {
			q.unload(released)
		}
	}
	if p.routes != q.epoch.Load() {
		q.duties.reroute.now() // it looked while these rows were ours
	}
}

// ending draws the conclusion for one recipient.
func (q *Queue) ending(p *parcel, r row, result Result, now time.Time) ending {
	status := result.Status
	status.Text = mail.SafeText(status.Text, 1000)
	e := ending{row: r, dueBefore: r.due, dest: p.dest, state: stateQueued, status: status}
	e.Attempts++
	switch status.Outcome() {
	case mail.Delivered:
		e.kind = trace.KindDelivered
		if result.Consumed {
			e.kind = trace.KindConsumed
			return e
		}
		e.relayed = result.LackedDSN && dsn.Wanted(p.message, r.Recipient, dsn.Success)
		return e
	case mail.Failed:
		q.fail(&e, p.message)
		return e
	}
	if !now.Before(r.Expires) {
		e.expired = true
		q.fail(&e, p.message)
		return e
	}
	e.kind = trace.KindDeferred
	wait := status.RetryAfter
	if wait <= 0 {
		wait = q.o.Retry[min(r.Attempts, len(q.o.Retry)-1)]
	}
	last := q.o.Retry[len(q.o.Retry)-1]
	e.next = earlier(now.Add(q.jitter(min(wait, last))), r.Expires)
	if !now.Before(r.due) {
		e.delayed, e.due = true, r.Expires
	}
	return e
}

// fail tells bounced, of which the sender learns, from failed.
func (q *Queue) fail(e *ending, m *mail.Message) {
	e.kind = trace.KindBounced
	if reason := dsn.Denied(m, e.Recipient, dsn.Failure); reason != "" {
		e.kind, e.reason = trace.KindFailed, reason
	}
}

// write commits an outcome. It tries until that succeeds, until the rows turn
// out not to be ours any more, or until ctx ends. It tells whether it is done.
func (q *Queue) write(ctx context.Context, o *outcome) bool {
	q.entering.RLock() // for the notices
	defer q.entering.RUnlock()
	wait, unknown := time.Second, false
	for {
		err := o.submit(ctx)
		if err == nil {
			o.done()
			return true
		}
		unknown = unknown || errors.Is(err, store.ErrUnknown)
		if errors.Is(err, store.ErrConflict) {
			ours, lookErr := o.stillOurs(ctx)
			switch {
			case lookErr != nil:
				err = lookErr
			case !ours && unknown: // the commit whose answer was lost has happened
				o.done()
				return true
			case !ours:
				o.undo()
				return false
			default: // others of the message ended meanwhile
				o.undo()
				o.pending = 0
			}
		}
		q.trouble("write outcome", err)
		if !pauseFor(ctx, wait) {
			return false
		}
		wait = min(2*wait, maxWait)
	}
}

// maxWait is the longest pause between two tries to write an outcome.
const maxWait = 15 * time.Second

func (o *outcome) submit(ctx context.Context) error {
	if len(o.batch) == 0 {
		if err := o.build(ctx); err != nil {
			o.undo()
			return err
		}
	}
	_, err := o.q.o.Store.Submit(ctx, o.batch...)
	return err
}

// stillOurs tells whether the first row is as it was.
func (o *outcome) stillOurs(ctx context.Context) (bool, error) {
	var one int64
	e := o.endings[0]
	err := o.q.o.Store.Get(ctx, "SELECT 1 FROM recipient"+asItWas, o.key(e), &one)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// undo takes back what build promised.
func (o *outcome) undo() {
	for _, notice := range o.notices {
		notice.abandon()
	}
	o.batch, o.notices = nil, nil
	for i := range o.endings {
		o.endings[i].notice = 0
	}
}

// done tells everybody.
func (o *outcome) done() {
	for _, notice := range o.notices {
		notice.entered()
	}
	if o.swept {
		o.q.orphaned(o.message.ID)
	}
	for _, e := range o.endings {
		if e.freed {
			continue
		}
		o.q.tally.count(e.kind)
		o.q.observe(Event{Kind: e.kind, At: o.now, Message: o.message, Recipient: e.Address, Dest: e.dest, Status: e.status,
			Attempts: e.Attempts, Next: e.next, Notice: e.notice, Reason: e.reason, By: e.by})
	}
}
