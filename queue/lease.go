package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"gatepost/store"
)

// lease is this node's right to deliver. It is granted by the store, for a
// time that the database's clock measures; we measure it from before we asked.
type lease struct {
	incarnation atomic.Int64 // owner of our rows; 0 before the first lease
	until       atomic.Int64 // milliseconds of our own clock
	steady      atomic.Int64 // the same by the clock that nobody sets
}

// holds tells whether the lease is good for an owner.
func (q *Queue) holds(owner int64) bool {
	// A clock that is set back makes the time left longer, one that stood while
	// the machine slept does too: both must agree.
	return owner != 0 && owner == q.lease.incarnation.Load() && millis(q.o.Now()) < q.lease.until.Load() &&
		q.steady() < q.lease.steady.Load()
}

// steady is milliseconds since the queue was made, by the clock that nobody sets.
func (q *Queue) steady() int64 { return q.o.Steady().Sub(q.born).Milliseconds() }

// keepLease renews the lease, or takes a new one where another node has ended
// it. While there is none nothing new is started.
func (q *Queue) keepLease(ctx context.Context) error {
	asked, steady := q.o.Now(), q.steady()
	first := q.lease.incarnation.Load() == 0
	err := q.renew(ctx)
	if errors.Is(err, store.ErrConflict) {
		err = q.begin(ctx)
	}
	if err == nil {
		q.lease.until.Store(millis(asked.Add(q.o.Lease)))
		q.lease.steady.Store(steady + q.o.Lease.Milliseconds())
	}
	q.mayDeliver()
	if err != nil {
		return fmt.Errorf("renew the lease of this node: %w", err)
	}
	if err := q.endOthers(ctx, first); err != nil {
		return err
	}
	return q.readSuspended(ctx)
}

// mayDeliver tells the scheduler whether it may start anything.
func (q *Queue) mayDeliver() {
	q.do(q.stepWith(func() any {
		return pause{q.closing.Load() || !q.holds(q.lease.incarnation.Load())}
	}))
}

func (q *Queue) renew(ctx context.Context) error {
	me := q.lease.incarnation.Load()
	if me == 0 {
		return store.ErrConflict
	}
	_, err := q.o.Store.Submit(ctx, store.Statement{Must: true,
		SQL:  "UPDATE node SET until = {{now}} + ? WHERE incarnation = ? AND until > 0",
		Args: []any{q.o.Lease.Milliseconds(), me}})
	return err
}

// begin starts a new incarnation. What an earlier one left in memory is no
// longer ours: another node has freed its rows, but those that were on their
// way into the store meanwhile.
func (q *Queue) begin(ctx context.Context) error {
	fresh := q.stamp()
	_, err := q.o.Store.Submit(ctx, store.Statement{
		SQL: "INSERT INTO node (incarnation, until) VALUES (?, {{now}} + ?)", Args: []any{fresh, q.o.Lease.Milliseconds()}})
	if err != nil {
		return err
	}
	if old := q.lease.incarnation.Load(); old != 0 {
		q.o.Logger.Error("queue: another node has taken over our mail; starting anew", "incarnation", old)
	}
	q.lease.incarnation.Store(fresh)
	q.entering.Lock() // whoever entered with the old incarnation is in now
	lost := q.step(withdraw{func(p *parcel) bool { return p.owner != fresh }})
	q.entering.Unlock()
	for _, p := range lost.release {
		q.unload(p)
	}
	lost.release = nil
	q.do(lost)
	return q.freeStrays(ctx)
}

// endOthers ends incarnations whose lease ran out and frees their rows. At the
// start it also looks for rows that an earlier takeover missed.
func (q *Queue) endOthers(ctx context.Context, first bool) error {
	expired := "UPDATE node SET until = 0 WHERE incarnation <> ? AND until < {{now}}"
	if q.o.Alone {
		expired = "UPDATE node SET until = 0 WHERE incarnation <> ?"
	}
	affected, err := q.o.Store.Submit(ctx, store.Statement{SQL: expired, Args: []any{q.lease.incarnation.Load()}})
	if err != nil {
		return fmt.Errorf("end dead nodes: %w", err)
	}
	if affected[0] == 0 && !first {
		return nil
	}
	var dead []int64
	err = q.o.Store.Select(ctx, func(scan func(...any) error) error {
		var incarnation int64
		err := scan(&incarnation)
		dead = append(dead, incarnation)
		return err
	}, "SELECT incarnation FROM node WHERE until = 0 LIMIT 1000")
	if err == nil {
		err = q.freeStrays(ctx)
	}
	if err != nil {
		return fmt.Errorf("free the mail of dead nodes: %w", err)
	}
	for _, incarnation := range dead {
		if _, err := q.o.Store.Submit(ctx, store.Statement{SQL: "DELETE FROM node WHERE incarnation = ?", Args: []any{incarnation}}); err != nil {
			return fmt.Errorf("forget dead nodes: %w", err)
		}
	}
	q.duties.wake.now()
	return nil
}

// freeBatch is how many rows are freed in one commit.
const freeBatch = 500

// freeStrays frees the rows whose owner is no living incarnation, in batches.
func (q *Queue) freeStrays(ctx context.Context) error {
	message, n := int64(0), int64(-1)
	for {
		var batch []store.Statement
		dests := map[string]bool{}
		rows := 0
		err := q.o.Store.Select(ctx, func(scan func(...any) error) error {
			var owner int64
			var dest string
			if err := scan(&message, &n, &owner, &dest); err != nil {
				return err
			}
			rows++
			dests[dest] = true
			batch = append(batch, freeRow(message, n, owner))
			return nil
		}, "SELECT message, n, owner, dest FROM recipient WHERE owner <> 0 AND owner NOT IN (SELECT incarnation FROM node WHERE until > 0)"+
			" AND (message > ? OR message = ? AND n > ?) ORDER BY message, n LIMIT ?", message, message, n, freeBatch)
		if err != nil || rows == 0 {
			return err
		}
		now := q.o.Now()
		for _, dest := range slices.Sorted(maps.Keys(dests)) {
			batch = append(batch, store.Statement{SQL: upsertDestination, Args: []any{dest, millis(now), q.stamp()}})
		}
		if _, err := q.o.Store.Submit(ctx, batch...); err != nil {
			return err
		}
		if rows < freeBatch {
			return nil
		}
	}
}

func freeRow(message, n, owner int64) store.Statement {
	return store.Statement{SQL: "UPDATE recipient SET owner = 0 WHERE message = ? AND n = ? AND owner = ?", Args: []any{message, n, owner}}
}

// leave gives back what is in memory and ends the incarnation.
func (q *Queue) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*lastWords)
	defer cancel()
	q.entering.Lock() // entries from now on see that we are closing
	left := q.step(withdraw{func(*parcel) bool { return true }}).release
	q.entering.Unlock()
	left = append(left, q.keeper.drain()...)
	for len(left) > 0 {
		n := min(len(left), freeBatch)
		if err := q.free(ctx, left[:n]); err != nil {
			return fmt.Errorf("give back mail at the end: %w", err)
		}
		left = left[n:]
	}
	me := q.lease.incarnation.Load()
	// Rows may be left whose outcome could not be written: ended, not forgotten.
	_, err := q.o.Store.Submit(ctx, store.Statement{SQL: "UPDATE node SET until = 0 WHERE incarnation = ?", Args: []any{me}})
	if err != nil {
		return fmt.Errorf("end the lease of this node: %w", err)
	}
	return nil
}

// readSuspended learns which destinations an administrator stopped, here or on
// another node.
func (q *Queue) readSuspended(ctx context.Context) error {
	now := map[string]bool{}
	err := q.o.Store.Select(ctx, func(scan func(...any) error) error {
		var dest string
		err := scan(&dest)
		now[dest] = true
		return err
	}, "SELECT dest FROM destination WHERE suspended = 1 LIMIT 1000")
	if err != nil {
		return fmt.Errorf("read suspended destinations: %w", err)
	}
	for _, dest := range q.suspended() {
		if !now[dest] {
			q.do(q.step(suspend{dest, false}))
		}
	}
	for dest := range now {
		q.do(q.step(suspend{dest, true}))
	}
	return nil
}

func (q *Queue) suspended() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []string
	for name, d := range q.scheduler.dests {
		if d.suspended {
			out = append(out, name)
		}
	}
	return out
}
