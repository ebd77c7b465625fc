package inbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gatepost/mail"
	"gatepost/report/extract"
	"gatepost/store"
)

// ErrUnknown tells that there is no such report.
var ErrUnknown = errors.New("inbox: no such report")

// ErrKind tells that a kind is none.
var ErrKind = errors.New("inbox: expected dmarc, failure or tls")

// Filter chooses reports. Empty fields choose all.
type Filter struct {
	Kind   extract.Kind
	Domain mail.Domain
	Since  time.Time // received
	Limit  int
}

const reportColumns = "SELECT id, message, kind, org, report_id, domain, part, begins, ends, received, sender, records, messages, passed, proven, detail FROM report_in"

// List gives reports, the latest first.
func (x *Inbox) List(ctx context.Context, f Filter) ([]Report, error) {
	if f.Kind != "" && !slices.Contains(kinds, f.Kind) {
		return nil, ErrKind
	}
	var out []Report
	d := f.Domain.String()
	err := x.o.Store.Select(ctx, func(scan func(...any) error) error {
		r, err := scanReport(scan)
		r.Detail = nil
		out = append(out, r)
		return err
	}, reportColumns+" WHERE complete = 1 AND received >= ? AND (kind = ? OR ? = '') AND (domain = ? OR ? = '') ORDER BY id DESC LIMIT ?",
		f.Since.UnixMilli(), string(f.Kind), string(f.Kind), d, d, f.Limit)
	if err != nil {
		return nil, fmt.Errorf("list reports: %w", err)
	}
	return out, nil
}

func scanReport(scan func(...any) error) (Report, error) {
	var (
		r                                 Report
		id, message, begin, end, received int64
		kind                              string
		part, records                     int64
		detail                            []byte
		err                               = scan(&id, &message, &kind, &r.Org, &r.ReportID, &r.Domain, &part, &begin, &end, &received, &r.Sender, &records, &r.Messages, &r.Passed, &r.Proven, &detail)
	)
	r.ID, r.Message, r.Kind, r.Part, r.Records, r.Detail = mail.ID(id), mail.ID(message), extract.Kind(kind), int(part), int(records), detail
	r.Begin, r.End, r.Received = time.UnixMilli(begin).UTC(), time.UnixMilli(end).UTC(), time.UnixMilli(received).UTC()
	return r, err
}

// Show gives one report with its records, in the reporter's order.
func (x *Inbox) Show(ctx context.Context, id mail.ID, limit int) (Report, []Record, error) {
	var r Report
	found := false
	err := x.o.Store.Select(ctx, func(scan func(...any) error) (err error) {
		r, err = scanReport(scan)
		found = true
		return err
	}, reportColumns+" WHERE id = ? AND complete = 1", int64(id))
	if err == nil && !found {
		err = ErrUnknown
	}
	if err != nil {
		return Report{}, nil, fmt.Errorf("read a report: %w", err)
	}
	var rows []Record
	err = x.o.Store.Select(ctx, func(scan func(...any) error) error {
		var w Record
		var detail []byte
		err := scan(&w.Source, &w.HeaderFrom, &w.Messages, &w.Disposition, &w.DKIM, &w.SPF, &detail)
		w.Detail = detail
		rows = append(rows, w)
		return err
	}, "SELECT source, header_from, messages, disposition, dkim, spf, detail FROM report_in_record WHERE report = ? ORDER BY n LIMIT ?", int64(id), limit)
	if err != nil {
		return Report{}, nil, fmt.Errorf("read a report: %w", err)
	}
	return r, rows, nil
}

const unreadColumns = "SELECT id, message, kind, received, sender, proven, name, reason, size FROM report_in_unread"

// Unread lists what could not be read, the latest first, without its content.
func (x *Inbox) Unread(ctx context.Context, since time.Time, limit int) ([]Unread, error) {
	var out []Unread
	err := x.o.Store.Select(ctx, func(scan func(...any) error) error {
		u, err := scanUnread(scan)
		out = append(out, u)
		return err
	}, unreadColumns+" WHERE received >= ? ORDER BY id DESC LIMIT ?", since.UnixMilli(), limit)
	if err != nil {
		return nil, fmt.Errorf("list unreadable reports: %w", err)
	}
	return out, nil
}

func scanUnread(scan func(...any) error) (Unread, error) {
	var u Unread
	var id, message, received int64
	var kind string
	err := scan(&id, &message, &kind, &received, &u.Sender, &u.Proven, &u.Name, &u.Reason, &u.Size)
	u.ID, u.Message, u.Kind, u.Received = mail.ID(id), mail.ID(message), extract.Kind(kind), time.UnixMilli(received).UTC()
	return u, err
}

// ShowUnread gives one of Unread with what was kept of the message.
func (x *Inbox) ShowUnread(ctx context.Context, id mail.ID) (Unread, error) {
	var u Unread
	found := false
	err := x.o.Store.Select(ctx, func(scan func(...any) error) (err error) {
		u, err = scanUnread(scan)
		found = true
		return err
	}, unreadColumns+" WHERE id = ?", int64(id))
	if err == nil && !found {
		err = ErrUnknown
	}
	if err == nil {
		err = x.o.Store.Get(ctx, "SELECT content FROM report_in_unread WHERE id = ?", []any{int64(id)}, &u.Content)
	}
	if errors.Is(err, store.ErrNotFound) { // gone in between
		err = ErrUnknown
	}
	if err != nil {
		return Unread{}, fmt.Errorf("read an unreadable report: %w", err)
	}
	return u, nil
}

// Figures count messages.
type Figures struct {
	Messages   int64 `json:"messages"`
	DMARC      int64 `json:"dmarc"` // passed
	DKIM       int64 `json:"dkim"`  // aligned and passed
	SPF        int64 `json:"spf"`   // likewise
	Quarantine int64 `json:"quarantined"`
	Reject     int64 `json:"rejected"`
}

func (f *Figures) add(g Figures) {
	f.Messages += g.Messages
	f.DMARC += g.DMARC
	f.DKIM += g.DKIM
	f.SPF += g.SPF
	f.Quarantine += g.Quarantine
	f.Reject += g.Reject
}

// Source is who sends as a domain: one address.
type Source struct {
	Source string `json:"source"`
	Name   string `json:"name,omitempty"` // reverse DNS, where somebody looks it up
	Figures
	Orgs []string  `json:"reporters"` // with who really sent, where that is another
	Last time.Time `json:"last"`      // end of the latest report
}

// Sources is who sends as a domain by the aggregate reports about it.
type Sources struct {
	Domain  string    `json:"domain"`
	Since   time.Time `json:"since"`
	Reports int64     `json:"reports"`
	// Unproven of Reports came in mail that proves no sender: anyone can have
	// made them up.
	Unproven int64    `json:"unproven"`
	Total    Figures  `json:"total"`
	Sources  []Source `json:"sources"` // most messages first
	// More tells that only the largest sources are there; Total is of all.
	More bool `json:"more,omitempty"`
}

const (
	figures = " CAST(COALESCE(SUM(w.messages), 0) AS BIGINT)," +
		" CAST(COALESCE(SUM(CASE WHEN w.dkim = 'pass' OR w.spf = 'pass' THEN w.messages ELSE 0 END), 0) AS BIGINT)," +
		" CAST(COALESCE(SUM(CASE WHEN w.dkim = 'pass' THEN w.messages ELSE 0 END), 0) AS BIGINT)," +
		" CAST(COALESCE(SUM(CASE WHEN w.spf = 'pass' THEN w.messages ELSE 0 END), 0) AS BIGINT)," +
		" CAST(COALESCE(SUM(CASE WHEN w.disposition = 'quarantine' THEN w.messages ELSE 0 END), 0) AS BIGINT)," +
		" CAST(COALESCE(SUM(CASE WHEN w.disposition = 'reject' THEN w.messages ELSE 0 END), 0) AS BIGINT)"
	ofDomain = " FROM report_in r JOIN report_in_record w ON w.report = r.id" +
		" WHERE r.kind = 'dmarc' AND r.complete = 1 AND r.ends >= ? AND (r.domain = ? OR w.header_from = ?)"
	// groupLimit bounds pairs of source and reporter that are read.
	groupLimit = 20_000
)

// Sources asks who sends as a domain: by the reports about it, and by records
// of its name in reports about the domain above it. since is when the reports
// ended.
func (x *Inbox) Sources(ctx context.Context, domain mail.Domain, since time.Time) (Sources, error) {
	out := Sources{Domain: domain.String(), Since: since.UTC(), Sources: []Source{}}
	where := []any{since.UnixMilli(), domain.String(), domain.String()}
	t := &out.Total
	err := x.o.Store.Get(ctx, "SELECT COUNT(DISTINCT r.id), COUNT(DISTINCT CASE WHEN r.proven = '' THEN r.id END),"+figures+ofDomain, where,
		&out.Reports, &out.Unproven, &t.Messages, &t.DMARC, &t.DKIM, &t.SPF, &t.Quarantine, &t.Reject)
	if err != nil {
		return Sources{}, fmt.Errorf("count messages in reports: %w", err)
	}
	bySource, groups := map[string]*Source{}, 0
	err = x.o.Store.Select(ctx, func(scan func(...any) error) error {
		var source, org, proven string
		var g Figures
		var last int64
		if err := scan(&source, &org, &proven, &last, &g.Messages, &g.DMARC, &g.DKIM, &g.SPF, &g.Quarantine, &g.Reject); err != nil {
			return err
		}
		s := bySource[source]
		if s == nil {
			s = &Source{Source: source}
			bySource[source] = s
		}
		groups++
		s.add(g)
		s.Orgs = append(s.Orgs, reporter(org, proven))
		if at := time.UnixMilli(last).UTC(); at.After(s.Last) {
			s.Last = at
		}
		return nil
	}, "SELECT w.source, r.org, r.proven, MAX(r.ends),"+figures+ofDomain+" GROUP BY w.source, r.org, r.proven ORDER BY SUM(w.messages) DESC, w.source, r.org, r.proven LIMIT ?",
		append(where, groupLimit)...)
	if err != nil {
		return Sources{}, fmt.Errorf("group messages in reports: %w", err)
	}
	out.More = groups == groupLimit
	for _, key := range slices.Sorted(maps.Keys(bySource)) {
		out.Sources = append(out.Sources, *bySource[key])
	}
	slices.SortStableFunc(out.Sources, func(a, b Source) int { return cmp.Compare(b.Messages, a.Messages) })
	return out, nil
}

// reporter is the name that a report gives its maker, which is a stranger's
// word, and who sent it.
func reporter(org, proven string) string {
	switch {
	case proven == "":
		return org + " (unproven)"
	case strings.EqualFold(org, proven):
		return org
	}
	return org + " (" + proven + ")"
}
