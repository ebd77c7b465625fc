package tlsrpt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"gatepost/mail"
)

// Report is one report; it may be about several policies.
type Report struct {
	Org      string    `json:"org"`
	Contact  string    `json:"contact,omitempty"`
	ID       string    `json:"report_id"`
	Begin    time.Time `json:"begin"`
	End      time.Time `json:"end"`
	Policies []Policy  `json:"policies"`
}

// Policy is what was seen of one policy of one domain.
type Policy struct {
	Domain    mail.Domain `json:"domain"`
	Type      string      `json:"type"` // sts, tlsa, no-policy-found
	Strings   []string    `json:"policy_string,omitempty"`
	MX        []string    `json:"mx_host,omitempty"`
	Succeeded int64       `json:"successful_sessions"`
	Failed    int64       `json:"failed_sessions"`
	Failures  []Failure   `json:"failures,omitempty"`
}

// Failure is sessions that failed alike (RFC 8460 section 4.3).
type Failure struct {
	Result    string     `json:"result"`
	Sender    netip.Addr `json:"sending_mta_ip,omitzero"`
	Receiver  string     `json:"receiving_mx_hostname,omitempty"`
	Address   string     `json:"receiving_ip,omitempty"`
	Sessions  int64      `json:"sessions"`
	Reason    string     `json:"reason,omitempty"`
	MoreAbout string     `json:"more,omitempty"`
}

// Bounds of one report.
const (
	maxDocument = 8 << 20
	maxDepth    = 12
	maxObjects  = 20_000
	maxPolicies = 100
	maxFailures = 2000
	maxStrings  = 100
	maxText     = 300
	maxCount    = 1_000_000_000_000
)

// Error is why a report is not read, in words that may be shown.
type Error struct{ Reason string }

// Error is the reason.
func (e *Error) Error() string { return e.Reason }

func refuse(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// wire is the report as it is sent (RFC 8460 section 4.4).
type wire struct {
	Org       string `json:"organization-name"`
	DateRange struct {
		Begin string `json:"start-datetime"`
		End   string `json:"end-datetime"`
	} `json:"date-range"`
	Contact  string       `json:"contact-info"`
	ID       string       `json:"report-id"`
	Policies []wirePolicy `json:"policies"`
}

type wirePolicy struct {
	Policy struct {
		Type    string `json:"policy-type"`
		Strings list   `json:"policy-string"`
		Domain  string `json:"policy-domain"`
		MX      list   `json:"mx-host"`
	} `json:"policy"`
	Summary struct {
		Succeeded int64 `json:"total-successful-session-count"`
		Failed    int64 `json:"total-failure-session-count"`
	} `json:"summary"`
	Failures []struct {
		Result   string `json:"result-type"`
		Sender   string `json:"sending-mta-ip"`
		Receiver string `json:"receiving-mx-hostname"`
		Address  string `json:"receiving-ip"`
		Sessions int64  `json:"failed-session-count"`
		More     string `json:"additional-information"`
		Reason   string `json:"failure-reason-code"`
	} `json:"failure-details"`
}

// list is a list of texts, or one text, as reporters write it.
type list []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *list) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*l = list{""}
		return json.Unmarshal(b, &(*l)[0])
	}
	return json.Unmarshal(b, (*[]string)(l))
}

// Parse reads one report.
func Parse(b []byte) (*Report, error) {
	if len(b) > maxDocument {
		return nil, refuse("it is larger than %d octets", maxDocument)
	}
	if err := shallow(b); err != nil {
		return nil, err
	}
	var w wire
	if err := json.Unmarshal(b, &w); err != nil {
		return nil, broken(err)
	}
	r := &Report{Org: text(w.Org), Contact: text(w.Contact), ID: text(w.ID)}
	if r.Org == "" {
		_, r.Org, _ = strings.Cut(r.Contact, "@")
	}
	switch {
	case r.Org == "":
		return nil, refuse("it has neither organization-name nor contact-info")
	case r.ID == "":
		return nil, refuse("it has no report-id")
	case len(w.Policies) == 0:
		return nil, refuse("it has no policies")
	case len(w.Policies) > maxPolicies:
		return nil, refuse("it has more than %d policies", maxPolicies)
	}
	var err error
	if r.Begin, err = when("start-datetime", w.DateRange.Begin); err != nil {
		return nil, err
	}
	if r.End, err = when("end-datetime", w.DateRange.End); err != nil {
		return nil, err
	}
	if r.End.Before(r.Begin) {
		return nil, refuse("date-range ends before it begins")
	}
	for i := range w.Policies {
		p, err := w.Policies[i].read(i + 1)
		if err != nil {
			return nil, err
		}
		r.Policies = append(r.Policies, p)
	}
	return r, nil
}

// shallow refuses what is nested deeply or has too many parts, before anything
// is built of it.
func shallow(b []byte) error {
	d, depth, objects := json.NewDecoder(bytes.NewReader(b)), 0, 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return broken(err)
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxDepth {
				return refuse("it is nested deeper than %d", maxDepth)
			}
			if objects++; objects > maxObjects {
				return refuse("it has more than %d objects and lists", maxObjects)
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

func broken(err error) error { return refuse("it is not the JSON of RFC 8460: %s", text(err.Error())) }

func text(s string) string { return mail.SafeText(s, maxText) }

func when(what, s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil { // Microsoft leaves out the zone
		t, err = time.Parse("2006-01-02T15:04:05", s)
	}
	if err != nil || t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}, refuse("date-range has no %s: %q", what, text(s))
	}
	return t.UTC(), nil
}

func (w *wirePolicy) read(n int) (Policy, error) {
	p := Policy{Type: text(w.Policy.Type), Succeeded: w.Summary.Succeeded, Failed: w.Summary.Failed}
	d, err := mail.ParseDomain(strings.TrimSuffix(w.Policy.Domain, "."))
	if err != nil {
		return p, refuse("policy %d has no policy-domain: %q", n, text(w.Policy.Domain))
	}
	p.Domain = d
	if !sane(p.Succeeded) || !sane(p.Failed) {
		return p, refuse("policy %d: a session count is not a number up to %d", n, int64(maxCount))
	}
	if len(w.Failures) > maxFailures {
		return p, refuse("policy %d has more than %d failure-details", n, maxFailures)
	}
	p.Strings, p.MX = texts(w.Policy.Strings), texts(w.Policy.MX)
	for _, f := range w.Failures {
		if !sane(f.Sessions) {
			return p, refuse("policy %d: a session count is not a number up to %d", n, int64(maxCount))
		}
		out := Failure{Result: text(f.Result), Receiver: text(f.Receiver), Address: text(f.Address), Sessions: f.Sessions, Reason: text(f.Reason), MoreAbout: text(f.More)}
		if addr, err := netip.ParseAddr(f.Sender); err == nil && addr.Zone() == "" { // some leave it out or write a name
			out.Sender = addr.Unmap()
		}
		p.Failures = append(p.Failures, out)
	}
	return p, nil
}

func sane(count int64) bool { return count >= 0 && count <= maxCount }

func texts(l list) []string {
	var out []string
	for _, s := range l[:min(len(l), maxStrings)] {
		out = append(out, text(s))
	}
	return out
}
