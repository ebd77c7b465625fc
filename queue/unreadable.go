package queue

import (
	"context"
	"errors"
	"fmt"

	"gatepost/mail"
	"gatepost/store"
	"gatepost/trace"
)

// What is in the store may be unreadable for this program: written by
// another version of it, or damaged. Rows are taken as they are, and the
// message tells: it is held for somebody who can read it, and nothing else
// waits for that.

// holdCorrupt keeps rows that we own and cannot read.
func (q *Queue) holdCorrupt(p *parcel, cause error) {
	var batch []store.Statement
	for _, r := range p.rows {
		batch = append(batch, holdUnread(p.id, r.N, p.owner, cause))
	}
	if _, err := q.o.Store.Submit(q.run, batch...); err != nil {
		q.trouble("hold a message that cannot be read", err)
		q.handBack(p)
	}
}

func holdUnread(id mail.ID, n int, owner int64, cause error) store.Statement {
	return store.Statement{SQL: "UPDATE recipient SET state = ?, due = ?, owner = 0, reason = ? WHERE message = ? AND n = ? AND owner = ? AND state < 2",
		Args: []any{stateHeld, millis(forever), []byte(mail.SafeText(cause.Error(), 500)), int64(id), n, owner}}
}

// endUnread holds due rows that nobody owns, or deletes them where an
// administrator wants that.
func (q *Queue) endUnread(ctx context.Context, rows []dueRow, cause error) error {
	id, now := rows[0].id, q.o.Now()
	record := trace.Record{ID: id, At: now}
	var batch []store.Statement
	for _, r := range rows {
		if r.by == "" {
			batch = append(batch, holdUnread(id, r.N, 0, cause))
			continue
		}
		batch = append(batch, store.Statement{Must: true, SQL: "UPDATE recipient SET state = ?, wish = '' WHERE message = ? AND n = ? AND owner = 0 AND state = ?",
			Args: []any{stateDeleted, int64(id), r.N, r.state}})
		record.Events = append(record.Events, trace.Event{At: now, Kind: trace.KindDeleted, N: r.N, Dest: r.dest, By: r.by})
	}
	if len(record.Events) > 0 {
		batch = append(batch, endUnreadMessage(id, len(record.Events))...)
		batch = append(batch, record.Statement())
	}
	switch _, err := q.o.Store.Submit(ctx, batch...); {
	case errors.Is(err, store.ErrConflict):
		return nil // somebody was faster
	case err != nil:
		return fmt.Errorf("end message %s, which cannot be read: %w", id, err)
	}
	q.o.Logger.Error("queue: message cannot be read", "id", id, "error", cause, "deleted", len(record.Events), "held", len(rows)-len(record.Events))
	for _, e := range record.Events {
		q.tally.count(e.Kind)
		q.observe(Event{Kind: e.Kind, At: now, Message: &mail.Message{ID: id}, Dest: e.Dest, By: e.By})
	}
	q.orphaned(id) // its body goes when its row has gone
	return nil
}

// endUnreadMessage counts down and removes what is left behind the last one.
func endUnreadMessage(id mail.ID, ended int) []store.Statement {
	return []store.Statement{
		{SQL: "UPDATE message SET pending = pending - ? WHERE id = ?", Args: []any{ended, int64(id)}},
		{SQL: "DELETE FROM message WHERE id = ? AND pending <= 0", Args: []any{int64(id)}},
		{SQL: "DELETE FROM recipient WHERE message = ? AND NOT EXISTS (SELECT 1 FROM message WHERE id = ?)", Args: []any{int64(id), int64(id)}},
	}
}
