package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"gatepost/mail"
	"gatepost/store"
)

// attempt carries one parcel to its destination and writes down what became of
// it. Its place among the running attempts is free again when that is on disk.
func (q *Queue) attempt(p *parcel) {
	defer func() {
		q.unload(p)
		q.do(q.step(finished{p}))
	}()
	ctx := q.attempts
	if ctx.Err() != nil || !q.holds(p.owner) {
		q.handBack(p)
		return
	}
	if !q.ready(ctx, p) {
		return
	}
	results := q.deliver(ctx, p)
	q.conclude(p, results, ctx.Err() != nil)
}

// handBack has the keeper release the rows of p.
func (q *Queue) handBack(p *parcel) {
	copied := &parcel{id: p.id, dest: p.dest, owner: p.owner, rows: p.rows}
	q.keeper.add(nil, []*parcel{copied})
}

// ready loads the message where needed, and sends its recipients elsewhere
// where the routes say so now. It tells whether p is to be delivered.
func (q *Queue) ready(ctx context.Context, p *parcel) bool {
	if p.message == nil {
		m, _, err := q.load(ctx, p.id)
		switch {
		case errors.Is(err, ErrNotFound):
			q.o.Logger.Error("queue: message vanished", "id", p.id)
			return false
		case errors.Is(err, errCorrupt):
			q.o.Logger.Error("queue: message held, for it cannot be read", "id", p.id, "error", err)
			q.holdCorrupt(p, err)
			return false
		case err != nil:
			q.trouble("read message", err)
			pauseFor(ctx, time.Second)
			q.handBack(p)
			return false
		}
		p.message = m
		p.whole = len(p.rows) == len(m.Envelope.Recipients)
	}
	if epoch := q.epoch.Load(); p.routes != epoch {
		if q.movedAway(ctx, p) {
			return false
		}
		p.routes = epoch
	}
	return true
}

// movedAway asks for the routes of p again. Recipients that go elsewhere now
// are moved, and those that do not are released with them.
func (q *Queue) movedAway(ctx context.Context, p *parcel) bool {
	var batch []store.Statement
	moved := false
	dests := map[string]bool{p.dest: true}
	for _, r := range p.rows {
		dest := p.dest
		if route, err := q.route(ctx, p.message, r.Address); err == nil {
			dest = route.Dest
		}
		moved = moved || dest != p.dest
		dests[dest] = true
		batch = append(batch, store.Statement{SQL: "UPDATE recipient SET dest = ?, owner = 0 WHERE message = ? AND n = ? AND owner = ?",
			Args: []any{dest, int64(p.id), r.N, p.owner}})
	}
	if !moved {
		return false
	}
	batch = append(batch, q.wakeStatements(dests)...)
	if _, err := q.o.Store.Submit(ctx, batch...); err != nil {
		q.trouble("move mail to its new destination", err)
		q.handBack(p)
		return true
	}
	for dest := range dests {
		q.do(q.step(stored{dest}))
	}
	return true
}

// deliver asks the Deliverer, and makes of its answer one result per row. What
// goes wrong in it is temporary trouble of our own.
func (q *Queue) deliver(ctx context.Context, p *parcel) (results []Result) {
	start := q.o.Now()
	defer func() {
		if cause := recover(); cause != nil {
			q.o.Logger.Error("queue: delivery panicked", "id", p.id, "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			results = nil
		}
		results = completeResults(results, len(p.rows), q.o.Now().Sub(start))
	}()
	return q.o.Deliverer.Deliver(ctx, Job{
		Dest:       p.dest,
		Message:    p.message,
		Recipients: p.pending(),
		Probe:      p.probe,
		Lease: func(context.Context) error {
			if !q.holds(p.owner) {
				return ErrNotOurs
			}
			return nil
		},
	})
}

func completeResults(results []Result, n int, took time.Duration) []Result {
	out := make([]Result, n)
	for i := range out {
		if i < len(results) && results[i].Code != 0 {
			out[i] = results[i]
		} else {
			out[i] = Result{Status: mail.ReplyInternal.Status(mail.ScopeMessage)}
		}
		if out[i].Took == 0 {
			out[i].Took = took
		}
	}
	return out
}

// verdictOf is what the results say about the destination.
func verdictOf(results []Result) (v verdict, hint time.Duration) {
	v = siteAnswered
	for _, r := range results {
		if r.Outcome() != mail.Deferred || r.Scope != mail.ScopeSite && r.Scope != mail.ScopeSession {
			return siteAnswered, 0
		}
		if r.Scope == mail.ScopeSite {
			v = siteFailed
			hint = max(hint, r.RetryAfter)
		} else if v != siteFailed {
			v = sessionLost
		}
	}
	return v, hint
}
