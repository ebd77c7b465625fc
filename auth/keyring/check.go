package keyring

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"

	"gatepost/dnsx"
	"gatepost/mail"
)

// Resolver is *dnsx.Resolver.
type Resolver interface {
	TXT(ctx context.Context, name string) (dnsx.Answer[string], error)
}

// Report is what Check found about one key.
type Report struct {
	Key Key `json:"key"`
	// Matches tells that DNS has the public half, so that signatures verify.
	Matches bool `json:"matches"`
	// Unknown tells that DNS gave no answer; nothing is known then.
	Unknown bool `json:"unknown,omitempty"`
	// Activated tells that the check has made the pending key active.
	Activated bool     `json:"activated,omitempty"`
	Aliases   []string `json:"aliases,omitempty"`  // CNAMEs that were followed
	Problems  []string `json:"problems,omitempty"` // what is wrong, for people
	Want      string   `json:"want,omitempty"`     // the zone line, where something is wrong
}

// Check looks up the public halves of pending and active keys, of all domains
// or of one, and activates pending keys that match. The error is about the
// ring, never about DNS.
func (r *Ring) Check(ctx context.Context, resolver Resolver, d mail.Domain) ([]Report, error) {
	var out []Report
	for _, k := range r.List(ctx, d) {
		if k.State == Retired {
			continue
		}
		report := k.check(ctx, resolver)
		if report.Matches && k.State == Pending {
			active, err := r.Activate(ctx, k.Domain, k.Selector)
			if err != nil {
				return out, err
			}
			report.Key, report.Activated = active, true
		}
		out = append(out, report)
	}
	return out, nil
}

func (k Key) check(ctx context.Context, resolver Resolver) Report {
	report := Report{Key: k}
	answer, err := resolver.TXT(ctx, k.RecordName())
	report.Aliases = answer.Chain
	switch {
	case dnsx.IsTemporary(err):
		report.Unknown = true
		report.Problems = []string{fmt.Sprintf("DNS gives no answer for %s now: %v", k.RecordName(), err)}
	case err != nil:
		report.Problems = []string{k.missing(answer)}
	default:
		report.Matches, report.Problems = k.compare(answer.Records)
	}
	if len(report.Problems) > 0 && !report.Unknown {
		report.Want = k.ZoneLine()
	}
	return report
}

func (k Key) missing(answer dnsx.Answer[string]) string {
	if answer.Canonical != "" {
		return fmt.Sprintf("%s is an alias of %s, but there is no TXT record there", k.RecordName(), answer.Canonical)
	}
	return fmt.Sprintf("there is no TXT record at %s", k.RecordName())
}

// compare judges all records of the name. Several are undefined for a verifier
// (RFC 6376 section 3.6.2.2).
func (k Key) compare(records []string) (matches bool, problems []string) {
	if len(records) > 1 {
		problems = append(problems, fmt.Sprintf("there are %d TXT records at %s, and a verifier may take any: remove all but one", len(records), k.RecordName()))
		return false, problems
	}
	return k.compareOne(records[0])
}

// compareOne finds everything wrong with one record; t=y is told but does not
// keep the key from matching.
func (k Key) compareOne(text string) (matches bool, problems []string) {
	tags, bad := parseRecord(text)
	if bad != "" {
		return false, []string{bad}
	}
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if v, ok := tags["v"]; ok && v != "DKIM1" {
		add("the record says v=%s instead of v=DKIM1", mail.SafeText(v, 40))
	}
	if kind, ok := tags["k"]; k.recordKind() != kind && (ok || k.recordKind() != "rsa") {
		if !ok {
			kind = "rsa (the default)"
		}
		add("the record says k=%s, but the key is of kind %s", mail.SafeText(kind, 40), k.recordKind())
	}
	if h, ok := tags["h"]; ok && !listed(h, "sha256") {
		add("the record allows only h=%s, but signatures use sha256", mail.SafeText(h, 40))
	}
	if s, ok := tags["s"]; ok && !listed(s, "email") && !listed(s, "*") {
		add("the record is not for mail: s=%s", mail.SafeText(s, 40))
	}
	problems = append(problems, k.comparePublic(tags)...)
	matches = len(problems) == 0
	if listed(tags["t"], "y") {
		add("the record says t=y (testing): receivers may treat the mail as unsigned")
	}
	return matches, problems
}

func (k Key) comparePublic(tags map[string]string) []string {
	p, ok := tags["p"]
	p = strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace(p)
	switch {
	case !ok:
		return []string{"the record has no p= with the public key"}
	case p == "":
		return []string{"the key is revoked: p= is empty"}
	}
	public, err := base64.StdEncoding.DecodeString(p)
	if err != nil {
		return []string{fmt.Sprintf("p= is not base64 (%d characters); it may have been cut or quoted wrongly", len(p))}
	}
	want := k.publicBytes()
	switch {
	case bytes.Equal(public, want):
		return nil
	case len(public) < len(want) && bytes.HasPrefix(want, public):
		return []string{fmt.Sprintf("p= is cut: it has %d of %d octets; some DNS forms keep only the first 255 characters", len(public), len(want))}
	}
	return []string{"p= is another key than ours: mail signed here will not verify"}
}

// parseRecord reads the tag list (RFC 6376 section 3.2) and recognizes what
// pasting into DNS forms does to it.
func parseRecord(text string) (tags map[string]string, bad string) {
	switch {
	case strings.Contains(text, `"`):
		return nil, `the record holds quotation marks as data: the quotes of the zone line were pasted into a form that adds its own`
	case strings.Contains(text, `\`):
		return nil, `the record holds backslashes as data: write ; and not \;`
	case strings.Contains(text, "IN TXT") || strings.HasPrefix(strings.TrimSpace(text), "("):
		return nil, "the whole zone line was pasted as data: only the text between the quotes belongs there"
	}
	tags = map[string]string{}
	for part := range strings.SplitSeq(text, ";") {
		name, value, ok := strings.Cut(part, "=")
		name = trim(name)
		switch {
		case trim(part) == "":
			continue
		case !ok || !tagName.MatchString(name) || strings.ContainsFunc(value, isControl):
			return nil, fmt.Sprintf("the record is not a list of tags: %q", mail.SafeText(part, 60))
		}
		if _, twice := tags[name]; twice {
			return nil, fmt.Sprintf("the record has the tag %s= twice", mail.SafeText(name, 20))
		}
		tags[name] = trim(value)
	}
	return tags, ""
}

// tagName is the tag-name of RFC 6376 section 3.2.
var tagName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)

func isControl(r rune) bool { return r < ' ' && !strings.ContainsRune(" \t\r\n", r) || r == 0x7f }

// trim takes folding white space off, and nothing else: verifiers do no more.
func trim(s string) string { return strings.Trim(s, " \t\r\n") }

// listed tells whether word is in a list with colons, in the case that
// verifiers compare.
func listed(list, word string) bool {
	for one := range strings.SplitSeq(list, ":") {
		if trim(one) == word {
			return true
		}
	}
	return false
}
