package aggregate

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"

	"gatepost/mail"
)

// meter gives the decoder its octets one by one, and ends a token that grows
// too large: attributes and names would take many times their size.
type meter struct {
	b     []byte
	pos   int
	used  int // since the token began
	limit int
}

var errToken = errors.New("token too long")

// ReadByte implements io.ByteReader, which keeps the decoder from buffering.
func (m *meter) ReadByte() (byte, error) {
	if m.pos >= len(m.b) {
		return 0, io.EOF
	}
	if m.used++; m.used > m.limit {
		return 0, errToken
	}
	m.pos++
	return m.b[m.pos-1], nil
}

// Read implements io.Reader.
func (m *meter) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c, err := m.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = c
	return 1, nil
}

// latin1 reads the encodings whose octets are code points. Nearly all reports
// are ASCII whatever they claim.
type latin1 struct {
	in   io.ByteReader
	rest []byte
}

func (l *latin1) ReadByte() (byte, error) {
	if len(l.rest) > 0 {
		c := l.rest[0]
		l.rest = l.rest[1:]
		return c, nil
	}
	c, err := l.in.ReadByte()
	if err == nil && c >= 0x80 {
		b := []byte(string(rune(c)))
		c, l.rest = b[0], b[1:]
	}
	return c, err
}

// Read implements io.Reader.
func (l *latin1) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c, err := l.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = c
	return 1, nil
}

func charset(label string, in io.Reader) (io.Reader, error) {
	switch strings.ToLower(label) {
	case "utf8":
		return in, nil
	case "us-ascii", "ascii", "iso-8859-1", "latin1", "windows-1252":
		if m, ok := in.(io.ByteReader); ok {
			return &latin1{in: m}, nil
		}
	}
	return nil, refuse("the encoding %q is not read", mail.SafeText(label, 40))
}

// tokens walks through the elements of a document.
type tokens struct {
	meter   *meter
	decoder *xml.Decoder
	limits  Limits
	path    []string // names of the open elements
	text    strings.Builder
}

func newTokens(b []byte, l Limits) *tokens {
	head, _, _ := bytes.Cut(b[:min(len(b), 200)], []byte("?>"))
	if head = bytes.ToLower(head); !bytes.Contains(head, []byte("encoding")) || bytes.Contains(head, []byte("utf-8")) || bytes.Contains(head, []byte("utf8")) {
		b = bytes.ToValidUTF8(b, []byte("?"))
	}
	t := &tokens{meter: &meter{b: b, limit: l.Token}, limits: l}
	t.decoder = xml.NewDecoder(t.meter)
	t.decoder.CharsetReader = charset
	t.decoder.Entity = map[string]string{} // only those that XML itself has
	return t
}

// next reads until an element begins (begin is true) or ends. Then path still
// has its name, and value the text inside it.
func (t *tokens) next() (begin bool, value string, err error) {
	for {
		t.meter.used = 0
		token, err := t.decoder.RawToken()
		if err != nil {
			return false, "", t.fault(err)
		}
		switch x := token.(type) {
		case xml.Directive: // a document type and its entities
			return false, "", refuse("it has a document type declaration")
		case xml.StartElement:
			if len(t.path) >= t.limits.Depth {
				return false, "", refuse("its elements are nested deeper than %d", t.limits.Depth)
			}
			t.text.Reset()
			t.path = append(t.path, strings.ToLower(x.Name.Local))
			return true, "", nil
		case xml.EndElement:
			if len(t.path) == 0 || t.path[len(t.path)-1] != strings.ToLower(x.Name.Local) {
				return false, "", refuse("it is not well-formed XML: </%s> ends what is not open", mail.SafeText(x.Name.Local, 40))
			}
			value := mail.SafeText(strings.TrimSpace(t.text.String()), t.limits.Text)
			t.text.Reset()
			return false, value, nil
		case xml.CharData:
			if t.text.Len() < t.limits.Token {
				t.text.Write(x)
			}
		}
	}
}

// leave forgets the element that has ended.
func (t *tokens) leave() { t.path = t.path[:len(t.path)-1] }

func (t *tokens) fault(err error) error {
	var syntax *xml.SyntaxError
	var ours *Error
	switch {
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.Is(err, errToken):
		return refuse("a tag or text in it is longer than %d octets", t.limits.Token)
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &syntax):
		return refuse("it is not well-formed XML: line %d: %s", syntax.Line, mail.SafeText(syntax.Msg, 120))
	case strings.Contains(err.Error(), "encoding"): // the decoder wraps without %w
		return refuse("its encoding is not read: %s", mail.SafeText(err.Error(), 120))
	}
	return refuse("it is not well-formed XML: %s", mail.SafeText(err.Error(), 120))
}
