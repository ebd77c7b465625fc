package outgoing

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gatepost/auth/dmarc"
	"gatepost/mail"
	"gatepost/report/suppress"
	"gatepost/report/tally"
	"gatepost/store"
)

// Entry is a report that was sent, or skipped for good.
type Entry struct {
	Day          tally.Day       `json:"day"`
	Domain       mail.Domain     `json:"domain"`
	State        string          `json:"state"` // sent or skipped
	At           time.Time       `json:"at"`
	ReportID     string          `json:"report_id,omitempty"`
	Message      mail.ID         `json:"message,omitzero"`
	Records      int64           `json:"records"`
	Messages     int64           `json:"messages"` // that the report is about
	Octets       int64           `json:"octets"`   // of the report's message
	Reason       string          `json:"reason,omitempty"`
	Destinations []string        `json:"destinations"`
	Refused      []Refused       `json:"refused"`
	Copies       []suppress.Copy `json:"copies,omitempty"` // what became of them
}

const columns = "SELECT day, domain, state, at, report_id, message, records, messages, octets, reason, destinations, refused FROM report_out"

// List gives the last reports, the latest first.
func (x *Sender) List(ctx context.Context, since time.Time, limit int) ([]Entry, error) {
	return x.entries(ctx, columns+" WHERE at >= ? ORDER BY at DESC, day DESC, domain LIMIT ?", since.UnixMilli(), limit)
}

// Find gives what was done about a domain and day, nil where nothing was yet.
func (x *Sender) Find(ctx context.Context, day tally.Day, domain mail.Domain) (*Entry, error) {
	found, err := x.entries(ctx, columns+" WHERE day = ? AND domain = ?", int64(day), domain.String())
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

func (x *Sender) entries(ctx context.Context, query string, args ...any) ([]Entry, error) {
	out := []Entry{}
	err := x.o.Store.Select(ctx, func(scan func(...any) error) error {
		e, err := entry(scan)
		out = append(out, e)
		return err
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("list reports: %w", err)
	}
	for i := range out {
		if out[i].Message == 0 {
			continue
		}
		if out[i].Copies, err = x.o.Suppress.CopiesOf(ctx, out[i].Message); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func entry(scan func(...any) error) (e Entry, err error) {
	var day, at, message int64
	var domain string
	var to, refused []byte
	if err := scan(&day, &domain, &e.State, &at, &e.ReportID, &message, &e.Records, &e.Messages, &e.Octets, &e.Reason, &to, &refused); err != nil {
		return e, err
	}
	e.Day, e.At, e.Message = tally.Day(day), time.UnixMilli(at).UTC(), mail.ID(message)
	if e.Domain, err = mail.ParseDomain(domain); err != nil {
		return e, err
	}
	if err := json.Unmarshal(to, &e.Destinations); err != nil {
		return e, err
	}
	return e, json.Unmarshal(refused, &e.Refused)
}

// known is what was done about days from one on.
func (x *Sender) known(ctx context.Context, from tally.Day) (map[subject]bool, error) {
	out := map[subject]bool{}
	err := x.o.Store.Select(ctx, func(scan func(...any) error) error {
		var day int64
		var name string
		if err := scan(&day, &name); err != nil {
			return err
		}
		domain, err := mail.ParseDomain(name)
		out[subject{tally.Day(day), domain}] = true
		return err
	}, "SELECT day, domain FROM report_out WHERE day >= ?", int64(from))
	if err != nil {
		return nil, fmt.Errorf("list reports: %w", err)
	}
	return out, nil
}

func (x *Sender) sentSince(ctx context.Context, since time.Time) (n int64, err error) {
	if err = x.o.Store.Get(ctx, "SELECT COUNT(*) FROM report_out WHERE at >= ? AND state = 'sent'", []any{since.UnixMilli()}, &n); err != nil {
		return 0, fmt.Errorf("count reports: %w", err)
	}
	return n, nil
}

// sentAbout counts reports about names of one organization. Not every name
// below one belongs to it: it may be a public suffix.
func (x *Sender) sentAbout(ctx context.Context, since time.Time, org string) (n int64, err error) {
	err = x.o.Store.Select(ctx, func(scan func(...any) error) error {
		var name string
		err := scan(&name)
		if dmarc.Registered(name) == org {
			n++
		}
		return err
	}, "SELECT domain FROM report_out WHERE at >= ? AND state = 'sent' AND (domain = ? OR domain LIKE ?)", since.UnixMilli(), org, "%."+org)
	if err != nil {
		return 0, fmt.Errorf("count reports: %w", err)
	}
	return n, nil
}

// Expire forgets what was counted of days that are too old for a report, and
// what was sent long ago.
func (x *Sender) Expire(ctx context.Context) error {
	now := x.o.Now()
	if err := x.o.Tally.Expire(ctx, tally.DayOf(now)-factDays); err != nil {
		return err
	}
	old := now.AddDate(0, 0, -listDays)
	if _, err := x.o.Store.Submit(ctx, store.Statement{SQL: "DELETE FROM report_out WHERE at < ?", Args: []any{old.UnixMilli()}}); err != nil {
		return fmt.Errorf("expire the list of reports: %w", err)
	}
	return x.o.Suppress.Expire(ctx, old)
}
