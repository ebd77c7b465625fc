package dkim

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"gatepost/auth/canon"
	"gatepost/mail"
)

// Bounds on what one signature may ask for.
const (
	maxSignedNames = 1000 // names in h=
	prefixOfB      = 8    // of b= in results (RFC 6008)
)

// fault is a finding that ends the evaluation of a signature.
type fault struct{ value, reason string }

func (f *fault) Error() string { return f.value + ": " + f.reason }

func permError(format string, args ...any) *fault {
	return &fault{PermError, fmt.Sprintf(format, args...)}
}

func policyFault(format string, args ...any) *fault {
	return &fault{Policy, fmt.Sprintf(format, args...)}
}

// signature is a DKIM-Signature field that has been understood.
type signature struct {
	field     mail.Field
	algorithm string // "rsa" or "ed25519"
	domain    mail.Domain
	selector  mail.Domain
	identity  mail.Domain // domain of i=
	header    canon.Form
	body      canon.BodySpec
	bodyHash  []byte
	value     []byte // b=
	names     []string
	signed    int64 // t=, -1 without
	expires   int64 // x=, -1 without
}

// parseSignature reads a DKIM-Signature field (RFC 6376 section 3.5). What it
// learns before a fault is in result.
func parseSignature(field mail.Field, result *Result) (*signature, *fault) {
	_, value, _ := strings.Cut(string(field.Raw), ":")
	tags, err := ParseTags(value)
	if err != nil {
		return nil, permError("%s", plain(err.Error()))
	}
	describe(tags, result)
	for _, name := range []string{"v", "a", "b", "bh", "d", "h", "s"} {
		if tags[name] == "" {
			return nil, permError("tag %s= is missing or empty", name)
		}
	}
	if tags["v"] != "1" {
		return nil, permError("version %q is not known", plain(tags["v"]))
	}
	s := &signature{field: field}
	for _, parse := range []func(Tags) *fault{s.parseNames, s.parseAlgorithm, s.parseForms, s.parseDomains, s.parseHashes, s.parseTimes, s.parseQuery} {
		if f := parse(tags); f != nil {
			return nil, f
		}
	}
	result.Domain, result.Selector, result.BodyLength = s.domain, s.selector.String(), s.body.Limit
	return s, nil
}

// describe fills in what can be said about a signature however broken.
func describe(tags Tags, result *Result) {
	result.Algorithm = plain(tags["a"])
	b := removeFWS(tags["b"])
	result.B = plain(b[:min(len(b), prefixOfB)])
	if domain, err := mail.ParseDomain(tags["d"]); err == nil {
		result.Domain = domain
	}
	if selector, err := mail.ParseDomain(tags["s"]); err == nil {
		result.Selector = selector.String()
	}
	result.Identity = mail.SafeText(decodeQuotedPrintable(removeFWS(tags["i"])), 320)
	if result.Identity == "" && !result.Domain.IsZero() {
		result.Identity = "@" + result.Domain.String()
	}
}

// plain makes a stranger's text fit for a reason.
func plain(s string) string { return mail.SafeText(s, 60) }

// parseNames reads h=, which must hold From (RFC 6376 section 5.4).
func (s *signature) parseNames(tags Tags) *fault {
	if strings.Count(tags["h"], ":") >= maxSignedNames {
		return policyFault("h= has more than %d names", maxSignedNames)
	}
	for _, name := range items(tags["h"]) {
		s.names = append(s.names, strings.ToLower(name))
	}
	if !slices.Contains(s.names, "from") {
		return permError("h= does not hold From")
	}
	return nil
}

// parseAlgorithm reads a=. RFC 8301 section 3.1: signatures by rsa-sha1 have
// permanently failed.
func (s *signature) parseAlgorithm(tags Tags) *fault {
	switch tags["a"] {
	case "rsa-sha256":
		s.algorithm = "rsa"
	case "ed25519-sha256": // RFC 8463
		s.algorithm = "ed25519"
	case "rsa-sha1":
		return permError("rsa-sha1 is no longer accepted (RFC 8301)")
	default:
		return &fault{Neutral, fmt.Sprintf("algorithm %q is not known", plain(tags["a"]))}
	}
	return nil
}

func (s *signature) parseForms(tags Tags) *fault {
	s.header, s.body.Form = canon.Simple, canon.Simple
	if c, ok := tags["c"]; ok {
		var err error
		if s.header, s.body.Form, err = canon.ParseForms(removeFWS(c)); err != nil {
			return permError("canonicalization %q is not known", plain(c))
		}
	}
	s.body.Limit = canon.NoLimit
	if l, ok := tags["l"]; ok {
		n, err := strconv.ParseUint(l, 10, 63)
		if err != nil {
			return permError("l= is not a length")
		}
		s.body.Limit = int64(n)
	}
	return nil
}

// parseDomains reads d=, s= and i=; U-labels are looked up as A-labels (RFC
// 8616 section 4).
func (s *signature) parseDomains(tags Tags) *fault {
	var err error
	if s.domain, err = mail.ParseDomain(tags["d"]); err != nil || !strings.Contains(s.domain.String(), ".") {
		return permError("d= is not a domain")
	}
	if s.selector, err = mail.ParseDomain(tags["s"]); err != nil {
		return permError("s= is not a selector")
	}
	if len(KeyName(s.domain, s.selector.String())) > 253 {
		return permError("d= and s= are too long together")
	}
	s.identity = s.domain
	if i, ok := tags["i"]; ok {
		_, domain, found := cutLast(decodeQuotedPrintable(removeFWS(i)), "@")
		if s.identity, err = mail.ParseDomain(domain); !found || err != nil || !s.identity.Within(s.domain) {
			return permError("i= is not within d=")
		}
	}
	return nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func (s *signature) parseHashes(tags Tags) *fault {
	s.body.Hash = hashOfSignatures
	var err error
	if s.bodyHash, err = DecodeBase64(tags["bh"]); err != nil || len(s.bodyHash) != hashOfSignatures.Size() {
		return permError("bh= is not a SHA-256 hash in base64")
	}
	if s.value, err = DecodeBase64(tags["b"]); err != nil {
		return permError("b= is not base64")
	}
	return nil
}

func (s *signature) parseTimes(tags Tags) *fault {
	var ok1, ok2 bool
	s.signed, ok1 = parseTime(tags, "t")
	s.expires, ok2 = parseTime(tags, "x")
	switch {
	case !ok1 || !ok2:
		return permError("t= or x= is not a time")
	case s.signed >= 0 && s.expires >= 0 && s.expires <= s.signed:
		return permError("x= is not later than t=")
	}
	return nil
}

// parseTime reads seconds since 1970; numbers too big for us lie as far in the
// future as we can say.
func parseTime(tags Tags, name string) (int64, bool) {
	s, given := tags[name]
	if !given {
		return -1, true
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if errors.Is(err, strconv.ErrRange) {
		return math.MaxInt64, true
	}
	return int64(n), err == nil
}

func (s *signature) parseQuery(tags Tags) *fault {
	if q, ok := tags["q"]; ok && !slices.Contains(items(q), "dns/txt") {
		return permError("query method %q is not known", plain(q))
	}
	return nil
}

// DecodeBase64 reads base64 with folding white space; padding may be missing.
func DecodeBase64(s string) ([]byte, error) {
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(removeFWS(s), "="))
}

// decodeQuotedPrintable reads dkim-quoted-printable (RFC 6376 section 2.11)
// and leaves what is not as it is.
func decodeQuotedPrintable(s string) string {
	if !strings.Contains(s, "=") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '=' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
