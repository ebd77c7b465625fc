package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatepost/mail"
	"gatepost/report/extract"
	"gatepost/store"
)

const (
	insertReport = "INSERT INTO report_in (id, message, kind, org, report_id, domain, part, begins, ends, received, sender, records, messages, passed, complete, proven, detail)" +
		" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (kind, org, report_id, domain, part, proven) DO NOTHING"
	insertRecord = "INSERT INTO report_in_record (report, n, source, header_from, messages, disposition, dkim, spf, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

// rowsAtOnce bounds a batch: others wait behind it.
const rowsAtOnce = 500

// abandoned is when a report whose records did not all come is taken for one
// that nobody is writing any more.
const abandoned = 15 * time.Minute

// errBusy tells that the same report is being written by another.
var errBusy = errors.New("the same report is being written")

// insert stores a report, in several batches where it is large. It tells
// whether it was new.
func (x *Inbox) insert(ctx context.Context, e entry) (bool, error) {
	e.Org, e.ReportID = mail.SafeText(e.Org, maxKey), mail.SafeText(e.ReportID, maxKey)
	known, err := x.known(ctx, e)
	if err != nil || known {
		return false, err
	}
	e.ID = x.o.IDs.Next()
	first := e.rows[:min(len(e.rows), rowsAtOnce)]
	batch := append([]store.Statement{{SQL: insertReport, Must: true, Args: e.args(len(first) == len(e.rows))}}, statements(e.ID, 0, first)...)
	_, err = x.o.Store.Submit(ctx, batch...)
	if errors.Is(err, store.ErrConflict) {
		return false, errBusy // the next try finds out
	}
	for done := len(first); err == nil && done < len(e.rows); {
		rows := e.rows[done:min(len(e.rows), done+rowsAtOnce)]
		batch = statements(e.ID, done, rows)
		if done += len(rows); done == len(e.rows) {
			batch = append(batch, store.Statement{SQL: "UPDATE report_in SET complete = 1 WHERE id = ?", Must: true, Args: []any{int64(e.ID)}})
		}
		_, err = x.o.Store.Submit(ctx, batch...)
	}
	if err != nil {
		return false, fmt.Errorf("store a report: %w", err)
	}
	return true, nil
}

func (e entry) args(complete bool) []any {
	done := 0
	if complete {
		done = 1
	}
	return []any{int64(e.ID), int64(e.Message), string(e.Kind), e.Org, e.ReportID, e.Domain, e.Part, e.Begin.UnixMilli(), e.End.UnixMilli(),
		e.Received.UnixMilli(), e.Sender, len(e.rows), e.Messages, e.Passed, done, e.Proven, []byte(e.Detail)}
}

func statements(id mail.ID, from int, rows []Record) []store.Statement {
	var out []store.Statement
	for i, r := range rows {
		out = append(out, store.Statement{SQL: insertRecord, Args: []any{int64(id), from + i, r.Source, r.HeaderFrom, r.Messages, r.Disposition, r.DKIM, r.SPF, []byte(r.Detail)}})
	}
	return out
}

// known looks for the same report. One that was left half written, by an
// earlier try with this message or long ago, is removed.
func (x *Inbox) known(ctx context.Context, e entry) (bool, error) {
	var id, message, received, complete int64
	err := x.o.Store.Get(ctx, "SELECT id, message, received, complete FROM report_in WHERE kind = ? AND org = ? AND report_id = ? AND domain = ? AND part = ? AND proven = ?",
		[]any{string(e.Kind), e.Org, e.ReportID, e.Domain, e.Part, e.Proven}, &id, &message, &received, &complete)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for a report: %w", err)
	case complete == 1:
		return true, nil
	case message != int64(e.Message) && x.o.Now().Sub(time.UnixMilli(received)) < abandoned:
		return false, errBusy
	}
	return false, x.remove(ctx, id)
}

// remove deletes a report with its records, in batches. Nobody reads it from
// the first one on.
func (x *Inbox) remove(ctx context.Context, id int64) error {
	var last int64
	if err := x.o.Store.Get(ctx, "SELECT COALESCE(MAX(n), 0) FROM report_in_record WHERE report = ?", []any{id}, &last); err != nil {
		return fmt.Errorf("remove a report: %w", err)
	}
	hide := store.Statement{SQL: "UPDATE report_in SET complete = 0 WHERE id = ?", Args: []any{id}}
	for from := int64(0); from <= last; from += rowsAtOnce {
		_, err := x.o.Store.Submit(ctx, hide, store.Statement{SQL: "DELETE FROM report_in_record WHERE report = ? AND n >= ? AND n < ?", Args: []any{id, from, from + rowsAtOnce}})
		if err != nil {
			return fmt.Errorf("remove a report: %w", err)
		}
	}
	if _, err := x.o.Store.Submit(ctx, store.Statement{SQL: "DELETE FROM report_in WHERE id = ?", Args: []any{id}}); err != nil {
		return fmt.Errorf("remove a report: %w", err)
	}
	return nil
}

// expireAtOnce bounds the list of what is removed.
const expireAtOnce = 100

// Expire forgets what came before a time, and what was left half written.
func (x *Inbox) Expire(ctx context.Context, before time.Time) error {
	for {
		var ids []int64
		err := x.o.Store.Select(ctx, func(scan func(...any) error) error {
			var id int64
			err := scan(&id)
			ids = append(ids, id)
			return err
		}, "SELECT id FROM report_in WHERE received < ? OR complete = 0 AND received < ? ORDER BY id LIMIT ?",
			before.UnixMilli(), x.o.Now().Add(-24*time.Hour).UnixMilli(), expireAtOnce)
		if err != nil {
			return fmt.Errorf("expire reports: %w", err)
		}
		for _, id := range ids {
			if err := x.remove(ctx, id); err != nil {
				return err
			}
		}
		if len(ids) < expireAtOnce {
			break
		}
	}
	_, err := x.o.Store.Submit(ctx, store.Statement{SQL: "DELETE FROM report_in_unread WHERE received < ?", Args: []any{before.UnixMilli()}},
		store.Statement{SQL: "DELETE FROM report_in_day WHERE day < ?", Args: []any{dayOf(x.o.Now()) - refusalDays}})
	if err != nil {
		return fmt.Errorf("expire reports: %w", err)
	}
	return nil
}

// Forget removes all that came from a sender, as Report.Proven names him: made
// up numbers spoil every sum until they expire. It tells how many reports went.
func (x *Inbox) Forget(ctx context.Context, proven string) (int, error) {
	for n := 0; ; {
		var ids []int64
		err := x.o.Store.Select(ctx, func(scan func(...any) error) error {
			var id int64
			err := scan(&id)
			ids = append(ids, id)
			return err
		}, "SELECT id FROM report_in WHERE proven = ? ORDER BY id LIMIT ?", proven, expireAtOnce)
		if err != nil {
			return n, fmt.Errorf("find the reports of %s: %w", named(proven), err)
		}
		for _, id := range ids {
			if err := x.remove(ctx, id); err != nil {
				return n, err
			}
			n++
		}
		if len(ids) < expireAtOnce {
			_, err := x.o.Store.Submit(ctx, store.Statement{SQL: "DELETE FROM report_in_unread WHERE proven = ?", Args: []any{proven}})
			if err != nil {
				return n, fmt.Errorf("forget what could not be read of %s: %w", named(proven), err)
			}
			return n, nil
		}
	}
}

// kinds are what a filter may name.
var kinds = []extract.Kind{extract.Aggregate, extract.Failure, extract.TLS}
