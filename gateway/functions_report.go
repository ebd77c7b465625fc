package gateway

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"gatepost/admin"
	"gatepost/mail"
	"gatepost/report/extract"
	"gatepost/report/inbox"
)

// ReportQuestion is what the report calls ask. Not every call reads every
// field.
type ReportQuestion struct {
	ID     string        `json:"id,omitempty"`
	Domain string        `json:"domain,omitempty"`
	Kind   string        `json:"kind,omitempty"` // dmarc, failure, tls; empty: all
	Since  time.Duration `json:"since,omitempty"`
	Limit  int           `json:"limit,omitempty"`
	Names  bool          `json:"names,omitempty"` // sources: look up reverse names
}

// ReportList is reports, and what could not be read.
type ReportList struct {
	Reports []inbox.Report `json:"reports"`
	Unread  []inbox.Unread `json:"unread"`
	// Refused is mail that was not read, for its sender had sent enough.
	Refused []inbox.Refusal `json:"refused"`
}

// ReportAnswer is one report with its records, or one that could not be read.
type ReportAnswer struct {
	Report  *inbox.Report  `json:"report,omitempty"`
	Records []inbox.Record `json:"records,omitempty"`
	Unread  *inbox.Unread  `json:"unread,omitempty"`
}

// Bounds of the answers.
const (
	reportLimit = 10_000
	nameLimit   = 50 // sources whose names are looked up
	nameWait    = 4 * time.Second
)

func (g *Gateway) reportFunctions() map[string]admin.Function {
	return map[string]admin.Function{
		"report/list":    admin.Answer(g.reportList),
		"report/show":    admin.Answer(g.reportShow),
		"report/sources": admin.Answer(g.reportSources),
		"report/forget":  admin.Answer(g.reportForget),
	}
}

// ReportForget names a sender of reports; empty: mail that proved none.
type ReportForget struct {
	Sender string `json:"sender"`
}

// ReportForgotten tells how many reports were removed.
type ReportForgotten struct {
	Reports int `json:"reports"`
}

func (g *Gateway) reportForget(ctx context.Context, q ReportForget) (ReportForgotten, error) {
	if q.Sender != "" {
		d, err := mail.ParseDomain(q.Sender)
		if err != nil {
			return ReportForgotten{}, admin.Invalid("%v", err)
		}
		q.Sender = d.String()
	}
	n, err := g.reports.Forget(ctx, q.Sender)
	if n > 0 {
		g.logged("reports removed", "sender", q.Sender, "reports", n)
	}
	return ReportForgotten{n}, err
}

func (q ReportQuestion) check() error {
	if q.Limit < 1 || q.Limit > reportLimit {
		return admin.Invalid("limit must be 1 to %d", reportLimit)
	}
	if q.Since <= 0 {
		return admin.Invalid("since must be more than 0")
	}
	return nil
}

func (g *Gateway) reportList(ctx context.Context, q ReportQuestion) (ReportList, error) {
	if err := q.check(); err != nil {
		return ReportList{}, err
	}
	f := inbox.Filter{Kind: extract.Kind(q.Kind), Since: g.now().Add(-q.Since), Limit: q.Limit}
	var err error
	if q.Domain != "" {
		if f.Domain, err = mail.ParseDomain(q.Domain); err != nil {
			return ReportList{}, admin.Invalid("%v", err)
		}
	}
	out := ReportList{Reports: []inbox.Report{}, Unread: []inbox.Unread{}, Refused: []inbox.Refusal{}}
	found, err := g.reports.List(ctx, f)
	if errors.Is(err, inbox.ErrKind) {
		return ReportList{}, admin.Invalid("--kind is dmarc, failure or tls, not %q", q.Kind)
	}
	if err != nil {
		return ReportList{}, err
	}
	out.Reports = append(out.Reports, found...)
	if q.Domain != "" || q.Kind != "" {
		return out, nil // of what cannot be read neither is known
	}
	unread, err := g.reports.Unread(ctx, f.Since, q.Limit)
	if err != nil {
		return ReportList{}, err
	}
	out.Unread = append(out.Unread, unread...)
	refused, err := g.reports.Refusals(ctx, f.Since, q.Limit)
	out.Refused = append(out.Refused, refused...)
	return out, err
}

func (g *Gateway) reportShow(ctx context.Context, q ReportQuestion) (ReportAnswer, error) {
	id, err := mail.ParseID(q.ID)
	if err != nil {
		return ReportAnswer{}, admin.Invalid("%v", err)
	}
	report, records, err := g.reports.Show(ctx, id, reportLimit)
	if err == nil {
		return ReportAnswer{Report: &report, Records: records}, nil
	}
	if !errors.Is(err, inbox.ErrUnknown) {
		return ReportAnswer{}, err
	}
	unread, err := g.reports.ShowUnread(ctx, id)
	if errors.Is(err, inbox.ErrUnknown) {
		return ReportAnswer{}, admin.NotFound("there is no report %s; 'gatepost report list' shows their ids, and report.keep how long they are kept", id)
	}
	if err != nil {
		return ReportAnswer{}, err
	}
	return ReportAnswer{Unread: &unread}, nil
}

func (g *Gateway) reportSources(ctx context.Context, q ReportQuestion) (inbox.Sources, error) {
	if err := q.check(); err != nil {
		return inbox.Sources{}, err
	}
	domain, err := mail.ParseDomain(q.Domain)
	if err != nil {
		return inbox.Sources{}, admin.Invalid("%v", err)
	}
	sources, err := g.reports.Sources(ctx, domain, g.now().Add(-q.Since))
	if err != nil {
		return inbox.Sources{}, err
	}
	if len(sources.Sources) > q.Limit {
		sources.Sources, sources.More = sources.Sources[:q.Limit], true
	}
	if q.Names {
		g.nameSources(ctx, sources.Sources)
	}
	return sources, nil
}

// nameSources looks up the reverse names of the largest sources, all at once
// and not for long. The owner of an address may give it any name.
func (g *Gateway) nameSources(ctx context.Context, list []inbox.Source) {
	p, done := g.live.take()
	defer done()
	ctx, cancel := within(ctx, nameWait)
	defer cancel()
	var all sync.WaitGroup
	for i := range list[:min(len(list), nameLimit)] {
		addr, err := netip.ParseAddr(list[i].Source)
		if err != nil {
			continue
		}
		all.Go(func() {
			if answer, err := p.resolver.PTR(ctx, addr); err == nil && len(answer.Records) > 0 {
				list[i].Name = mail.SafeText(answer.Records[0], 255)
			}
		})
	}
	all.Wait()
}
