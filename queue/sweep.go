package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"gatepost/mail"
	"gatepost/queue/dsn"
	"gatepost/trace"
)

const (
	dueBatch   = 500
	dueWorkers = 16 // messages at once: they share commits
)

// dueRow is a row that nobody owns and whose time has come.
type dueRow struct {
	row
	id     mail.ID
	dest   string
	state  int
	status mail.Status // of the last attempt
	reason string      // why it is held
	by     string      // who wants it deleted; empty: its time has come
}

// sweepDue ends recipients that waited too long, tells senders of those that
// wait, and deletes what was held long enough. A destination that is down
// keeps its mail from every attempt, so this cannot be left to the outcomes.
func (q *Queue) sweepDue(ctx context.Context) error {
	for {
		rows, err := q.selectRows(ctx, "owner = 0 AND state < 2 AND due <= ? ORDER BY due LIMIT ?", millis(q.o.Now()), dueBatch)
		if err != nil || len(rows) == 0 {
			return err
		}
		if err := q.endAll(ctx, rows); err != nil {
			return err
		}
		if len(rows) < dueBatch {
			return nil
		}
	}
}

// endAll ends rows, several messages at once. The first error is returned when
// all are done.
func (q *Queue) endAll(ctx context.Context, rows []dueRow) error {
	var ids []mail.ID
	byMessage := map[mail.ID][]dueRow{}
	for _, r := range rows {
		if byMessage[r.id] == nil {
			ids = append(ids, r.id)
		}
		byMessage[r.id] = append(byMessage[r.id], r)
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	var first error
	places := make(chan struct{}, dueWorkers)
	for _, id := range ids {
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			if err := q.endDue(ctx, byMessage[id]); err != nil {
				mu.Lock()
				defer mu.Unlock()
				first = errors.Join(first, err)
			}
		})
	}
	group.Wait()
	return first
}

// endDue draws the conclusion for due rows of one message.
func (q *Queue) endDue(ctx context.Context, rows []dueRow) error {
	m, pending, err := q.load(ctx, rows[0].id)
	if errors.Is(err, ErrNotFound) {
		return nil // another node was faster
	}
	if errors.Is(err, errCorrupt) {
		return q.endUnread(ctx, rows, err)
	}
	if err != nil {
		return err
	}
	o := &outcome{q: q, message: m, now: q.o.Now(), pending: pending}
	for _, r := range rows {
		o.endings = append(o.endings, q.dueEnding(m, r, o))
	}
	if !q.write(ctx, o) && ctx.Err() == nil {
		return fmt.Errorf("message %s changed meanwhile", m.ID)
	}
	return nil
}

func (q *Queue) dueEnding(m *mail.Message, r dueRow, o *outcome) ending {
	e := ending{row: r.row, dueBefore: r.due, dest: r.dest, state: r.state, status: r.status}
	switch {
	case r.by != "":
		e.kind, e.by, e.status = trace.KindDeleted, r.by, mail.ReplyDeleted.Status(mail.ScopeMessage)
	case r.state == stateHeld:
		e.kind, e.reason, e.status = trace.KindDeleted, "kept long enough: "+r.reason, mail.Status{}
	case !o.now.Before(r.Expires):
		e.expired = true
		if e.status.Code == 0 {
			e.status = mail.ReplyExpired.Status(mail.ScopeMessage)
		}
		q.fail(&e, m)
	default:
		e.kind, e.due = trace.KindDelayed, r.Expires
		e.delayed = dsn.Wanted(m, r.Recipient, dsn.Delay)
		if e.status.Code == 0 {
			e.status = mail.ReplyConnectFailed.Status(mail.ScopeSite)
		}
	}
	return e
}

// selectRows reads recipients' rows; where is the condition with order and limit.
func (q *Queue) selectRows(ctx context.Context, where string, args ...any) ([]dueRow, error) {
	var rows []dueRow
	err := q.o.Store.Select(ctx, func(scan func(...any) error) error {
		var id, n, notify, state, due, expires, attempts int64
		var address, original, status, reason []byte
		r := dueRow{}
		if err := scan(&id, &n, &address, &notify, &original, &r.dest, &state, &due, &expires, &attempts, &status, &reason); err != nil {
			return err
		}
		r.id, r.state, r.status, r.reason = mail.ID(id), int(state), decodeStatus(status), string(reason)
		r.row = row{Pending{N: int(n), Attempts: int(attempts), Expires: fromMillis(expires)}, fromMillis(due)}
		r.Recipient, _ = decodeRecipient(address, notify, original) // load tells when it cannot be read
		rows = append(rows, r)
		return nil
	}, "SELECT message, n, address, notify, original, dest, state, due, expires, attempts, status, reason FROM recipient WHERE "+where, args...)
	return rows, err
}
