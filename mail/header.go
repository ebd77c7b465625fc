package mail

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Field is one header field as it stands in the message.
type Field struct {
	// Name is what stands before the colon, as written.
	Name string
	// Raw is the whole field with its folding and final CRLF.
	Raw []byte
	// Offset is where Raw begins in the message.
	Offset int64
}

// Is compares the field name without regard to case (RFC 5322 section 1.2.2).
func (f Field) Is(name string) bool { return strings.EqualFold(f.Name, name) }

// Value is what stands behind the colon, unfolded (RFC 5322 section 2.2.3) and
// without white space around it.
func (f Field) Value() string {
	_, v, _ := bytes.Cut(f.Raw, []byte(":"))
	v = bytes.ReplaceAll(v, []byte("\r\n"), nil)
	return strings.Trim(string(v), " \t")
}

// Span is where the field stands in the message.
func (f Field) Span() Span { return Span{f.Offset, int64(len(f.Raw))} }

// Header is a message header: its fields in order, octet for octet.
type Header struct {
	Fields []Field
	// Size is the number of octets with the empty line that ends the header,
	// or of all octets where that line is missing.
	Size int64
}

// ErrHeader reports octets that are no header (RFC 5322 section 2.2).
var ErrHeader = errors.New("malformed header")

// ParseHeader reads the header at the start of b, whose lines end in CRLF. On
// a line that is no field it returns ErrHeader with the fields before it.
func ParseHeader(b []byte) (Header, error) {
	var h Header
	pos := 0
	for pos < len(b) {
		if bytes.HasPrefix(b[pos:], []byte("\r\n")) {
			h.Size = int64(pos + 2)
			return h, nil
		}
		end := fieldEnd(b, pos)
		name, ok := fieldName(b[pos:end])
		if !ok {
			h.Size = int64(pos)
			return h, fmt.Errorf("%w: no field name in line at octet %d", ErrHeader, pos)
		}
		h.Fields = append(h.Fields, Field{name, b[pos:end], int64(pos)})
		pos = end
	}
	h.Size = int64(pos)
	return h, nil
}

// fieldEnd finds the end of the field at pos: the first CRLF that no white
// space follows.
func fieldEnd(b []byte, pos int) int {
	for {
		n := bytes.Index(b[pos:], []byte("\r\n"))
		if n < 0 {
			return len(b)
		}
		pos += n + 2
		if pos >= len(b) || b[pos] != ' ' && b[pos] != '\t' {
			return pos
		}
	}
}

// fieldName reads ftext before the colon; white space between them is the
// obsolete syntax of RFC 5322 section 4.5.
func fieldName(raw []byte) (string, bool) {
	n := bytes.IndexByte(raw, ':')
	if n < 1 {
		return "", false
	}
	name := bytes.TrimRight(raw[:n], " \t")
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return "", false
		}
	}
	return string(name), len(name) > 0
}

// All gives the fields called name, in order.
func (h Header) All(name string) []Field {
	var out []Field
	for _, f := range h.Fields {
		if f.Is(name) {
			out = append(out, f)
		}
	}
	return out
}

// Has tells whether there is a field called name.
func (h Header) Has(name string) bool {
	for _, f := range h.Fields {
		if f.Is(name) {
			return true
		}
	}
	return false
}
