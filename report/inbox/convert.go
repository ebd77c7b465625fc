package inbox

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"time"

	"gatepost/mail"
	"gatepost/report/aggregate"
	"gatepost/report/extract"
	"gatepost/report/failure"
	"gatepost/report/tlsrpt"
)

// entry is a report that is to be stored.
type entry struct {
	Report
	rows []Record
}

// envelope is what is known of the message that brought the reports.
type envelope struct {
	messageID string
	from      string // header field
	received  time.Time
}

// read parses one document. A TLS report becomes an entry per policy.
func read(d extract.Document, e envelope) ([]entry, error) {
	if d.Err != nil {
		return nil, d.Err
	}
	switch d.Kind {
	case extract.Aggregate:
		r, err := aggregate.Parse(d.Data, aggregate.Limits{})
		if err != nil {
			return nil, err
		}
		return []entry{ofAggregate(r)}, nil
	case extract.TLS:
		r, err := tlsrpt.Parse(d.Data)
		if err != nil {
			return nil, err
		}
		return ofTLS(r), nil
	}
	r, err := failure.Parse(d.Data, d.Original)
	if err != nil {
		return nil, err
	}
	return []entry{ofFailure(r, d.Data, e)}, nil
}

// reasonOf is what may be shown of an error of a parser.
func reasonOf(err error) (string, bool) {
	var x *extract.Error
	var a *aggregate.Error
	var f *failure.Error
	var t *tlsrpt.Error
	if errors.As(err, &x) || errors.As(err, &a) || errors.As(err, &f) || errors.As(err, &t) {
		return mail.SafeText(err.Error(), maxReason), true
	}
	return "", false
}

func ofAggregate(r *aggregate.Report) entry {
	rows := r.Records
	head := *r
	head.Records = nil
	e := entry{Report: Report{Kind: extract.Aggregate, Org: r.Org, ReportID: r.ID, Domain: r.Domain.String(), Begin: r.Begin, End: r.End, Detail: encode(head)}}
	for _, x := range rows {
		e.Messages += x.Count
		if x.Passed() {
			e.Passed += x.Count
		}
		e.rows = append(e.rows, Record{Source: text(x.Source), HeaderFrom: x.HeaderFrom, Messages: x.Count,
			Disposition: x.Disposition, DKIM: x.DKIM, SPF: x.SPF, Detail: encode(x)})
	}
	return e
}

func ofTLS(r *tlsrpt.Report) []entry {
	var out []entry
	for i, p := range r.Policies {
		head := *r
		head.Policies = []tlsrpt.Policy{p}
		head.Policies[0].Failures = nil
		e := entry{Report: Report{Kind: extract.TLS, Org: r.Org, ReportID: r.ID, Domain: p.Domain.String(), Part: i, Begin: r.Begin, End: r.End,
			Messages: p.Succeeded + p.Failed, Passed: p.Succeeded, Detail: encode(head)}}
		for _, f := range p.Failures {
			e.rows = append(e.rows, Record{Source: text(f.Sender), Messages: f.Sessions, Disposition: f.Result, Detail: encode(f)})
		}
		out = append(out, e)
	}
	return out
}

// ofFailure names the report by the message that brought it: the format has no
// id of its own, and mostly no name of the reporter.
func ofFailure(r *failure.Report, data []byte, e envelope) entry {
	id := e.messageID
	if id == "" {
		sum := sha256.Sum256(data)
		id = hex.EncodeToString(sum[:16])
	}
	org := strings.TrimSpace(strings.TrimPrefix(r.Reporter, "dns;"))
	if i := strings.LastIndex(e.from, "@"); org == "" && i >= 0 {
		org = strings.ToLower(strings.Trim(e.from[i+1:], "> \t"))
	}
	if org == "" {
		org = "unknown"
	}
	aligned := func(method string) string {
		if strings.Contains(r.Alignment, method) {
			return "pass"
		}
		return "fail"
	}
	row := Record{Source: text(r.Source), HeaderFrom: r.Domain, Messages: 1, Disposition: r.Delivery, DKIM: aligned("dkim"), SPF: aligned("spf"), Detail: encode(r)}
	return entry{Report: Report{Kind: extract.Failure, Org: org, ReportID: id, Domain: r.Domain, Begin: e.received, End: e.received, Messages: 1, Detail: encode(r)}, rows: []Record{row}}
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// encode writes what the parsers made safe; nothing in it can fail.
func encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage("{}")
	}
	return b
}
