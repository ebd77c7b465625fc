package intake

import (
	"errors"
	"slices"
	"strings"

	"gatepost/auth/authres"
	"gatepost/mail"
)

// scrubber finds the fields of a stranger's header that must not pass.
type scrubber struct {
	authservID string
	node       string   // our hostname: many a rule trusts it too, for it is the default authserv-id
	patterns   []string // of field names, lower case, * for any octets
}

func newScrubber(authservID, hostname string, strip []string) scrubber {
	s := scrubber{authservID: authservID, node: hostname}
	for _, p := range strip {
		s.patterns = append(s.patterns, strings.ToLower(p))
	}
	return s
}

// cuts are forged Authentication-Results (RFC 8601 section 5) and the fields
// of strip_inbound, in order.
func (s scrubber) cuts(h mail.Header) []mail.Span {
	spans := append(authres.Forged(h, s.authservID), authres.Forged(h, s.node)...)
	for _, f := range h.Fields {
		if s.strips(f.Name) {
			spans = append(spans, f.Span())
		}
	}
	slices.SortFunc(spans, func(a, b mail.Span) int { return int(a.Offset - b.Offset) })
	return slices.CompactFunc(spans, func(a, b mail.Span) bool { return a.Offset == b.Offset })
}

func (s scrubber) strips(name string) bool {
	name = strings.ToLower(name)
	for _, p := range s.patterns {
		if matches(p, name) {
			return true
		}
	}
	return false
}

// matches compares s with a pattern in which * stands for any octets.
func matches(pattern, s string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, head)
	if !ok {
		return false
	}
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(s, rest)
		}
		n := strings.Index(s, part)
		if n < 0 {
			return false
		}
		s, rest = s[n+len(part):], after
	}
}

// checkPattern wants a field name in which some octets are *.
func checkPattern(p string) error {
	if p == "" {
		return errors.New("empty: want a header field name, * stands for any characters")
	}
	if strings.Trim(p, "*") == "" {
		return errors.New("would strip every field")
	}
	for i := range len(p) {
		if p[i] <= ' ' || p[i] >= 0x7f || p[i] == ':' {
			return errors.New("not a header field name: it holds a space, a colon or a control character")
		}
	}
	return nil
}
