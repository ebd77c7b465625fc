package queue

import (
	"context"
	"slices"

	"gatepost/mail"
	"gatepost/store"
	"gatepost/trace"
)

const (
	insertMessage   = "INSERT INTO message (id, received, size, total, pending, sender, meta, prefix, facts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
	insertRecipient = "INSERT INTO recipient (message, n, address, notify, original, dest, sender_key, state, not_before, due, expires, attempts, owner, wish, reason, status)" +
		" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, '', ?, ?)"
	// A destination in back-off keeps its time, any other wakes for the
	// earliest of those who wait. The stamp tells that somebody came.
	upsertDestination = "INSERT INTO destination (dest, wake_at, fails, suspended, stamp) VALUES (?, ?, 0, 0, ?)" +
		" ON CONFLICT (dest) DO UPDATE SET stamp = excluded.stamp," +
		" wake_at = CASE WHEN destination.fails > 0 THEN destination.wake_at ELSE {{least}}(destination.wake_at, excluded.wake_at) END"
)

// statements is the commit that makes the entry a message. Content of more
// than a chunk is in the store already, and its first chunk must still be
// there.
func (e *entry) statements(ctx context.Context) ([]store.Statement, error) {
	q, m := e.queue, e.message
	total := len(m.Envelope.Recipients)
	out := make([]store.Statement, 0, 3+total+len(e.stored))
	out = append(out, store.Statement{SQL: insertMessage, Args: []any{int64(m.ID), millis(m.Received), m.Content.Size(),
		total, total, []byte(m.Envelope.From.String()), e.meta, m.Prefix, m.Facts}})
	content, err := e.contentStatements(ctx)
	if err != nil {
		return nil, err
	}
	out = append(out, content...)
	out = append(out, e.recipientStatements()...)
	slices.Sort(e.stored) // the same order everywhere: no deadlocks
	now := q.o.Now()
	for _, dest := range e.stored {
		out = append(out, store.Statement{SQL: upsertDestination, Args: []any{dest, millis(now), q.stamp()}})
	}
	if e.options.Hold != "" {
		out = append(out, trace.Record{ID: m.ID, At: now, From: m.Envelope.From,
			Events: []trace.Event{{At: now, Kind: trace.KindHeld, Reason: e.options.Hold}}}.Statement())
	}
	return append(out, e.options.With...), nil
}

func (e *entry) recipientStatements() []store.Statement {
	var out []store.Statement
	now, sender := millis(e.queue.o.Now()), senderKey(e.message)
	state := stateQueued
	if e.options.Hold != "" {
		state = stateHeld
	}
	for _, g := range e.groups {
		owner := int64(0)
		if g.owned {
			owner = e.parcels[0].owner
		}
		for _, r := range g.rows {
			out = append(out, store.Statement{SQL: insertRecipient, Args: []any{int64(e.message.ID), r.N,
				[]byte(r.Address.String()), r.Notify, encodeOriginal(r.Recipient), g.route.Dest, sender, state,
				now, millis(r.due), millis(r.Expires), owner, []byte(e.options.Hold), []byte(nil)}})
		}
	}
	return out
}

// contentStatements writes the content, or makes sure that it is there.
func (e *entry) contentStatements(ctx context.Context) ([]store.Statement, error) {
	m := e.message
	large := m.Content.Size() > chunkSize
	if large {
		e.keepMessage(&storedBody{e.queue.o.Store, m.ID, m.Content.Size()}, 0)
	}
	if large && !e.inline {
		chunks := (m.Content.Size() + chunkSize - 1) / chunkSize
		return []store.Statement{{Must: true, SQL: "UPDATE body SET chunk = 0 WHERE message = ? AND chunk = 0 AND (SELECT COUNT(*) FROM body WHERE message = ?) = ?",
			Args: []any{int64(m.ID), int64(m.ID), chunks}}}, nil
	}
	var out []store.Statement
	err := writeBody(ctx, m.Content, func(chunk int, bytes []byte) error {
		if large {
			bytes = slices.Clone(bytes) // the buffer is used again
		}
		out = append(out, store.Statement{SQL: insertBody, Args: []any{int64(m.ID), chunk, bytes}})
		if !large {
			e.keepMessage(mail.MemoryBody(bytes), len(bytes))
		}
		return nil
	})
	return out, err
}

// keepMessage keeps the message for the attempt that comes next, while there
// is memory.
func (e *entry) keepMessage(content mail.Body, octets int) {
	size := int64(octets + len(e.message.Prefix) + len(e.message.Facts) + 1024)
	if len(e.parcels) == 0 || !e.queue.keep(size) {
		return
	}
	m := *e.message
	m.Content = content
	memory := &memory{octets: size}
	memory.users.Store(int32(len(e.parcels)))
	for _, p := range e.parcels {
		p.message, p.kept = &m, memory
	}
}

// writeChunks streams content in, under an id that has no message row yet.
func (e *entry) writeChunks(ctx context.Context) error {
	err := writeBody(ctx, e.message.Content, func(chunk int, bytes []byte) error {
		_, err := e.queue.o.Store.Submit(ctx, store.Statement{SQL: insertBody, Args: []any{int64(e.message.ID), chunk, bytes}})
		if err != nil {
			return acceptError(err)
		}
		return nil
	})
	if err == nil {
		return nil
	}
	if failure, ok := err.(*Error); ok {
		if failure.Reason == ReasonUnknown {
			failure.Reason = ReasonUnavailable // no message row yet
		}
		return failure
	}
	return &Error{ReasonUnavailable, err}
}
