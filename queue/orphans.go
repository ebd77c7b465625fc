package queue

import (
	"context"
	"fmt"
	"sync"
	"time"

	"gatepost/mail"
	"gatepost/store"
)

// orphanAge is how old a body without a message must be when it may be on its
// way in at another node. Accept takes no message with an id of half that age.
const orphanAge = 24 * time.Hour

// orphanBatch bounds how many chunks one commit deletes.
const orphanBatch = 64

// orphans are bodies that this node knows to be without a message.
type orphans struct {
	mu         sync.Mutex
	pending    map[mail.ID]bool // to be deleted
	coming     map[mail.ID]bool // on their way in
	nextSearch time.Time        // used by the duty alone
}

// arriving tells the sweep to leave the body of id alone, or no longer.
func (q *Queue) arriving(id mail.ID, on bool) {
	q.orphans.mu.Lock()
	defer q.orphans.mu.Unlock()
	if on {
		q.orphans.coming[id] = true
	} else {
		delete(q.orphans.coming, id)
	}
}

// orphaned leaves the body of id to the sweep.
func (q *Queue) orphaned(id mail.ID) {
	q.orphans.mu.Lock()
	// Beyond the bound the hourly sweep finds them by their age.
	if len(q.orphans.pending) < 10_000 {
		q.orphans.pending[id] = true
	}
	q.orphans.mu.Unlock()
	q.duties.orphans.now()
}

func (q *Queue) takeOrphans() map[mail.ID]bool {
	q.orphans.mu.Lock()
	defer q.orphans.mu.Unlock()
	taken := q.orphans.pending
	q.orphans.pending = map[mail.ID]bool{}
	return taken
}

// sweepOrphans deletes bodies that have no message, in small batches: those
// that this node left behind, and from time to time all that are old enough.
func (q *Queue) sweepOrphans(ctx context.Context) error {
	known := q.takeOrphans()
	for id := range known {
		if err := q.deleteBody(ctx, id); err != nil {
			for id := range known {
				q.orphaned(id)
			}
			pauseFor(ctx, time.Second)
			return err
		}
		delete(known, id)
	}
	now := q.o.Now()
	if now.Before(q.orphans.nextSearch) {
		return nil
	}
	first := q.orphans.nextSearch.IsZero()
	q.orphans.nextSearch = now.Add(time.Hour)
	if err := q.searchOrphans(ctx, now); err != nil || first {
		return err
	}
	return q.wakeForgotten(ctx)
}

// wakeForgotten is a net under the rule that a destination has a row while
// somebody waits for it. It should find nothing.
func (q *Queue) wakeForgotten(ctx context.Context) error {
	affected, err := q.o.Store.Submit(ctx, store.Statement{
		SQL: "INSERT INTO destination (dest, wake_at, fails, suspended, stamp)" +
			" SELECT dest, CAST(? AS BIGINT), 0, 0, CAST(? AS BIGINT) FROM recipient WHERE state = 0 AND owner = 0 GROUP BY dest" +
			" ON CONFLICT (dest) DO NOTHING",
		Args: []any{millis(q.o.Now()), q.stamp()}})
	if err != nil {
		return fmt.Errorf("look for forgotten destinations: %w", err)
	}
	if affected[0] > 0 {
		q.o.Logger.Error("queue: destinations were forgotten and are woken now", "count", affected[0])
	}
	return nil
}

// searchOrphans looks for bodies of crashed nodes.
func (q *Queue) searchOrphans(ctx context.Context, now time.Time) error {
	for after := int64(0); ; {
		var ids []mail.ID
		err := q.o.Store.Select(ctx, func(scan func(...any) error) error {
			var id int64
			err := scan(&id)
			ids = append(ids, mail.ID(id))
			return err
		}, "SELECT message FROM body WHERE message > ? AND chunk = 0 AND NOT EXISTS (SELECT 1 FROM message WHERE id = body.message)"+
			" ORDER BY message LIMIT 100", after)
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			after = int64(id)
			if !q.mayBeComing(id, now) {
				if err := q.deleteBody(ctx, id); err != nil {
					return err
				}
			}
		}
	}
}

// mayBeComing tells whether the body may still become a message: it is on its
// way in here, or could be at another node.
func (q *Queue) mayBeComing(id mail.ID, now time.Time) bool {
	q.orphans.mu.Lock()
	defer q.orphans.mu.Unlock()
	return q.orphans.coming[id] || !q.o.Alone && now.Sub(id.Time()) < orphanAge
}

// deleteBody deletes a body from its end, in commits that do not keep others
// waiting.
func (q *Queue) deleteBody(ctx context.Context, id mail.ID) error {
	for {
		affected, err := q.o.Store.Submit(ctx, store.Statement{
			SQL: "DELETE FROM body WHERE message = ? AND chunk IN (SELECT chunk FROM body WHERE message = ? ORDER BY chunk DESC LIMIT ?)" +
				" AND NOT EXISTS (SELECT 1 FROM message WHERE id = ?)",
			Args: []any{int64(id), int64(id), orphanBatch, int64(id)}})
		if err != nil {
			return fmt.Errorf("delete orphaned body %s: %w", id, err)
		}
		if affected[0] < orphanBatch {
			return nil
		}
	}
}
