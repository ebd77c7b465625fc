package spf

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gatepost/mail"
)

const (
	maxValidated   = 10  // names of the client that are checked (section 4.6.4)
	maxExplanation = 400 // octets that fit a reply line with what stands before
)

// value gives the macro letters a meaning (RFC 7208 section 7.2). The domain
// is the one whose record is being expanded.
func (r *run) value(ctx context.Context, domain string) func(letter byte) string {
	return func(letter byte) string {
		switch letter {
		case 's':
			return r.local + "@" + r.domain
		case 'l':
			return r.local
		case 'o':
			return r.domain
		case 'd':
			return domain
		case 'i':
			return r.dotted()
		case 'p':
			return r.validatedName(ctx, domain)
		case 'v':
			if r.ip.Is4() {
				return "in-addr"
			}
			return "ip6"
		case 'h':
			return r.helo
		case 'c':
			return r.ip.String()
		case 'r':
			return r.options.Receiver
		default: // t
			return strconv.FormatInt(r.options.Now().Unix(), 10)
		}
	}
}

// dotted is the i macro: IPv6 addresses as 32 nibbles (section 7.3).
func (r *run) dotted() string {
	if r.ip.Is4() {
		return r.ip.String()
	}
	var nibbles []string
	for _, b := range r.ip.As16() {
		nibbles = append(nibbles, fmt.Sprintf("%x", b>>4), fmt.Sprintf("%x", b&15))
	}
	return strings.Join(nibbles, ".")
}

// expandName expands a domain-spec.
func (r *run) expandName(ctx context.Context, spec macroString, domain string) string {
	return fitName(spec.expand(r.value(ctx, domain)))
}

// validatedName is the p macro: a name of the client that leads back to it,
// if possible the domain itself or a name below it (section 7.3).
func (r *run) validatedName(ctx context.Context, domain string) string {
	if !r.validatedLookedUp {
		r.validatedLookedUp = true
		r.validated = r.lookUpValidated(ctx)
	}
	best := "unknown"
	for _, name := range r.validated {
		switch {
		case strings.EqualFold(name, domain): // records write names as they like
			return name
		case strings.HasSuffix(name, "."+strings.ToLower(domain)):
			best = name
		case best == "unknown":
			best = name
		}
	}
	return best
}

func (r *run) lookUpValidated(ctx context.Context) []string {
	answer, err := r.options.Resolver.PTR(ctx, r.ip)
	if err != nil {
		return nil
	}
	var validated []string
	for _, name := range answer.Records[:min(maxValidated, len(answer.Records))] {
		if addrs, err := r.addrs(ctx, name, r.ip.Is4()); err == nil && slices.Contains(addrs, r.ip) {
			validated = append(validated, name)
		}
	}
	return validated
}

// explain fetches the explanation of the record that decided: behind a
// redirect that of its target, never that of an included record (section 6.2).
// Whatever is wrong with it, there is then none.
func (r *run) explain(ctx context.Context) string {
	domain := r.deciding()
	rec := r.records[domain]
	if rec == nil || rec.explanation == nil {
		return ""
	}
	domain = r.real(domain).name
	answer, err := r.options.Resolver.TXT(ctx, r.expandName(ctx, rec.explanation, domain))
	if err != nil || len(answer.Records) != 1 {
		return ""
	}
	text, err := parseExplanation(answer.Records[0])
	if err != nil {
		return ""
	}
	return safeExplanation(text.expand(r.value(ctx, domain)))
}

// deciding is the domain whose record gave the result: our own, or the target
// of the redirect that was followed last, but none inside an include.
func (r *run) deciding() string {
	domain := r.domain
	for _, s := range slices.Backward(r.decisive()) {
		if !s.redirect {
			break
		}
		domain = strings.TrimPrefix(s.term, "redirect=")
	}
	return domain
}

// parseExplanation reads an explain-string: ASCII with macros and spaces.
func parseExplanation(text string) (macroString, error) {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return nil, fmt.Errorf("octet 0x%02x in the explanation", text[i])
		}
	}
	return parseMacroString(text, explanationLetters)
}

// safeExplanation makes the text fit for a reply of SMTP: macros may have put
// anything into it.
func safeExplanation(text string) string {
	ascii := strings.Map(func(c rune) rune {
		if c > '~' {
			return '?'
		}
		return c
	}, text)
	return mail.SafeText(ascii, maxExplanation)
}
