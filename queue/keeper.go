package queue

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"gatepost/store"
)

// keeper is the goroutine that moves rows between the store and memory.
type keeper struct {
	mu       sync.Mutex
	refills  []refill
	releases []*parcel
	wake     chan struct{}
	walks    map[string]*walk // used by the keeper's goroutine alone
}

func (k *keeper) add(refills []refill, releases []*parcel) {
	k.mu.Lock()
	k.refills = append(k.refills, refills...)
	k.releases = append(k.releases, releases...)
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keeper) take() ([]refill, []*parcel) {
	k.mu.Lock()
	defer k.mu.Unlock()
	refills, releases := k.refills, k.releases
	k.refills, k.releases = nil, nil
	return refills, releases
}

// drain takes out what is still to be released.
func (k *keeper) drain() []*parcel {
	_, releases := k.take()
	return releases
}

// keepOn does what the scheduler asked for until ctx ends.
func (q *Queue) keepOn(ctx context.Context) {
	for {
		select {
		case <-q.keeper.wake:
		case <-ctx.Done():
			return
		}
		refills, releases := q.keeper.take()
		if !q.giveBack(ctx, releases) {
			q.keeper.add(nil, releases)
			return
		}
		for _, r := range refills {
			q.refill(ctx, r)
		}
	}
}

// giveBack releases parcels, however long that takes. It tells whether it was
// done before ctx ended.
func (q *Queue) giveBack(ctx context.Context, parcels []*parcel) bool {
	for len(parcels) > 0 {
		n := min(len(parcels), freeBatch)
		if err := q.free(ctx, parcels[:n]); err != nil {
			q.trouble("give back rows", err)
			if !pauseFor(ctx, time.Second) {
				return false
			}
			continue
		}
		for _, p := range parcels[:n] {
			q.unload(p)
		}
		parcels = parcels[n:]
	}
	return true
}

// free makes the rows of parcels unowned, in one commit.
func (q *Queue) free(ctx context.Context, parcels []*parcel) error {
	dests := map[string]bool{}
	var batch []store.Statement
	for _, p := range parcels {
		dests[p.dest] = true
		batch = append(batch, p.freeRows()...)
	}
	now := q.o.Now()
	for _, dest := range slices.Sorted(maps.Keys(dests)) {
		batch = append(batch, store.Statement{SQL: upsertDestination, Args: []any{dest, millis(now), q.stamp()}})
	}
	_, err := q.o.Store.Submit(ctx, batch...)
	return err
}

func (p *parcel) freeRows() []store.Statement {
	out := make([]store.Statement, len(p.rows))
	for i, r := range p.rows {
		out[i] = freeRow(int64(p.id), int64(r.N), p.owner)
	}
	return out
}

// unload gives the memory of a parcel back.
func (q *Queue) unload(p *parcel) {
	if p.kept != nil && p.kept.users.Add(-1) == 0 {
		q.kept.Add(-p.kept.octets)
	}
	p.kept, p.message = nil, nil
}
