package aggregate

import (
	"errors"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatepost/mail"
)

// reader fills a Report from elements.
type reader struct {
	*tokens
	report Report
	domain string
	begin  string
	end    string
	root   int // how many elements are open around and with <feedback>
	done   bool
	record *Record
	source string
	count  string
}

// Parse reads one report.
func Parse(b []byte, limits Limits) (*Report, error) {
	r := &reader{tokens: newTokens(b, limits.complete())}
	for !r.done {
		begin, value, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil, r.cutOff()
		}
		if err != nil {
			return nil, err
		}
		if begin {
			err = r.start()
		} else {
			err = r.finish(value)
			r.leave()
		}
		if err != nil {
			return nil, err
		}
	}
	if err := r.complete(); err != nil {
		return nil, err
	}
	return &r.report, nil
}

func (r *reader) cutOff() error {
	if r.root == 0 {
		return refuse("there is no element <feedback>")
	}
	return refuse("it is not well-formed XML: it ends before </feedback>")
}

// within tells whether the open elements below <feedback> are these.
func (r *reader) within(names ...string) bool {
	return r.root > 0 && slices.Equal(r.path[r.root:], names)
}

func (r *reader) start() error {
	name := r.path[len(r.path)-1]
	if r.root == 0 {
		if name == "feedback" {
			r.root = len(r.path)
		}
		return nil
	}
	switch {
	case r.within("record"):
		if len(r.report.Records) >= r.limits.Records {
			return refuse("it has more than %d records", r.limits.Records)
		}
		r.record, r.source, r.count = &Record{}, "", ""
	case r.within("record", "auth_results", "dkim"), r.within("record", "auth_results", "spf"):
		return add(&r.record.Results, Result{Method: name}, r.limits.Results, "results")
	case r.within("record", "row", "policy_evaluated", "reason"):
		return add(&r.record.Reasons, Reason{}, r.limits.Results, "reasons")
	}
	return nil
}

func add[T any](list *[]T, x T, limit int, what string) error {
	if len(*list) >= limit {
		return refuse("a record has more than %d %s", limit, what)
	}
	*list = append(*list, x)
	return nil
}

// finish takes the value of the element that ends.
func (r *reader) finish(value string) error {
	if r.root == 0 {
		return nil
	}
	below := r.path[r.root:]
	switch {
	case len(below) == 0:
		r.done = true
	case below[0] == "record":
		return r.inRecord(below[1:], value)
	case below[0] == "report_metadata":
		return r.inMetadata(strings.Join(below[1:], "/"), value)
	case below[0] == "policy_published" && len(below) == 2:
		r.inPolicy(below[1], value)
	}
	return nil
}

func (r *reader) inMetadata(name, value string) error {
	switch name {
	case "org_name":
		r.report.Org = value
	case "email":
		r.report.Email = value
	case "report_id":
		r.report.ID = value
	case "date_range/begin":
		r.begin = value
	case "date_range/end":
		r.end = value
	case "generator":
		r.report.Software = value
	case "error":
		if value != "" && len(r.report.Errors) < r.limits.Results {
			r.report.Errors = append(r.report.Errors, value)
		}
	}
	return nil
}

func (r *reader) inPolicy(name, value string) {
	p := &r.report.Policy
	fields := map[string]*string{
		"p": &p.P, "sp": &p.SP, "np": &p.NP, "adkim": &p.ADKIM, "aspf": &p.ASPF, "pct": &p.Pct, "fo": &p.FO,
		"testing": &p.Testing, "discovery_method": &p.Discovery,
	}
	if name == "domain" {
		r.domain = value
	} else if field := fields[name]; field != nil {
		*field = strings.ToLower(value)
	}
}

func (r *reader) inRecord(below []string, value string) error {
	x := r.record
	switch strings.Join(below, "/") {
	case "":
		return r.endRecord()
	case "row/source_ip":
		r.source = value
	case "row/count":
		r.count = value
	case "row/policy_evaluated/disposition":
		x.Disposition = word(value)
	case "row/policy_evaluated/dkim":
		x.DKIM = word(value)
	case "row/policy_evaluated/spf":
		x.SPF = word(value)
	case "row/policy_evaluated/reason":
		if last := len(x.Reasons) - 1; x.Reasons[last] == (Reason{}) {
			x.Reasons = x.Reasons[:last]
		}
	case "row/policy_evaluated/reason/type":
		x.Reasons[len(x.Reasons)-1].Type = word(value)
	case "row/policy_evaluated/reason/comment":
		x.Reasons[len(x.Reasons)-1].Comment = value
	case "identifiers/header_from", "identities/header_from":
		x.HeaderFrom = strings.ToLower(value)
	case "identifiers/envelope_from", "identities/envelope_from":
		x.EnvelopeFrom = strings.ToLower(value)
	case "identifiers/envelope_to", "identities/envelope_to":
		x.EnvelopeTo = strings.ToLower(value)
	default:
		if len(below) == 3 && below[0] == "auth_results" && (below[1] == "dkim" || below[1] == "spf") {
			x.Results[len(x.Results)-1].set(below[2], value)
		}
	}
	return nil
}

func (x *Result) set(name, value string) {
	switch name {
	case "domain":
		x.Domain = strings.ToLower(value)
	case "selector":
		x.Selector = value
	case "scope":
		x.Scope = word(value)
	case "result":
		x.Result = word(value)
	case "human_result":
		x.Human = value
	}
}

// word is a keyword: some reporters write it with a capital.
func word(s string) string { return mail.SafeText(strings.ToLower(s), 40) }

func (r *reader) endRecord() error {
	n := len(r.report.Records) + 1
	addr, err := netip.ParseAddr(r.source)
	if err != nil || addr.Zone() != "" {
		return refuse("record %d: source_ip %q is no address", n, mail.SafeText(r.source, 60))
	}
	r.record.Source = addr.Unmap()
	count, err := strconv.ParseInt(r.count, 10, 64)
	if err != nil || count < 0 || count > maxCount {
		return refuse("record %d: count %q is not a number up to %d", n, mail.SafeText(r.count, 40), int64(maxCount))
	}
	r.record.Count = count
	r.report.Records = append(r.report.Records, *r.record)
	r.record = nil
	return nil
}

// complete checks what a report cannot be without.
func (r *reader) complete() error {
	p := &r.report
	d, err := mail.ParseDomain(strings.TrimSuffix(r.domain, "."))
	if err != nil {
		return refuse("policy_published has no domain: %q", mail.SafeText(r.domain, 80))
	}
	p.Domain = d
	if p.ID == "" {
		return refuse("report_metadata has no report_id")
	}
	if p.Org == "" { // some have an address only
		_, p.Org, _ = strings.Cut(p.Email, "@")
	}
	if p.Org == "" {
		return refuse("report_metadata has neither org_name nor email")
	}
	if p.Begin, err = seconds("begin", r.begin); err != nil {
		return err
	}
	if p.End, err = seconds("end", r.end); err != nil {
		return err
	}
	if p.End.Before(p.Begin) {
		return refuse("date_range ends before it begins")
	}
	return nil
}

func seconds(what, s string) (time.Time, error) {
	s, _, _ = strings.Cut(s, ".") // some write fractions
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > lastSecond {
		return time.Time{}, refuse("date_range has no %s in seconds: %q", what, mail.SafeText(s, 40))
	}
	return time.Unix(n, 0).UTC(), nil
}
