package queue

import (
	"context"
	"sync/atomic"

	"gatepost/trace"
)

// tally counts recipients since the queue was made.
type tally struct {
	accepted, delivered, bounced, failed, deleted, consumed atomic.Int64
}

func (t *tally) count(kind trace.Kind) {
	switch kind {
	case trace.KindDelivered:
		t.delivered.Add(1)
	case trace.KindBounced:
		t.bounced.Add(1)
	case trace.KindFailed:
		t.failed.Add(1)
	case trace.KindDeleted:
		t.deleted.Add(1)
	case trace.KindConsumed:
		t.consumed.Add(1)
	}
}

// Accounting is where all recipients are: of the queues that use a store,
// accepted = delivered + bounced + failed + deleted + consumed + queued + held, when the
// store was empty at their start. What ended before a crash stands in the
// trace (trace.Log.Account).
type Accounting struct {
	Accepted  int64 `json:"accepted"` // since the start, our own notices too
	Delivered int64 `json:"delivered"`
	Bounced   int64 `json:"bounced"`
	Failed    int64 `json:"failed"`
	Deleted   int64 `json:"deleted"`
	Consumed  int64 `json:"consumed"` // reports, read by us
	Queued    int64 `json:"queued"`   // in the store, of all nodes
	Held      int64 `json:"held"`
}

// Accounting counts.
func (q *Queue) Accounting(ctx context.Context) (Accounting, error) {
	a := Accounting{
		Accepted:  q.tally.accepted.Load(),
		Delivered: q.tally.delivered.Load(),
		Bounced:   q.tally.bounced.Load(),
		Failed:    q.tally.failed.Load(),
		Deleted:   q.tally.deleted.Load(),
		Consumed:  q.tally.consumed.Load(),
	}
	err := q.o.Store.Select(ctx, func(scan func(...any) error) error {
		var state, n int64
		err := scan(&state, &n)
		switch state {
		case stateQueued:
			a.Queued = n
		case stateHeld:
			a.Held = n
		}
		return err
	}, "SELECT state, COUNT(*) FROM recipient WHERE state < 2 GROUP BY state")
	return a, err
}
