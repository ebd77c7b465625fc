// Package suppress keeps the reports that we send from troubling whoever gets
// them. It remembers every copy of a report that was sent, and what became of
// it. An address to which one could not be delivered is left alone for a while
// (a suppression list); then it is tried again, without anybody's doing. And
// it tells how many copies an address got, so that there can be a limit.
//
// It serves every kind of report: whoever sends one asks Paused and Count,
// commits Copies together with the message, and the queue's events do the rest.
package suppress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"gatepost/mail"
	"gatepost/queue"
	"gatepost/store"
	"gatepost/telemetry"
	"gatepost/trace"
)

// Schema is the tables of copies and pauses. Addresses are in lower case.
var Schema = store.Schema{Name: "report_suppress", Steps: []string{`
CREATE TABLE report_copy (
	message {{int}},
	address {{text}},
	kind {{text}},
	sent {{int}},
	outcome {{text}},
	status {{text}},
	PRIMARY KEY (message, address)
) {{rowless}};
CREATE INDEX report_copy_address ON report_copy (address, kind, sent);
CREATE INDEX report_copy_sent ON report_copy (sent);
CREATE TABLE report_pause (
	address {{text}},
	since {{int}},
	until {{int}},
	message {{int}},
	reason {{text}},
	PRIMARY KEY (address)
) {{rowless}}`}}

// Kind is a kind of report.
type Kind string

// The kinds.
const (
	Aggregate Kind = "dmarc"
	Failure   Kind = "failure"
)

// Store is what the list needs of *store.Store.
type Store interface {
	Submit(ctx context.Context, statements ...store.Statement) ([]int64, error)
	Select(ctx context.Context, each func(scan func(dest ...any) error) error, sql string, args ...any) error
	Get(ctx context.Context, sql string, args []any, dest ...any) error
}

// Options is everything that the list is told.
type Options struct {
	Store  Store // opened with Schema
	Now    func() time.Time
	Logger *slog.Logger
	Pause  func() time.Duration // how long an address is left alone that bounced
}

// DefaultPause is Options.Pause without one.
const DefaultPause = 7 * 24 * time.Hour

const (
	eventsWaiting = 1000
	maxReason     = 300
)

// List is the suppression list. It is safe for concurrent use.
type List struct {
	o      Options
	events chan queue.Event
}

// New makes a list.
func New(o Options) (*List, error) {
	if o.Store == nil {
		return nil, errors.New("suppress: Store is required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Pause == nil {
		o.Pause = func() time.Duration { return DefaultPause }
	}
	return &List{o: o, events: make(chan queue.Event, eventsWaiting)}, nil
}

// Pause is an address that gets nothing for a while.
type Pause struct {
	Address string    `json:"address"`
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
	Message mail.ID   `json:"message"` // that could not be delivered
	Reason  string    `json:"reason"`
}

func key(a mail.Address) string { return strings.ToLower(a.String()) }

// Paused tells whether an address is left alone now.
func (l *List) Paused(ctx context.Context, a mail.Address) (p Pause, paused bool, err error) {
	found, err := l.pauses(ctx, "WHERE address = ? AND until > ?", key(a), l.o.Now().UnixMilli())
	if err != nil || len(found) == 0 {
		return Pause{}, false, err
	}
	return found[0], true, nil
}

// Pauses are all addresses that are left alone now.
func (l *List) Pauses(ctx context.Context) ([]Pause, error) {
	return l.pauses(ctx, "WHERE until > ? ORDER BY until, address", l.o.Now().UnixMilli())
}

func (l *List) pauses(ctx context.Context, where string, args ...any) ([]Pause, error) {
	out := []Pause{}
	err := l.o.Store.Select(ctx, func(scan func(...any) error) error {
		var p Pause
		var since, until, message int64
		err := scan(&p.Address, &since, &until, &message, &p.Reason)
		p.Since, p.Until, p.Message = time.UnixMilli(since).UTC(), time.UnixMilli(until).UTC(), mail.ID(message)
		out = append(out, p)
		return err
	}, "SELECT address, since, until, message, reason FROM report_pause "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read paused destinations of reports: %w", err)
	}
	return out, nil
}

// Count tells how many copies of a kind an address got since a time.
func (l *List) Count(ctx context.Context, kind Kind, a mail.Address, since time.Time) (n int64, err error) {
	err = l.o.Store.Get(ctx, "SELECT COUNT(*) FROM report_copy WHERE address = ? AND kind = ? AND sent >= ?", []any{key(a), string(kind), since.UnixMilli()}, &n)
	if err != nil {
		return 0, fmt.Errorf("count reports to an address: %w", err)
	}
	return n, nil
}

// Copies are the statements to be committed with a report: a copy to each
// recipient of the message.
func (l *List) Copies(kind Kind, m *mail.Message) []store.Statement {
	var out []store.Statement
	for _, r := range m.Envelope.Recipients {
		out = append(out, store.Statement{
			SQL:  "INSERT INTO report_copy (message, address, kind, sent, outcome, status) VALUES (?, ?, ?, ?, '', '') ON CONFLICT (message, address) DO NOTHING",
			Args: []any{int64(m.ID), key(r.Address), string(kind), l.o.Now().UnixMilli()}})
	}
	return out
}

// Copy is what became of one copy of a report.
type Copy struct {
	Address string    `json:"address"`
	Sent    time.Time `json:"sent"`
	Outcome string    `json:"outcome,omitempty"` // delivered, bounced, failed, consumed, deleted; empty: under way
	Status  string    `json:"status,omitempty"`  // the last reply
}

// CopiesOf tells what became of the copies of a message.
func (l *List) CopiesOf(ctx context.Context, message mail.ID) ([]Copy, error) {
	var out []Copy
	err := l.o.Store.Select(ctx, func(scan func(...any) error) error {
		var c Copy
		var sent int64
		err := scan(&c.Address, &sent, &c.Outcome, &c.Status)
		c.Sent = time.UnixMilli(sent).UTC()
		out = append(out, c)
		return err
	}, "SELECT address, sent, outcome, status FROM report_copy WHERE message = ? ORDER BY address", int64(message))
	if err != nil {
		return nil, fmt.Errorf("read copies of a report: %w", err)
	}
	return out, nil
}

// Observe implements queue.Observer: it remembers the ends of our own mail
// that has a sender. Which of it is a report, Run finds out.
func (l *List) Observe(e queue.Event) {
	if e.Message.Origin.Role != mail.RoleInternal || e.Message.Envelope.From.IsNull() || e.Recipient.IsNull() {
		return
	}
	switch e.Kind {
	case trace.KindDelivered, trace.KindConsumed, trace.KindDeleted, trace.KindBounced, trace.KindFailed:
	default:
		return
	}
	select {
	case l.events <- e:
	default: // the store is away: what is lost is a pause, and the next report finds the same
	}
}

// Run writes what became of reports until ctx ends.
func (l *List) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-l.events:
			if err := l.ended(ctx, e); err != nil && ctx.Err() == nil {
				l.o.Logger.Warn("what became of a report was not written", telemetry.KeyID, e.Message.ID.String(), telemetry.KeyError, err.Error())
			}
		}
	}
}

// The pause of an address. Where its host refused this message, and no address,
// it is paused only if it took no other report for as long: a report about a
// domain on a block list must not keep those about others from it.
const (
	pause = "INSERT INTO report_pause (address, since, until, message, reason)" +
		" SELECT address, CAST(? AS BIGINT), CAST(? AS BIGINT), message, CAST(? AS TEXT) FROM report_copy WHERE message = ? AND address = ?"
	tookNone   = " AND NOT EXISTS (SELECT 1 FROM report_copy AS other WHERE other.address = ? AND other.outcome = 'delivered' AND other.sent >= ?)"
	onConflict = " ON CONFLICT (address) DO UPDATE SET since = excluded.since, until = excluded.until, message = excluded.message, reason = excluded.reason"
)

// ended writes the outcome of a copy, and the pause where there was none. Of
// messages that are no reports there is no row that could change.
func (l *List) ended(ctx context.Context, e queue.Event) error {
	status := e.Status.String()
	if e.Status.Code == 0 {
		status = e.Reason
	}
	status = mail.SafeText(status, maxReason)
	to, id := key(e.Recipient), int64(e.Message.ID)
	statements := []store.Statement{{SQL: "UPDATE report_copy SET outcome = ?, status = ? WHERE message = ? AND address = ?", Args: []any{string(e.Kind), status, id, to}}}
	now := l.o.Now()
	until := now.Add(l.o.Pause())
	if e.Kind == trace.KindBounced || e.Kind == trace.KindFailed {
		s := store.Statement{SQL: pause + onConflict, Args: []any{now.UnixMilli(), until.UnixMilli(), status, id, to}}
		if e.Status.Said && e.Status.Scope == mail.ScopeMessage {
			s.SQL, s.Args = pause+tookNone+onConflict, append(s.Args, to, now.Add(now.Sub(until)).UnixMilli())
		}
		statements = append(statements, s)
	}
	affected, err := l.o.Store.Submit(ctx, statements...)
	if err != nil {
		return fmt.Errorf("write the end of a report: %w", err)
	}
	if len(affected) == 2 && affected[1] > 0 {
		l.o.Logger.Warn("no reports to this address for a while: one could not be delivered", telemetry.KeyTo, to,
			telemetry.KeyID, e.Message.ID.String(), telemetry.KeyStatus, status, "until", until.UTC().Format(time.RFC3339))
	}
	return nil
}

// Expire forgets copies that were sent before a time, and pauses that are over.
func (l *List) Expire(ctx context.Context, before time.Time) error {
	_, err := l.o.Store.Submit(ctx,
		store.Statement{SQL: "DELETE FROM report_copy WHERE sent < ?", Args: []any{before.UnixMilli()}},
		store.Statement{SQL: "DELETE FROM report_pause WHERE until <= ?", Args: []any{l.o.Now().UnixMilli()}})
	if err != nil {
		return fmt.Errorf("expire what became of reports: %w", err)
	}
	return nil
}
