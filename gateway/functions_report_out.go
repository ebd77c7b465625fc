package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatepost/admin"
	"gatepost/mail"
	"gatepost/report/aggregate"
	"gatepost/report/outgoing"
	"gatepost/report/suppress"
	"gatepost/report/tally"
)

// ReportOutQuestion is what the calls about reports to others ask. Not every
// call reads every field.
type ReportOutQuestion struct {
	Domain string        `json:"domain,omitempty"`
	Day    string        `json:"day,omitempty"` // 2006-01-02, today or yesterday
	Format string        `json:"format,omitempty"`
	Since  time.Duration `json:"since,omitempty"`
	Limit  int           `json:"limit,omitempty"`
	By     string        `json:"by,omitempty"` // who asks, for the log
}

// ReportPreview is a report as it would be sent now.
type ReportPreview struct {
	Domain   mail.Domain        `json:"domain"`
	Day      tally.Day          `json:"day"`
	Due      time.Time          `json:"due"`
	Messages int64              `json:"messages"`
	Accepted int64              `json:"accepted"`
	Records  int                `json:"records"`
	From     mail.Address       `json:"from"`
	To       []string           `json:"to"`
	Refused  []outgoing.Refused `json:"refused"`
	Why      []string           `json:"why_not"` // nothing would be sent now
	XML      string             `json:"xml,omitempty"`
}

// ReportSent is what became of one report that was to be sent at once.
type ReportSent struct {
	Domain  mail.Domain        `json:"domain"`
	Day     tally.Day          `json:"day"`
	Message mail.ID            `json:"message,omitzero"` // zero: it was not sent
	To      []string           `json:"to"`
	Refused []outgoing.Refused `json:"refused"`
	Why     string             `json:"why_not,omitempty"`
}

// ReportOutList is what was sent, and who gets nothing for a while.
type ReportOutList struct {
	Reports []outgoing.Entry `json:"reports"`
	Paused  []suppress.Pause `json:"paused"`
}

func (g *Gateway) reportOutFunctions() map[string]admin.Function {
	return map[string]admin.Function{
		"report/preview": admin.Answer(g.reportPreview),
		"report/send":    admin.Answer(g.reportSend),
		"report/sent":    admin.Answer(g.reportSent),
	}
}

func (g *Gateway) dayAndDomain(q ReportOutQuestion) (day tally.Day, domain mail.Domain, err error) {
	if domain, err = mail.ParseDomain(q.Domain); err != nil {
		return 0, domain, admin.Invalid("%v", err)
	}
	switch today := tally.DayOf(g.now()); q.Day {
	case "today":
		day = today
	case "yesterday":
		day = today - 1
	default:
		if err := day.UnmarshalText([]byte(q.Day)); err != nil {
			return 0, domain, admin.Invalid("--day is today, yesterday or a day such as %s (UTC), not %q", today, q.Day)
		}
	}
	return day, domain, nil
}

// reportPreview works while nothing is sent, and without a running gateway.
func (g *Gateway) reportPreview(ctx context.Context, q ReportOutQuestion) (ReportPreview, error) {
	day, domain, err := g.dayAndDomain(q)
	if err != nil {
		return ReportPreview{}, err
	}
	if err := g.tally.Flush(ctx); err != nil {
		return ReportPreview{}, err
	}
	p, done := g.live.take()
	defer done()
	s := p.reporting
	switch f := aggregate.Format(q.Format); f {
	case "":
	case aggregate.RFC9990, aggregate.RFC7489:
		s.Format = f
	default:
		return ReportPreview{}, admin.Invalid("--format is rfc9990 or rfc7489, not %q", q.Format)
	}
	draft, err := g.sender.Draft(ctx, s, day, domain)
	if err != nil && draft.Report == nil {
		return ReportPreview{}, err
	}
	out := ReportPreview{Domain: domain, Day: day, Due: outgoing.Due(day, domain, s.Window), Messages: draft.Sum.Messages, Accepted: draft.Sum.Accepted,
		From: s.From, To: []string{}, Refused: append([]outgoing.Refused{}, draft.Refused...)}
	for _, a := range draft.To {
		out.To = append(out.To, a.String())
	}
	if out.Why, err = g.whyNot(ctx, p, out, draft, err); err != nil || draft.Report == nil {
		return out, err
	}
	var xml strings.Builder
	err = aggregate.Write(&xml, draft.Report, s.Format)
	out.Records, out.XML = len(draft.Report.Records), xml.String()
	return out, err
}

// whyNot lists why the report is not sent now.
func (g *Gateway) whyNot(ctx context.Context, p *parts, r ReportPreview, d outgoing.Draft, trouble error) ([]string, error) {
	why := []string{}
	c := p.config.Report.DMARC
	if !c.Enabled {
		why = append(why, "report.dmarc_aggregate.enabled is false")
	}
	if c.From == "" {
		why = append(why, "report.dmarc_aggregate.from is not set")
	}
	if !c.Count {
		why = append(why, "report.dmarc_aggregate.count is false: nothing is counted")
	}
	switch {
	case trouble != nil:
		why = append(why, mail.SafeText(trouble.Error(), 500))
	case d.Why != "":
		why = append(why, d.Why)
	}
	before, err := g.sender.Find(ctx, r.Day, r.Domain)
	switch now := g.now(); {
	case err != nil:
		return nil, err
	case before != nil && before.State == outgoing.Sent:
		why = append(why, fmt.Sprintf("it was sent at %s, in message %s", before.At.Format(time.RFC3339), before.Message))
	case before != nil:
		why = append(why, fmt.Sprintf("it was skipped at %s: %s; 'gatepost report send' tries again", before.At.Format(time.RFC3339), before.Reason))
	case now.Before((r.Day + 1).Begin()):
		why = append(why, "the day is not over; the report is due at "+r.Due.Format(time.RFC3339))
	case now.Before(r.Due):
		why = append(why, "it is due at "+r.Due.Format(time.RFC3339))
	}
	return why, nil
}

// reportSend sends a report at once. All rules but the time hold.
func (g *Gateway) reportSend(ctx context.Context, q ReportOutQuestion) (ReportSent, error) {
	day, domain, err := g.dayAndDomain(q)
	if err != nil {
		return ReportSent{}, err
	}
	p, done := g.live.take()
	defer done()
	out := ReportSent{Domain: domain, Day: day, To: []string{}, Refused: []outgoing.Refused{}}
	switch {
	case !p.reporting.Enabled:
		out.Why = "report.dmarc_aggregate.enabled is false"
		return out, nil
	case !g.running.Load():
		out.Why = "the gateway does not run, so that nothing would carry the report"
		return out, nil
	}
	if err := g.tally.Flush(ctx); err != nil {
		return out, err
	}
	draft, id, err := g.sender.Now(ctx, p.reporting, day, domain)
	switch {
	case errors.Is(err, outgoing.ErrDay):
		out.Why = fmt.Sprintf("reports are about days that are over, and of those the last %d", outgoing.LateDays)
	case errors.Is(err, outgoing.ErrSent):
		out.Why = "the report about this day was sent already"
	case err != nil:
		return out, err
	default:
		out.Message, out.Why, out.Refused = id, draft.Why, append(out.Refused, draft.Refused...)
	}
	if id != 0 {
		for _, a := range draft.To {
			out.To = append(out.To, a.String())
		}
		g.logged("report send", "by", q.By, "domain", domain.String(), "day", day.String())
	}
	return out, nil
}

func (g *Gateway) reportSent(ctx context.Context, q ReportOutQuestion) (ReportOutList, error) {
	if err := (ReportQuestion{Since: q.Since, Limit: q.Limit}).check(); err != nil {
		return ReportOutList{}, err
	}
	var out ReportOutList
	var err error
	if out.Reports, err = g.sender.List(ctx, g.now().Add(-q.Since), q.Limit); err != nil {
		return out, err
	}
	out.Paused, err = g.suppress.Pauses(ctx)
	return out, err
}
