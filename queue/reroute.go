package queue

import (
	"context"
	"errors"
	"maps"
	"slices"

	"gatepost/mail"
	"gatepost/store"
)

// Reroute tells that the Router may answer differently from now on. Mail that
// waits is asked for again, so that a next hop that was removed keeps none.
func (q *Queue) Reroute() {
	q.epoch.Add(1)
	q.duties.reroute.now()
}

// rerouteAll asks for the way of all that waits in the store. What is in
// memory is asked for before its next attempt. It also runs at the start, for
// the configuration may have changed meanwhile.
func (q *Queue) rerouteAll(ctx context.Context) error {
	for after := int64(0); ; {
		var ids []mail.ID
		err := q.o.Store.Select(ctx, func(scan func(...any) error) error {
			err := scan(&after)
			ids = append(ids, mail.ID(after))
			return err
		}, "SELECT DISTINCT message FROM recipient WHERE message > ? AND state < 2 AND owner = 0 ORDER BY message LIMIT ?", after, 200)
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			if err := q.reroute(ctx, id); err != nil {
				return err
			}
		}
	}
}

// reroute moves the recipients of one message that go elsewhere now.
func (q *Queue) reroute(ctx context.Context, id mail.ID) error {
	m, _, err := q.load(ctx, id)
	if errors.Is(err, errCorrupt) {
		return nil // its next attempt, or its end, holds it
	}
	if err != nil {
		return ignoreGone(err)
	}
	rows, err := q.selectRows(ctx, "message = ? AND state < 2 AND owner = 0", int64(id))
	if err != nil {
		return err
	}
	var batch []store.Statement
	dests := map[string]bool{}
	for _, r := range rows {
		route, err := q.route(ctx, m, r.Address)
		if err != nil || route.Dest == r.dest {
			continue
		}
		batch = append(batch, store.Statement{SQL: "UPDATE recipient SET dest = ? WHERE message = ? AND n = ? AND owner = 0",
			Args: []any{route.Dest, int64(id), r.N}})
		if r.state == stateQueued {
			dests[route.Dest] = true
		}
	}
	if len(batch) == 0 {
		return nil
	}
	_, err = q.o.Store.Submit(ctx, append(batch, q.wakeStatements(dests)...)...)
	if err == nil {
		q.duties.wake.now()
	}
	return err
}

// wakeStatements makes destinations wake now.
func (q *Queue) wakeStatements(dests map[string]bool) []store.Statement {
	var out []store.Statement
	now := millis(q.o.Now())
	for _, dest := range slices.Sorted(maps.Keys(dests)) {
		out = append(out, store.Statement{SQL: upsertDestination, Args: []any{dest, now, q.stamp()}})
	}
	return out
}
