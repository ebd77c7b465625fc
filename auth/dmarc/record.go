package dmarc

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Bounds of what is read of a record.
const (
	maxRecordLength = 8192 // octets; real ones have less than 500
	maxReportURIs   = 10   // of each kind
)

// Policies (RFC 9989 section 4.7).
const (
	PolicyNone       = "none"
	PolicyQuarantine = "quarantine"
	PolicyReject     = "reject"
)

// Record is a DMARC policy record. Absent tags have their default value.
type Record struct {
	Policy      string `json:"p"`
	Subdomains  string `json:"sp,omitempty"` // empty if absent
	NonExistent string `json:"np,omitempty"` // empty if absent
	DKIMStrict  bool   `json:"adkim_strict,omitempty"`
	SPFStrict   bool   `json:"aspf_strict,omitempty"`

	PSD     string `json:"psd"`         // y, n or u
	Testing bool   `json:"t,omitempty"` // t=y
	HasT    bool   `json:"has_t,omitempty"`
	Pct     int    `json:"pct"` // RFC 7489 only
	HasPct  bool   `json:"has_pct,omitempty"`

	Aggregate      []ReportURI `json:"rua,omitempty"`
	Failure        []ReportURI `json:"ruf,omitempty"`
	FailureOptions []string    `json:"fo"`
	FailureFormat  string      `json:"rf,omitempty"`   // RFC 7489 only
	Interval       uint32      `json:"ri,omitempty"`   // seconds, RFC 7489 only
	Flaw           string      `json:"flaw,omitempty"` // a policy tag with a bad value
}

// ReportURI is a destination of reports. MaxSize is in octets, zero if there
// is no limit (RFC 7489 section 6.2; RFC 9989 dropped it).
type ReportURI struct {
	URI     string `json:"uri"`
	MaxSize uint64 `json:"max_size,omitempty"`
}

// ErrNotDMARC reports a TXT record that is something else.
var ErrNotDMARC = errors.New("not a DMARC record")

// ErrUnusable reports a record that asks for an unknown policy and names no
// address for reports: no policy applies.
var ErrUnusable = errors.New("DMARC record with an unknown policy")

// ParseRecord reads a TXT record. The version must be the first tag and match
// exactly; what is wrong behind it counts as absent, but for the policy tags.
// Of a tag that stands twice the first one counts. With ErrUnusable the record
// is returned too.
func ParseRecord(txt string) (*Record, error) {
	if len(txt) > maxRecordLength {
		return nil, fmt.Errorf("%w: longer than %d octets", ErrNotDMARC, maxRecordLength)
	}
	first, rest, _ := strings.Cut(txt, ";")
	name, value, ok := strings.Cut(first, "=")
	if !ok || strings.HasPrefix(first, " ") || strings.HasPrefix(first, "\t") ||
		!strings.EqualFold(trim(name), "v") || trim(value) != "DMARC1" {
		return nil, ErrNotDMARC
	}
	r := &Record{Policy: PolicyNone, PSD: "u", Pct: 100, FailureOptions: []string{"0"}}
	seen := map[string]bool{}
	for tag := range strings.SplitSeq(rest, ";") {
		name, value, ok := strings.Cut(tag, "=")
		name = strings.ToLower(trim(name))
		if ok && !seen[name] {
			seen[name] = true
			r.set(name, trim(value))
		}
	}
	if !seen["ruf"] { // nobody to tell (RFC 9989 section 4.7, RFC 7489 section 6.3)
		r.FailureOptions = []string{"0"}
	}
	if r.Flaw == "" {
		return r, nil
	}
	r.Policy, r.Subdomains, r.NonExistent = PolicyNone, "", ""
	if len(r.Aggregate) == 0 {
		return r, fmt.Errorf("%w: %s", ErrUnusable, r.Flaw)
	}
	return r, nil
}

// set takes one tag; unknown tags are ignored.
func (r *Record) set(name, value string) {
	lower := strings.ToLower(value)
	switch name {
	case "p":
		r.setPolicy(&r.Policy, name, value)
	case "sp":
		r.setPolicy(&r.Subdomains, name, value)
	case "np":
		r.setPolicy(&r.NonExistent, name, value)
	case "adkim":
		r.DKIMStrict = lower == "s"
	case "aspf":
		r.SPFStrict = lower == "s"
	case "psd":
		if lower == "y" || lower == "n" {
			r.PSD = lower
		}
	case "t":
		r.HasT = lower == "y" || lower == "n"
		r.Testing = lower == "y"
	case "pct":
		if n, err := strconv.ParseUint(value, 10, 8); err == nil && n <= 100 {
			r.Pct, r.HasPct = int(n), true
		}
	case "rua":
		r.Aggregate = parseURIs(value)
	case "ruf":
		r.Failure = parseURIs(value)
	case "fo":
		r.setFailureOptions(lower)
	case "rf":
		r.FailureFormat = firstOf(lower)
	case "ri":
		if n, err := strconv.ParseUint(value, 10, 32); err == nil {
			r.Interval = uint32(n)
		}
	}
}

func (r *Record) setPolicy(into *string, name, value string) {
	switch lower := strings.ToLower(value); lower {
	case PolicyNone, PolicyQuarantine, PolicyReject:
		*into = lower
	default:
		r.Flaw = fmt.Sprintf("%s=%.20q", name, value)
	}
}

// setFailureOptions reads fo: a list of known options, each once, or the
// default. RFC 9989 allows 0 or 1, not both: then the default of the two stays.
func (r *Record) setFailureOptions(value string) {
	var options []string
	for option := range strings.SplitSeq(value, ":") {
		switch option = trim(option); option {
		case "0", "1", "d", "s":
			if !slices.Contains(options, option) {
				options = append(options, option)
			}
		}
	}
	if slices.Contains(options, "0") {
		options = slices.DeleteFunc(options, func(o string) bool { return o == "1" })
	}
	if len(options) > 0 {
		r.FailureOptions = options
	}
}

// firstOf keeps the first, short, word of a list with colons.
func firstOf(value string) string {
	word, _, _ := strings.Cut(value, ":")
	if word = trim(word); len(word) > 16 {
		return ""
	}
	return word
}

// parseURIs reads a list of report addresses; what is no URI is left out.
func parseURIs(value string) []ReportURI {
	var uris []ReportURI
	for item := range strings.SplitSeq(value, ",") {
		if uri, ok := parseURI(trim(item)); ok && len(uris) < maxReportURIs {
			uris = append(uris, uri)
		}
	}
	return uris
}

// parseURI reads one address and the size limit behind an exclamation mark
// (RFC 7489 section 6.2).
func parseURI(item string) (ReportURI, bool) {
	text, limit, limited := strings.Cut(item, "!")
	parsed, err := url.Parse(text)
	if err != nil || parsed.Scheme == "" || strings.ContainsFunc(text, notURI) {
		return ReportURI{}, false
	}
	if strings.EqualFold(parsed.Scheme, "mailto") && !strings.Contains(parsed.Opaque, "@") {
		return ReportURI{}, false
	}
	uri := ReportURI{URI: text}
	if limited {
		size, ok := parseSize(limit)
		if !ok {
			return ReportURI{}, false
		}
		uri.MaxSize = size
	}
	return uri, true
}

// notURI tells of octets that stand in no URI; net/url lets some into fragments.
func notURI(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '<' || r == '>' }

// parseSize reads "50m": digits with an optional power of 1024. Nothing fits
// into no octets, and what is beyond all numbers is the largest one.
func parseSize(s string) (uint64, bool) {
	shift := 0
	if s != "" {
		if i := strings.IndexByte("kmgt", s[len(s)-1]|0x20); i >= 0 {
			shift, s = 10*(i+1), s[:len(s)-1]
		}
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if n > math.MaxUint64>>shift {
		return math.MaxUint64, err == nil
	}
	return n << shift, err == nil && n > 0
}

func trim(s string) string { return strings.Trim(s, " \t") }
