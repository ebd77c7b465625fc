package queue

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"gatepost/store"
	"gatepost/trace"
)

// asItWas finds a row only while nobody else has changed it.
const asItWas = " WHERE message = ? AND n = ? AND owner = ? AND state = ? AND due = ?"

const (
	endRow   = "UPDATE recipient SET state = ?, owner = 0, wish = '', status = ?" + asItWas
	dropRow  = "DELETE FROM recipient" + asItWas
	deferRow = "UPDATE recipient SET owner = 0, attempts = ?, not_before = ?, due = ?, status = ?" + asItWas
	backOff  = "INSERT INTO destination (dest, wake_at, fails, suspended, stamp) VALUES (?, ?, ?, 0, ?)" +
		" ON CONFLICT (dest) DO UPDATE SET stamp = excluded.stamp, wake_at = excluded.wake_at, fails = excluded.fails"
	revive = "UPDATE destination SET fails = 0, wake_at = ?, stamp = ? WHERE dest = ?"
)

// bodyAtOnce is how large a body may be to be deleted with its message.
const bodyAtOnce = 4 * chunkSize

// key is the arguments of asItWas.
func (o *outcome) key(e ending) []any {
	return []any{int64(o.message.ID), e.N, o.owner, e.state, millis(e.dueBefore)}
}

func (o *outcome) add(sql string, args ...any) {
	o.batch = append(o.batch, store.Statement{SQL: sql, Args: args})
}

func (o *outcome) must(sql string, args ...any) {
	o.batch = append(o.batch, store.Statement{SQL: sql, Args: args, Must: true})
}

// build makes the one batch: rows, trace, notices, the end of the message, and
// the destinations last, as everywhere.
func (o *outcome) build(ctx context.Context) error {
	if o.pending == 0 {
		var pending int64
		if err := o.q.o.Store.Get(ctx, "SELECT pending FROM message WHERE id = ?", []any{int64(o.message.ID)}, &pending); err != nil {
			return fmt.Errorf("count recipients of message %s: %w", o.message.ID, err)
		}
		o.pending = int(pending)
	}
	if err := o.writeNotices(ctx); err != nil {
		return err
	}
	ended := 0
	for _, e := range o.endings {
		if e.kind.Ends() {
			ended++
		}
	}
	o.rows(ended == o.pending)
	o.end(ended)
	if record := o.record(ended == o.pending); len(record.Events) > 0 {
		o.batch = append(o.batch, record.Statement())
	}
	for _, notice := range o.notices {
		statements, err := notice.statements(ctx)
		if err != nil {
			return err
		}
		o.batch = append(o.batch, statements...)
	}
	for _, p := range o.release {
		o.batch = append(o.batch, p.freeRows()...)
	}
	o.destinations()
	return nil
}

// rows changes the recipients' rows; with the end of the message they go.
func (o *outcome) rows(last bool) {
	for _, e := range o.endings {
		switch {
		case e.kind.Ends() && last:
			o.must(dropRow, o.key(e)...)
		case e.kind.Ends():
			o.must(endRow, append([]any{stateOf(e.kind), encodeStatus(e.status)}, o.key(e)...)...)
		case e.freed:
			o.must("UPDATE recipient SET owner = 0"+asItWas, o.key(e)...)
		case e.kind == trace.KindDelayed:
			o.must("UPDATE recipient SET due = ?"+asItWas, append([]any{millis(e.due)}, o.key(e)...)...)
		default:
			attempts, notBefore := e.Attempts, e.next
			if e.waits {
				attempts, notBefore = e.Attempts-1, o.now
			}
			o.must(deferRow, append([]any{attempts, millis(notBefore), millis(e.due), encodeStatus(e.status)}, o.key(e)...)...)
		}
	}
}

func stateOf(kind trace.Kind) int {
	switch kind {
	case trace.KindDelivered:
		return stateDelivered
	case trace.KindBounced:
		return stateBounced
	case trace.KindFailed:
		return stateFailed
	case trace.KindConsumed:
		return stateConsumed
	}
	return stateDeleted
}

// end counts down the message's recipients and deletes it with the last. Each
// statement holds only if nobody counted meanwhile.
func (o *outcome) end(ended int) {
	id := int64(o.message.ID)
	switch {
	case ended == 0:
	case ended < o.pending:
		o.must("UPDATE message SET pending = pending - ? WHERE id = ? AND pending > ?", ended, id, ended)
	default:
		o.must("DELETE FROM message WHERE id = ? AND pending = ?", id, ended)
		if len(o.message.Envelope.Recipients) > ended {
			o.add("DELETE FROM recipient WHERE message = ?", id)
		}
		if o.swept = o.message.Content.Size() > bodyAtOnce; !o.swept {
			o.add("DELETE FROM body WHERE message = ?", id)
		}
	}
}

// record is the trace of the outcome.
func (o *outcome) record(last bool) trace.Record {
	r := trace.Record{ID: o.message.ID, At: o.now, From: o.message.Envelope.From}
	if last {
		r.Accepted = trace.AcceptedOf(o.message)
	}
	for _, e := range o.endings {
		if e.freed {
			continue
		}
		event := trace.Event{At: o.now, Kind: e.kind, Recipient: e.Address, N: e.N, Dest: e.dest, Attempt: e.Attempts,
			Reason: e.reason, By: e.by, Related: e.notice}
		if e.status.Code != 0 {
			event.Status = &e.status
		}
		if e.kind == trace.KindDeferred {
			event.Next = e.next
		}
		if e.expired {
			r.Events = append(r.Events, trace.Event{At: o.now, Kind: trace.KindExpired, Recipient: e.Address, N: e.N, Dest: e.dest})
		}
		if e.kind != trace.KindDelayed {
			r.Events = append(r.Events, event)
		}
		if e.delayed || e.kind == trace.KindDelayed {
			r.Events = append(r.Events, trace.Event{At: o.now, Kind: trace.KindDelayed, Recipient: e.Address, N: e.N, Related: e.notice})
		}
		if e.relayed {
			r.Events = append(r.Events, trace.Event{At: o.now, Kind: trace.KindRelayed, Recipient: e.Address, N: e.N, Related: e.notice})
		}
	}
	return r
}

// destinations makes sure that those who wait now will be woken.
func (o *outcome) destinations() {
	wake := map[string]time.Time{}
	soonest := func(dest string, at time.Time) {
		if before, ok := wake[dest]; !ok || at.Before(before) {
			wake[dest] = at
		}
	}
	for _, e := range o.endings {
		switch {
		case e.freed || e.waits:
			soonest(e.dest, o.now)
		case e.kind == trace.KindDeferred:
			soonest(e.dest, e.next)
		}
	}
	for _, p := range o.release {
		soonest(p.dest, o.now)
	}
	if o.backoff != nil {
		delete(wake, o.backoff.dest)
		o.add(backOff, o.backoff.dest, millis(o.backoff.until), o.backoff.fails, o.q.stamp())
	}
	if o.revived != "" {
		o.add(revive, millis(o.now), o.q.stamp(), o.revived)
	}
	for _, dest := range slices.Sorted(maps.Keys(wake)) {
		o.add(upsertDestination, dest, millis(wake[dest]), o.q.stamp())
	}
}
