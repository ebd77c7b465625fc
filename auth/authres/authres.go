// Package authres writes the Authentication-Results field (RFC 8601) and finds
// those that others wrote in our name.
//
// What stands in the field comes from strangers: reverse-paths, domains of
// signatures, reasons with parts of DNS records. Format lets none of them
// break the grammar, neither for a reader of the RFC nor for one that only
// looks for semicolons: a value goes out as a token or as a plain address, and
// anything else as a quoted string that holds no quote, backslash, semicolon,
// control octet or octet above 127. A local part that would need quoting is left
// out; the domain behind it is what readers judge by.
//
// Transport rules of mailbox servers look for words such as "dmarc=pass"
// anywhere in the field, so that no value and no reason may hold them either.
package authres

import (
	"strings"

	"gatepost/mail"
)

// FieldName is the name of the field (RFC 8601 section 2.2).
const FieldName = "Authentication-Results"

// Prop is one property of a result: ptype.property=value.
type Prop struct{ PType, Property, Value string }

// Method is the result of one authentication method.
type Method struct {
	Name   string
	Result string
	Reason string
	Props  []Prop
}

const (
	lineLength  = 78  // RFC 5322 section 2.1.1
	valueLength = 320 // a mailbox fits; with its name a line stays under 998
	reasonLimit = 200
)

// Format writes the whole field, folded, with its final CRLF. Methods without a
// name or a result that are keywords are left out; without any the result is
// "none".
func Format(authservID string, methods []Method) []byte {
	w := &folder{}
	w.word(FieldName + ": " + formatValue(serverID(authservID)))
	written := false
	for _, m := range methods {
		if !isKeyword(m.Name) || !isKeyword(m.Result) {
			continue
		}
		written = true
		w.nextMethod()
		w.word(m.Name + "=" + m.Result)
		if m.Reason != "" {
			w.word("reason=" + quote(mail.SafeText(m.Reason, reasonLimit)))
		}
		for _, p := range m.Props {
			if isKeyword(p.PType) && isKeyword(p.Property) && p.Value != "" {
				w.word(p.PType + "." + p.Property + "=" + formatValue(p.Value))
			}
		}
	}
	if !written {
		w.nextMethod()
		w.word("none")
	}
	return append(w.out, "\r\n"...)
}

// serverID is how an authserv-id with U-labels is written and compared: only
// A-labels fit into the field of every message.
func serverID(s string) string {
	if d, err := mail.ParseDomain(s); err == nil && strings.ContainsFunc(s, func(c rune) bool { return c > '~' }) {
		return d.String()
	}
	return s
}

// folder puts words on lines.
type folder struct {
	out  []byte
	line int // octets on the current line
}

// nextMethod begins the line of a method.
func (w *folder) nextMethod() {
	w.out = append(w.out, ";\r\n"...)
	w.line = 0
}

// word writes s behind a space, on a line of its own where it does not fit.
func (w *folder) word(s string) {
	if w.line > 0 && w.line+1+len(s) >= lineLength {
		w.out = append(w.out, "\r\n"...)
		w.line = 0
	}
	if len(w.out) > 0 {
		w.out = append(w.out, ' ')
		w.line++
	}
	w.out = append(w.out, s...)
	w.line += len(s)
}

// formatValue writes a value or pvalue (RFC 8601 section 2.2).
func formatValue(s string) string {
	if len(s) > valueLength {
		return quote(s[:valueLength] + "...") // never a shorter address or domain
	}
	if isToken(s) {
		return s
	}
	if at := strings.LastIndexByte(s, '@'); at >= 0 && isDomain(s[at+1:]) {
		if at == 0 || isDotAtom(s[:at]) && !claims(s[:at]) {
			return s
		}
		return s[at:]
	}
	return quote(s)
}

// claims tells whether a rule that looks for words takes s for a result.
func claims(s string) bool { return strings.Contains(strings.ToLower(s), "=pass") }

// quote makes a quoted string that needs no quoted pair.
func quote(s string) string {
	if claims(s) {
		s = strings.ReplaceAll(s, "=", ":")
	}
	return `"` + strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r == '\\':
			return '/'
		case r == ';':
			return ','
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	}, s) + `"`
}

// isToken is the token of RFC 2045 section 5.1.
func isToken(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || strings.IndexByte(`()<>@,;:\"/[]?=`, s[i]) >= 0 {
			return false
		}
	}
	return s != ""
}

// isDotAtom is a local part that needs no quoting (RFC 5321 section 4.1.2).
func isDotAtom(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for i := range len(atom) {
			if !isLetterOrDigit(atom[i]) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", atom[i]) < 0 {
				return false
			}
		}
	}
	return true
}

// isDomain is a domain-name in A-labels; hosts in DNS use underscores too.
func isDomain(s string) bool {
	for i := range len(s) {
		if !isLetterOrDigit(s[i]) && s[i] != '-' && s[i] != '.' && s[i] != '_' {
			return false
		}
	}
	return s != "" && !strings.HasPrefix(s, ".") && !strings.HasSuffix(s, ".") && !strings.Contains(s, "..")
}

// isKeyword is the Keyword of RFC 5321 section 4.1.2.
func isKeyword(s string) bool {
	for i := range len(s) {
		if !isLetterOrDigit(s[i]) && s[i] != '-' {
			return false
		}
	}
	return s != "" && !strings.HasPrefix(s, "-") && !strings.HasSuffix(s, "-")
}

func isLetterOrDigit(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
