package spf

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// macroString is a parsed macro-string (RFC 7208 section 7.1).
type macroString []macroPart

// macroPart is literal text, or a macro when letter is set.
type macroPart struct {
	literal    string
	letter     byte // lower case
	keep       int  // right-hand parts to keep; 0: all
	reverse    bool
	delimiters string
	escape     bool // the letter was upper case
}

// Letters of macros; c, r and t stand in explanations only (section 7.2).
const (
	domainLetters      = "slodiphv"
	explanationLetters = domainLetters + "crt"
)

var macroExpand = regexp.MustCompile(`^%\{([A-Za-z])([0-9]*)([rR]?)([-.+,/_=]*)\}`)

// parseMacroString reads text with macros in which only some letters may stand.
func parseMacroString(s, letters string) (macroString, error) {
	parts := macroString{}
	for s != "" {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			i = len(s)
		}
		if i > 0 {
			parts, s = append(parts, macroPart{literal: s[:i]}), s[i:]
			continue
		}
		part, n, err := parseMacro(s, letters)
		if err != nil {
			return nil, err
		}
		parts, s = append(parts, part), s[n:]
	}
	return parts, nil
}

// parseMacro reads what begins with a percent sign.
func parseMacro(s, letters string) (part macroPart, length int, err error) {
	if len(s) > 1 {
		if i := strings.IndexByte("%_-", s[1]); i >= 0 {
			return macroPart{literal: []string{"%", " ", "%20"}[i]}, 2, nil
		}
	}
	m := macroExpand.FindStringSubmatch(s)
	if m == nil {
		return part, 0, errors.New("percent sign without a macro")
	}
	lower := strings.ToLower(m[1])
	if !strings.Contains(letters, lower) {
		return part, 0, fmt.Errorf("macro letter %q", m[1])
	}
	part = macroPart{letter: lower[0], reverse: m[3] != "", delimiters: m[4], escape: lower != m[1]}
	if part.delimiters == "" {
		part.delimiters = "."
	}
	if m[2] != "" {
		part.keep, err = strconv.Atoi(m[2])
		if err != nil || part.keep == 0 {
			return part, 0, fmt.Errorf("%s right-hand parts", m[2])
		}
	}
	return part, len(m[0]), nil
}

// toplabel is the last label of a domain-spec: never a number (section 7.1).
var toplabel = regexp.MustCompile(`^([A-Za-z0-9]*[A-Za-z][A-Za-z0-9]*|[A-Za-z0-9]+-[A-Za-z0-9-]*[A-Za-z0-9])$`)

// parseDomainSpec reads a domain-spec: it ends in a macro or in a top label
// that has something before it.
func parseDomainSpec(s string) (macroString, error) {
	parts, err := parseMacroString(s, domainLetters)
	if err != nil {
		return nil, err
	}
	if len(parts) == 0 {
		return nil, errors.New("empty domain")
	}
	last := parts[len(parts)-1]
	if last.letter != 0 {
		return parts, nil
	}
	host := strings.TrimSuffix(last.literal, ".")
	dot := strings.LastIndexByte(host, '.')
	if dot < 0 || !toplabel.MatchString(host[dot+1:]) {
		return nil, errors.New("domain without a top label")
	}
	return parts, nil
}

// expand replaces macros by what value gives for their letter (section 7.3).
func (m macroString) expand(value func(letter byte) string) string {
	var b strings.Builder
	for _, part := range m {
		if part.letter == 0 {
			b.WriteString(part.literal)
		} else {
			b.WriteString(part.transform(value(part.letter)))
		}
	}
	return b.String()
}

// has tells whether one of these letters stands in m.
func (m macroString) has(letters string) bool {
	for _, part := range m {
		if part.letter != 0 && strings.IndexByte(letters, part.letter) >= 0 {
			return true
		}
	}
	return false
}

func (p macroPart) transform(value string) string {
	pieces := splitAny(value, p.delimiters)
	if p.reverse {
		slices.Reverse(pieces)
	}
	if p.keep > 0 && p.keep < len(pieces) {
		pieces = pieces[len(pieces)-p.keep:]
	}
	value = strings.Join(pieces, ".")
	if p.escape {
		value = urlEscape(value)
	}
	return value
}

// splitAny splits at every octet of delimiters, empty pieces included.
func splitAny(s, delimiters string) []string {
	pieces := []string{}
	for {
		i := strings.IndexAny(s, delimiters)
		if i < 0 {
			return append(pieces, s)
		}
		pieces, s = append(pieces, s[:i]), s[i+1:]
	}
}

// urlEscape escapes all but the unreserved set of RFC 3986 section 2.3.
func urlEscape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// fitName shortens a name to 253 octets by dropping labels on the left (section 7.3).
func fitName(name string) string {
	name = strings.TrimSuffix(name, ".")
	for len(name) > 253 {
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			return name
		}
		name = rest
	}
	return name
}
