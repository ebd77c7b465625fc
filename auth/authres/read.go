package authres

import (
	"errors"
	"fmt"
	"strings"

	"gatepost/mail"
)

// ErrSyntax reports what is no list of results.
var ErrSyntax = errors.New("malformed authentication results")

// Bounds on what is read.
const (
	maxMethods = 100
	maxProps   = 30
)

// Read reads the value of a field: the authserv-id and the results (RFC 8601
// section 2.2). It is for fields whose writer is trusted and whose content a
// stranger had a hand in: whatever does not fit the grammar makes all of it an
// error, comments are white space, and only properties of a method's own count.
// Two things are taken that real writers do: values with octets that only
// quoted strings may hold, such as the slashes of header.b, and words without
// a type, such as action=none, which are passed over.
func Read(value string) (id string, methods []Method, err error) {
	r := &reader{s: value}
	r.space()
	id = r.value()
	r.space()
	if version := r.word(" \t\r\n;(\"=\\"); strings.Trim(version, "0123456789") != "" {
		r.fail("version %q", version)
	}
	r.space()
	for r.err == nil && r.s != "" {
		r.take(';')
		r.space()
		if r.s != "" && r.s[0] != ';' {
			methods = r.method(methods)
		}
	}
	if r.err != nil {
		return "", nil, r.err
	}
	return id, methods, nil
}

// ReadInstance reads the instance at the start of an
// ARC-Authentication-Results field (RFC 8617 section 4.1.1) and gives what
// stands behind it: a value for Read.
func ReadInstance(value string) (instance, rest string, err error) {
	r := &reader{s: value}
	r.space()
	if name := r.word(" \t\r\n;(\"=\\"); name != "i" {
		r.fail("i= does not come first")
	}
	r.space()
	r.take('=')
	r.space()
	instance = r.word(" \t\r\n;(\"=\\")
	r.space()
	r.take(';')
	return instance, r.s, r.err
}

// reader goes through a value; it stands still at the first fault.
type reader struct {
	s   string
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+format, append([]any{ErrSyntax}, args...)...)
	}
	r.s = ""
}

// space passes over white space and comments.
func (r *reader) space() {
	rest, ok := skipCFWS(r.s)
	if !ok {
		r.fail("comment without end")
		return
	}
	r.s = rest
}

func (r *reader) take(c byte) {
	if r.s == "" || r.s[0] != c {
		r.fail("no %q at %.20q", c, r.s)
		return
	}
	r.s = r.s[1:]
}

// word reads up to one of the octets in ends.
func (r *reader) word(ends string) string {
	n := strings.IndexAny(r.s, ends)
	if n < 0 {
		n = len(r.s)
	}
	word := r.s[:n]
	if strings.ContainsFunc(word, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		r.fail("control octet")
		return ""
	}
	r.s = r.s[n:]
	return word
}

// value reads a value or pvalue: words and quoted strings without space
// between them.
func (r *reader) value() string {
	var b strings.Builder
	quoted := false
	for {
		b.WriteString(r.word(" \t\r\n;()\"\\"))
		if !strings.HasPrefix(r.s, `"`) {
			break
		}
		quoted = true
		b.WriteString(r.quoted())
	}
	if r.err == nil && (b.Len() == 0 && !quoted || r.s != "" && strings.IndexByte(")\\", r.s[0]) >= 0) {
		r.fail("no value at %.20q", r.s)
	}
	return b.String()
}

// quoted reads a quoted string; folding inside counts as its white space.
func (r *reader) quoted() string {
	var b strings.Builder
	for i := 1; i < len(r.s); i++ {
		switch c := r.s[i]; {
		case c == '"':
			r.s = r.s[i+1:]
			return b.String()
		case c == '\r' || c == '\n':
			continue
		case c == '\\' && i+1 < len(r.s):
			i++
		}
		if c := r.s[i]; c < ' ' && c != '\t' || c == 0x7f {
			r.fail("control octet in quoted string")
			return ""
		}
		b.WriteByte(r.s[i])
	}
	r.fail("quoted string without end")
	return ""
}

// method reads one resinfo behind its semicolon: the method with its result,
// then a reason and properties.
func (r *reader) method(before []Method) []Method {
	name := r.word(" \t\r\n;(\"=\\")
	r.space()
	if strings.EqualFold(name, "none") && len(before) == 0 && (r.s == "" || r.s[0] == ';') && r.err == nil {
		return before // no-result
	}
	r.take('=')
	r.space()
	m := Method{Result: strings.ToLower(r.word(" \t\r\n;(\"=\\"))}
	name, version, _ := strings.Cut(name, "/")
	m.Name = strings.ToLower(name)
	if r.err == nil && (!isKeyword(m.Name) || !isKeyword(m.Result) || strings.Trim(version, "0123456789") != "") {
		r.fail("no result at %.20q", name)
	}
	r.space()
	for r.err == nil && r.s != "" && r.s[0] != ';' {
		r.property(&m)
		r.space()
	}
	if len(before) == maxMethods || len(m.Props) > maxProps {
		r.fail("too many results")
	}
	return append(before, m)
}

// property reads a reasonspec or a propspec.
func (r *reader) property(m *Method) {
	key := strings.ToLower(r.word(" \t\r\n;(\"=\\"))
	r.space()
	r.take('=')
	r.space()
	value := r.value()
	ptype, property, typed := strings.Cut(key, ".")
	switch {
	case r.err != nil:
	case !isKeyword(ptype) || typed && !isKeyword(property):
		r.fail("no property at %.20q", key)
	case typed:
		m.Props = append(m.Props, Prop{ptype, property, value})
	case key == "reason":
		m.Reason = mail.SafeText(value, reasonLimit)
	}
}

// Prop is the value of a property that stands in the method exactly once.
func (m Method) Prop(ptype, property string) (string, bool) {
	value, n := "", 0
	for _, p := range m.Props {
		if p.PType == ptype && p.Property == property {
			value = p.Value
			n++
		}
	}
	return value, n == 1
}
