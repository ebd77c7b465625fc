package outgoing

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatepost/auth/dmarc"
	"gatepost/mail"
	"gatepost/report/aggregate"
	"gatepost/report/compose"
	"gatepost/report/tally"
)

// build makes the report of rows, which are those of sum with the most
// messages.
func build(s Settings, sum tally.Sum, rows []tally.Row) *aggregate.Report {
	begin, end := sum.Day.Begin(), (sum.Day + 1).Begin().Add(-time.Second)
	r := &aggregate.Report{Org: s.Org, Email: s.From.String(), ID: compose.ReportID(s.Submitter, sum.Domain, begin, end),
		Begin: begin, End: end, Software: s.Software, Domain: sum.Domain}
	var shown int64
	for _, row := range rows {
		r.Records = append(r.Records, record(row))
		shown += row.Messages
	}
	if left := sum.Rows - int64(len(rows)); left > 0 {
		r.Errors = append(r.Errors, fmt.Sprintf("%d records with the fewest messages, %d messages in all, are left out", left, sum.Messages-shown))
	}
	if len(rows) == 0 {
		return r
	}
	latest, changed := rows[0], false
	for _, row := range rows[1:] {
		changed = changed || !samePolicy(row.Policy, rows[0].Policy)
		if row.Seen.After(latest.Seen) {
			latest = row
		}
	}
	r.Policy = published(latest.Policy, s.Discovery)
	if changed {
		r.Errors = append(r.Errors, "the policy record changed during this day; the one that was seen last is shown")
	}
	return r
}

func samePolicy(a, b tally.Policy) bool {
	same := slices.Equal(a.FO, b.FO)
	a.FO, b.FO = nil, nil
	return same && a.P == b.P && a.SP == b.SP && a.NP == b.NP && a.Pct == b.Pct && a.Testing == b.Testing &&
		a.DKIMStrict == b.DKIMStrict && a.SPFStrict == b.SPFStrict
}

func published(p tally.Policy, discovery string) aggregate.Policy {
	mode := func(strict bool) string {
		if strict {
			return "s"
		}
		return "r"
	}
	testing := "n"
	if p.Testing {
		testing = "y"
	}
	if discovery != dmarc.PSL {
		discovery = dmarc.TreeWalk
	}
	return aggregate.Policy{P: p.P, SP: p.SP, NP: p.NP, ADKIM: mode(p.DKIMStrict), ASPF: mode(p.SPFStrict),
		Pct: strconv.Itoa(p.Pct), FO: strings.Join(p.FO, ":"), Testing: testing, Discovery: discovery}
}

// record says of a row what both formats may have; each takes its own words.
func record(row tally.Row) aggregate.Record {
	passed := func(ok bool) string {
		if ok {
			return "pass"
		}
		return "fail"
	}
	r := aggregate.Record{Source: row.Source, Count: row.Messages, Disposition: row.Disposition, DKIM: passed(row.DKIM), SPF: passed(row.SPF),
		HeaderFrom: row.HeaderFrom.String(), EnvelopeFrom: row.EnvelopeFrom.String(), EnvelopeTo: row.EnvelopeTo.String()}
	if row.Reason.Type != "" {
		r.Reasons = []aggregate.Reason{{Type: row.Reason.Type, Comment: row.Reason.Comment}}
	}
	for _, s := range row.Signatures {
		r.Results = append(r.Results, aggregate.Result{Method: "dkim", Domain: s.Domain, Selector: s.Selector, Result: s.Result})
	}
	if row.Sender.Domain != "" {
		r.Results = append(r.Results, aggregate.Result{Method: "spf", Domain: row.Sender.Domain, Scope: row.Sender.Scope, Result: row.Sender.Result})
	}
	return r
}

// composed makes the message, with fewer records where it would be larger than
// allowed.
func (x *Sender) composed(s Settings, sum tally.Sum, rows []tally.Row, to []mail.Address) (*aggregate.Report, []byte, error) {
	for {
		r := build(s, sum, rows)
		content, err := compose.Aggregate(r, to, compose.Options{From: s.From, Org: s.Org, Submitter: s.Submitter,
			Now: x.o.Now(), MessageID: fmt.Sprintf("dmarc.%s@%s", r.ID, s.Submitter), Format: s.Format})
		if err != nil || int64(len(content)) <= s.MaxSize || len(rows) <= 1 {
			return r, content, err
		}
		rows = rows[:len(rows)/2]
	}
}
