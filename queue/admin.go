package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatepost/mail"
	"gatepost/queue/dsn"
	"gatepost/store"
	"gatepost/trace"
)

// The wishes of administrators. A row that is owned belongs to its attempt;
// the wish waits in the row until the owner gives it back.
const (
	wishHold   = "hold "
	wishDelete = "delete "
)

// forever is when held mail that nobody else wants to end is due.
var forever = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// Progress tells how far a wish has come.
type Progress struct {
	Recipients int `json:"recipients"` // concerned
	Waiting    int `json:"waiting"`    // of them still in an attempt: soon, unless it ends them
}

// Choice names recipients of one message: those with the numbers, or all.
type Choice struct {
	ID      mail.ID
	Numbers []int
}

// where is the condition on rows of recipients.
func (c Choice) where() (sql string, args []any) {
	sql, args = "message = ?", []any{int64(c.ID)}
	if len(c.Numbers) == 0 {
		return sql, args
	}
	for _, n := range c.Numbers {
		args = append(args, n)
	}
	return sql + " AND n IN (?" + strings.Repeat(", ?", len(c.Numbers)-1) + ")", args
}

// Hold keeps waiting recipients from being delivered.
func (q *Queue) Hold(ctx context.Context, c Choice, by string) (Progress, error) {
	return q.wish(ctx, c, wishHold+safeName(by), "state = 0")
}

// Delete ends recipients that wait or are held. The sender is not told; the
// trace names the administrator.
func (q *Queue) Delete(ctx context.Context, c Choice, by string) (Progress, error) {
	return q.wish(ctx, c, wishDelete+safeName(by), "state < 2")
}

// DeleteHeld ends recipients that are held, as Delete does.
func (q *Queue) DeleteHeld(ctx context.Context, c Choice, by string) (Progress, error) {
	return q.wish(ctx, c, wishDelete+safeName(by), "state = 1")
}

func safeName(by string) string {
	if by = mail.SafeText(by, 100); by == "" {
		by = "unknown"
	}
	return by
}

func (q *Queue) wish(ctx context.Context, c Choice, wish, states string) (Progress, error) {
	where, args := c.where()
	affected, err := q.o.Store.Submit(ctx, store.Statement{
		SQL: "UPDATE recipient SET wish = ? WHERE " + where + " AND " + states, Args: append([]any{wish}, args...)})
	if err != nil {
		return Progress{}, fmt.Errorf("queue: %w", err)
	}
	if affected[0] == 0 {
		return Progress{}, ErrNotFound
	}
	if err := q.carryOut(ctx); err != nil {
		return Progress{}, err
	}
	var waiting int64
	err = q.o.Store.Get(ctx, "SELECT COUNT(*) FROM recipient WHERE message = ? AND wish <> ''", []any{int64(c.ID)}, &waiting)
	return Progress{int(affected[0]), int(waiting)}, err
}

// carryOut does what administrators wish, here or on another node.
func (q *Queue) carryOut(ctx context.Context) error {
	mine := map[mail.ID]bool{}
	me := q.lease.incarnation.Load()
	err := q.o.Store.Select(ctx, func(scan func(...any) error) error {
		var id int64
		err := scan(&id)
		mine[mail.ID(id)] = true
		return err
	}, "SELECT DISTINCT message FROM recipient WHERE wish <> '' AND owner = ?", me)
	if err != nil {
		return fmt.Errorf("read wishes: %w", err)
	}
	if err := q.giveBackNow(ctx, mine); err != nil {
		return err
	}
	return q.carryOutFree(ctx)
}

// giveBackNow takes what waits in memory of these messages out of it.
func (q *Queue) giveBackNow(ctx context.Context, ids map[mail.ID]bool) error {
	if len(ids) == 0 {
		return nil
	}
	a := q.step(withdraw{func(p *parcel) bool { return ids[p.id] }})
	released := a.release
	a.release = nil
	q.do(a)
	if len(released) == 0 {
		return nil
	}
	if err := q.free(ctx, released); err != nil {
		q.keeper.add(nil, released)
		return fmt.Errorf("give back rows for a wish: %w", err)
	}
	for _, p := range released {
		q.unload(p)
	}
	return nil
}

// carryOutFree does what is wished for rows that nobody owns.
func (q *Queue) carryOutFree(ctx context.Context) error {
	wishes := map[string]bool{}
	err := q.o.Store.Select(ctx, func(scan func(...any) error) error {
		var wish string
		err := scan(&wish)
		wishes[wish] = true
		return err
	}, "SELECT DISTINCT wish FROM recipient WHERE wish <> '' AND owner = 0 LIMIT 100")
	if err != nil {
		return fmt.Errorf("read wishes: %w", err)
	}
	for wish := range wishes {
		rows, err := q.selectRows(ctx, "wish <> '' AND wish = ? AND owner = 0 AND state < 2 ORDER BY message, n LIMIT ?", wish, dueBatch)
		if err != nil {
			return err
		}
		by, remove := strings.CutPrefix(wish, wishDelete)
		if !remove {
			if err := q.holdRows(ctx, rows, strings.TrimPrefix(wish, wishHold)); err != nil {
				return err
			}
			continue
		}
		for i := range rows {
			rows[i].by = by
		}
		if err := q.endAll(ctx, rows); err != nil {
			return err
		}
	}
	return nil
}

// holdRows holds rows that nobody owns.
func (q *Queue) holdRows(ctx context.Context, rows []dueRow, by string) error {
	now := q.o.Now()
	for _, r := range rows {
		event := trace.Event{At: now, Kind: trace.KindHeld, Recipient: r.Address, N: r.N, Dest: r.dest, By: by}
		_, err := q.o.Store.Submit(ctx,
			store.Statement{Must: true, SQL: "UPDATE recipient SET state = ?, due = ?, wish = '', reason = ? WHERE message = ? AND n = ? AND owner = 0 AND state = 0",
				Args: []any{stateHeld, millis(forever), []byte("held by " + by), int64(r.id), r.N}},
			trace.Record{ID: r.id, At: now, Events: []trace.Event{event}}.Statement())
		if errors.Is(err, store.ErrConflict) {
			continue // held already, or in an attempt after all
		}
		if err != nil {
			return fmt.Errorf("hold message %s: %w", r.id, err)
		}
		q.observe(Event{Kind: trace.KindHeld, At: now, Message: &mail.Message{ID: r.id}, Recipient: r.Address, Dest: r.dest, By: by})
	}
	return nil
}

// Release lets held recipients go. Their time in the queue begins anew.
func (q *Queue) Release(ctx context.Context, c Choice, by string) (Progress, error) {
	id := c.ID
	m, _, err := q.load(ctx, id)
	if err != nil {
		return Progress{}, err
	}
	where, args := c.where()
	rows, err := q.selectRows(ctx, where+" AND state = 1", args...)
	if err != nil {
		return Progress{}, err
	}
	if len(rows) == 0 {
		return Progress{}, ErrNotFound
	}
	by = safeName(by)
	now := q.o.Now()
	record := trace.Record{ID: id, At: now, From: m.Envelope.From}
	dests := map[string]bool{}
	var batch []store.Statement
	for _, r := range rows {
		expires := now.Add(q.o.Expire)
		batch = append(batch, store.Statement{Must: true,
			SQL:  "UPDATE recipient SET state = 0, owner = 0, not_before = ?, due = ?, expires = ?, wish = '', reason = ? WHERE message = ? AND n = ? AND state = 1",
			Args: []any{millis(now), millis(q.firstDue(m, r.Recipient, now)), millis(expires), []byte(nil), int64(id), r.N}})
		record.Events = append(record.Events, trace.Event{At: now, Kind: trace.KindReleased, Recipient: r.Address, N: r.N, Dest: r.dest, By: by})
		dests[r.dest] = true
	}
	batch = append(append(batch, record.Statement()), q.wakeStatements(dests)...)
	if _, err := q.o.Store.Submit(ctx, batch...); err != nil {
		return Progress{}, fmt.Errorf("release message %s: %w", id, err)
	}
	q.duties.wake.now()
	for _, r := range rows {
		q.observe(Event{Kind: trace.KindReleased, At: now, Message: m, Recipient: r.Address, Dest: r.dest, By: by})
	}
	return Progress{Recipients: len(rows)}, nil
}

// firstDue is when something is to be done about a recipient that waits since
// now: a notice of delay, or the end.
func (q *Queue) firstDue(m *mail.Message, r mail.Recipient, now time.Time) time.Time {
	expires := now.Add(q.o.Expire)
	if q.o.WarnAfter > 0 && dsn.Wanted(m, r, dsn.Delay) {
		return earlier(now.Add(q.o.WarnAfter), expires)
	}
	return expires
}

// Retry tries waiting recipients now, whatever the state of their destinations.
func (q *Queue) Retry(ctx context.Context, c Choice) (Progress, error) {
	where, args := c.where()
	rows, err := q.selectRows(ctx, where+" AND state = 0", args...)
	if err != nil {
		return Progress{}, err
	}
	if len(rows) == 0 {
		return Progress{}, ErrNotFound
	}
	dests := map[string]bool{}
	for _, r := range rows {
		dests[r.dest] = true
	}
	now := millis(q.o.Now())
	batch := []store.Statement{{SQL: "UPDATE recipient SET not_before = ? WHERE " + where + " AND state = 0 AND not_before > ?", Args: append(append([]any{now}, args...), now)}}
	batch = append(batch, q.wakeStatements(dests)...)
	for dest := range dests {
		batch = append(batch, store.Statement{SQL: wakeNow, Args: []any{now, q.stamp(), dest}})
	}
	if _, err := q.o.Store.Submit(ctx, batch...); err != nil {
		return Progress{}, fmt.Errorf("retry message %s: %w", c.ID, err)
	}
	q.duties.wake.now()
	return Progress{Recipients: len(rows)}, nil
}

const wakeNow = "UPDATE destination SET wake_at = ?, stamp = ? WHERE dest = ?"

// RetryDestination tries everything that waits for a destination now.
func (q *Queue) RetryDestination(ctx context.Context, dest string) error {
	now := millis(q.o.Now())
	for {
		affected, err := q.o.Store.Submit(ctx, store.Statement{
			SQL: "UPDATE recipient SET not_before = ? WHERE dest = ? AND state = 0 AND owner = 0 AND not_before > ? AND message IN" +
				" (SELECT message FROM recipient WHERE dest = ? AND state = 0 AND owner = 0 AND not_before > ? LIMIT ?)",
			Args: []any{now, dest, now, dest, now, freeBatch}}, store.Statement{SQL: wakeNow, Args: []any{now, q.stamp(), dest}})
		if err != nil {
			return fmt.Errorf("retry destination %s: %w", dest, err)
		}
		if affected[0] == 0 {
			q.duties.wake.now()
			if affected[1] == 0 {
				return ErrNotFound
			}
			return nil
		}
	}
}

// RetryAll tries everything that waits now.
func (q *Queue) RetryAll(ctx context.Context) error {
	for after := ""; ; {
		err := q.o.Store.Get(ctx, "SELECT dest FROM destination WHERE dest > ? AND suspended = 0 ORDER BY dest LIMIT 1", []any{after}, &after)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err == nil {
			err = q.RetryDestination(ctx, after)
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
}

// Suspend stops deliveries to a destination, on all nodes, or lets them go on.
// Running attempts end in peace.
func (q *Queue) Suspend(ctx context.Context, dest string, on bool) error {
	_, err := q.o.Store.Submit(ctx, store.Statement{
		SQL: "INSERT INTO destination (dest, wake_at, fails, suspended, stamp) VALUES (?, ?, 0, ?, ?)" +
			" ON CONFLICT (dest) DO UPDATE SET suspended = excluded.suspended, stamp = excluded.stamp, wake_at = excluded.wake_at",
		Args: []any{dest, millis(q.o.Now()), on, q.stamp()}})
	if err != nil {
		return fmt.Errorf("suspend destination %s: %w", dest, err)
	}
	q.do(q.step(suspend{dest, on}))
	q.duties.wake.now()
	return nil
}
