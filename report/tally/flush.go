package tally

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatepost/auth/dmarc"
	"gatepost/mail"
	"gatepost/store"
	"gatepost/telemetry"
)

const (
	rowsAtOnce = 500              // of one commit: others wait behind it
	lastFlush  = 5 * time.Second  // at shutdown
	dropEvery  = 15 * time.Minute // between lines in the log about dropped messages
)

const upsert = "INSERT INTO report_tally (day, domain, evaluation, messages, accepted, seen, detail) VALUES (?, ?, ?, ?, ?, ?, ?)" +
	" ON CONFLICT (day, domain, evaluation) DO UPDATE SET messages = report_tally.messages + excluded.messages," +
	" accepted = report_tally.accepted + excluded.accepted, seen = {{greatest}}(report_tally.seen, excluded.seen)"

// update is for rows that this node has written before: their detail is gone
// from memory.
const update = "UPDATE report_tally SET messages = messages + ?, accepted = accepted + ?, seen = {{greatest}}(seen, ?) WHERE day = ? AND domain = ? AND evaluation = ?"

// Run writes what was counted every few seconds, and a last time when ctx ends.
func (t *Tally) Run(ctx context.Context) error {
	t.load(ctx)
	tick := time.NewTicker(t.o.Flush)
	defer tick.Stop()
	told := time.Time{}
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
			defer cancel()
			t.flush(last)
			return nil
		case <-tick.C:
			t.flush(ctx)
		}
		if now := t.o.Now(); now.Sub(told) >= dropEvery {
			if n := t.dropped.Swap(0); n > 0 {
				told = now
				t.o.Logger.Warn("DMARC reports of today will show too little: more kinds of mail than are counted", "messages", n)
			}
		}
	}
}

// flush is Flush where nobody waits for the answer.
func (t *Tally) flush(ctx context.Context) {
	switch err := t.Flush(ctx); {
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, store.ErrUnknown):
		t.o.Logger.Warn("it is not known whether figures for DMARC reports were written; they are not written again, so that reports may show too little", telemetry.KeyError, err.Error())
	default:
		t.o.Logger.Warn("figures for DMARC reports were not written; they are kept and tried again", telemetry.KeyError, err.Error())
	}
}

// load learns which rows of today are in the store, so that a restart makes no
// room for as many again.
func (t *Tally) load(ctx context.Context) {
	on := DayOf(t.o.Now())
	found := map[string]mail.Domain{}
	err := t.o.Store.Select(ctx, func(scan func(...any) error) error {
		var name, id string
		if err := scan(&name, &id); err != nil {
			return err
		}
		domain, err := mail.ParseDomain(name)
		found[id] = domain
		return err
	}, "SELECT domain, evaluation FROM report_tally WHERE day = ? LIMIT ?", int64(on), t.o.Rows)
	if err != nil {
		t.o.Logger.Warn("today's figures for DMARC reports were not read; their number starts at none", telemetry.KeyError, err.Error())
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.day(on)
	d.stored = map[string]bool{}
	for _, r := range d.rows {
		delete(found, r.id.String())
	}
	for id, domain := range found {
		d.stored[id] = true
		d.domains[dmarc.Registered(domain.String())]++
		d.total++
	}
}

// Flush writes what was counted so far.
func (t *Tally) Flush(ctx context.Context) error {
	t.flushing.Lock()
	defer t.flushing.Unlock()
	t.mu.Lock()
	rows := t.dirty
	t.dirty = nil
	t.mu.Unlock()
	// The same order on all nodes, so that none waits for another in a circle.
	slices.SortFunc(rows, func(a, b *row) int {
		return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.domain.String(), b.domain.String()), bytes.Compare(a.id[:], b.id[:]))
	})
	for len(rows) > 0 {
		n := min(len(rows), rowsAtOnce)
		if err := t.write(ctx, rows[:n]); err != nil {
			t.requeue(rows[n:])
			return err
		}
		rows = rows[n:]
	}
	t.forget(DayOf(t.o.Now()))
	return nil
}

// write commits rows. Where the commit failed they wait for the next time;
// where nobody knows whether it failed they do not: rather too few messages in
// a report than too many.
func (t *Tally) write(ctx context.Context, rows []*row) error {
	taken := make([]figures, len(rows))
	t.mu.Lock()
	for i, r := range rows {
		taken[i], r.pending, r.queued = r.pending, figures{}, false
	}
	t.mu.Unlock()
	statements := make([]store.Statement, len(rows))
	for i, r := range rows {
		statements[i] = r.statement(taken[i])
	}
	_, err := t.o.Store.Submit(ctx, statements...)
	if err == nil {
		for _, r := range rows {
			r.detail = nil
		}
		return nil
	}
	if !errors.Is(err, store.ErrUnknown) {
		t.mu.Lock()
		for i, r := range rows {
			t.grow(r, taken[i])
		}
		t.mu.Unlock()
	}
	return fmt.Errorf("write figures of DMARC: %w", err)
}

// statement adds figures to the row in the store.
func (r *row) statement(by figures) store.Statement {
	on, domain, id := int64(r.day), r.domain.String(), r.id.String()
	if r.detail == nil {
		return store.Statement{SQL: update, Args: []any{by.messages, by.accepted, by.seen, on, domain, id}}
	}
	return store.Statement{SQL: upsert, Args: []any{on, domain, id, by.messages, by.accepted, by.seen, r.detail}}
}

// requeue gives back rows that were not tried.
func (t *Tally) requeue(rows []*row) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dirty = append(t.dirty, rows...)
}

// forget lets go of days that are over and written.
func (t *Tally) forget(today Day) {
	t.mu.Lock()
	defer t.mu.Unlock()
	waiting := map[Day]bool{today: true}
	for _, r := range t.dirty {
		waiting[r.day] = true
	}
	for on := range t.days {
		if !waiting[on] {
			delete(t.days, on)
		}
	}
}
