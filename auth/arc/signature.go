package arc

import (
	"crypto"
	"slices"
	"strconv"
	"strings"

	"gatepost/auth/canon"
	"gatepost/auth/dkim"
	"gatepost/mail"
)

const (
	hashOfSignatures = crypto.SHA256
	// maxSignedNames bounds h=.
	maxSignedNames = 1000
)

// signature is what ARC-Seal and ARC-Message-Signature have in common, and of
// the latter what it signs.
type signature struct {
	field     *mail.Field
	algorithm string // "rsa" or "ed25519"
	domain    mail.Domain
	selector  mail.Domain
	value     []byte // b=

	header   canon.Form
	body     canon.BodySpec
	bodyHash []byte
	names    []string
	expires  int64 // x=, -1 without
}

// parseTags reads a tag list by the letter of RFC 6376 section 3.2: nothing
// may stand between two semicolons.
func parseTags(field, value string) (dkim.Tags, *fault) {
	specs := strings.Split(value, ";")
	for i, spec := range specs {
		if strings.Trim(spec, " \t\r\n") == "" && i < len(specs)-1 {
			return nil, failed("%s: an empty tag", field)
		}
	}
	tags, err := dkim.ParseTags(value)
	if err != nil {
		return nil, failed("%s: %s", field, mail.SafeText(err.Error(), 100))
	}
	return tags, nil
}

// parseSeal reads ARC-Seal (RFC 8617 section 4.1.3). It always covers the
// fields of all sets, so that h= has no place in it.
func parseSeal(field *mail.Field, tags dkim.Tags) (*signature, *fault) {
	if _, ok := tags["h"]; ok {
		return nil, failed("%s: h= is not allowed", fieldSeal)
	}
	s := &signature{field: field}
	return s, s.parseCommon(fieldSeal, tags)
}

// parseMessage reads ARC-Message-Signature (RFC 8617 section 4.1.2).
func parseMessage(field *mail.Field, tags dkim.Tags) (*signature, *fault) {
	s := &signature{field: field}
	for _, parse := range []func(dkim.Tags) *fault{
		func(tags dkim.Tags) *fault { return s.parseCommon(fieldMessage, tags) },
		s.parseForms, s.parseNames, s.parseExpiry,
	} {
		if f := parse(tags); f != nil {
			return nil, f
		}
	}
	return s, nil
}

func (s *signature) parseCommon(field string, tags dkim.Tags) *fault {
	for _, name := range []string{"a", "b", "d", "s"} {
		if tags[name] == "" {
			return failed("%s: tag %s= is missing or empty", field, name)
		}
	}
	switch tags["a"] {
	case "rsa-sha256":
		s.algorithm = "rsa"
	case "ed25519-sha256": // RFC 8463, as RFC 8617 section 4.1.2 takes the algorithms of DKIM
		s.algorithm = "ed25519"
	default:
		return failed("%s: algorithm %s is not known", field, mail.SafeText(tags["a"], 40))
	}
	var err error
	if s.value, err = dkim.DecodeBase64(tags["b"]); err != nil {
		return failed("%s: b= is not base64", field)
	}
	if s.domain, err = mail.ParseDomain(tags["d"]); err != nil || s.domain.IsLiteral() || !strings.Contains(s.domain.String(), ".") {
		return failed("%s: d= is not a domain", field)
	}
	if s.selector, err = mail.ParseDomain(tags["s"]); err != nil || s.selector.IsLiteral() {
		return failed("%s: s= is not a selector", field)
	}
	if len(s.keyName()) > 253 {
		return failed("%s: d= and s= are too long together", field)
	}
	if t, ok := tags["t"]; ok && !isNumber(t) {
		return failed("%s: t= is not a time", field)
	}
	return nil
}

func (s *signature) keyName() string { return dkim.KeyName(s.domain, s.selector.String()) }

// parseForms reads c=, bh= and l=. What l= leaves uncovered nobody vouches
// for, so that such a signature is worth nothing here.
func (s *signature) parseForms(tags dkim.Tags) *fault {
	c, given := tags["c"]
	if !given {
		c = "simple/simple"
	}
	s.body = canon.BodySpec{Hash: hashOfSignatures, Limit: canon.NoLimit}
	var err error
	if s.header, s.body.Form, err = canon.ParseForms(c); err != nil {
		return failed("%s: canonicalization %s is not known", fieldMessage, mail.SafeText(c, 40))
	}
	if s.bodyHash, err = dkim.DecodeBase64(tags["bh"]); err != nil || len(s.bodyHash) != hashOfSignatures.Size() {
		return failed("%s: bh= is not a SHA-256 hash in base64", fieldMessage)
	}
	if _, ok := tags["l"]; ok {
		return failed("%s: l= leaves octets of the body unsigned", fieldMessage)
	}
	return nil
}

// parseNames reads h=, which may be empty and must not hold ARC-Seal (RFC 8617
// section 4.1.2).
func (s *signature) parseNames(tags dkim.Tags) *fault {
	h, given := tags["h"]
	if !given {
		return failed("%s: tag h= is missing", fieldMessage)
	}
	if strings.Count(h, ":") >= maxSignedNames {
		return failed("%s: h= has more than %d names", fieldMessage, maxSignedNames)
	}
	for name := range strings.SplitSeq(h, ":") {
		if name = strings.ToLower(strings.Trim(name, " \t\r\n")); name != "" {
			s.names = append(s.names, name)
		}
	}
	if slices.Contains(s.names, strings.ToLower(fieldSeal)) {
		return failed("%s: h= holds ARC-Seal", fieldMessage)
	}
	return nil
}

func (s *signature) parseExpiry(tags dkim.Tags) *fault {
	s.expires = -1
	x, given := tags["x"]
	if !given {
		return nil
	}
	n, err := strconv.ParseInt(x, 10, 64)
	if !isNumber(x) || err != nil && len(x) <= 12 {
		return failed("%s: x= is not a time", fieldMessage)
	}
	if err == nil {
		s.expires = n
	}
	return nil
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
