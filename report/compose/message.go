package compose

import (
	"bytes"
	"encoding/base64"
	"mime"
	"strings"
	"time"

	"gatepost/mail"
)

// Bounds of what goes into a message.
const (
	maxText   = 300 // octets of a line of text
	wrapAt    = 76  // octets of a line, where it can be folded
	nameLimit = 100 // octets of a display name
)

// message is a MIME message while it is written.
type message struct {
	bytes.Buffer
	boundary string
}

// line ends in CRLF.
func (m *message) line(s string) { m.WriteString(s + "\r\n") }

func (m *message) field(name, value string) { m.line(name + ": " + value) }

// header writes the fields that all reports have. A report is no answer to
// anything, and nothing shall answer it (RFC 3834 section 5).
func (m *message) header(to []mail.Address, o Options) {
	m.line("From:" + displayName(o.Org) + o.From.Path())
	paths := make([]string, len(to))
	for i, a := range to {
		paths[i] = a.Path()
	}
	m.field("To", strings.Join(paths, ",\r\n "))
	m.field("Date", o.Now.UTC().Format(time.RFC1123Z))
	m.field("Message-ID", messageID(o.MessageID))
	m.field("Auto-Submitted", "auto-generated")
	m.field("MIME-Version", "1.0")
}

// part begins one.
func (m *message) part(kind, encoding string, more ...string) {
	m.line("")
	m.line("--" + m.boundary)
	m.field("Content-Type", kind)
	m.field("Content-Transfer-Encoding", encoding)
	for _, line := range more {
		m.line(line)
	}
	m.line("")
}

func (m *message) end() {
	m.line("")
	m.line("--" + m.boundary + "--")
}

// text writes lines in US-ASCII. What a stranger wrote stands behind words of
// ours, so that no line can be a boundary.
func (m *message) text(lines []string) {
	for _, line := range lines {
		m.line(wrapped(asciiText(line)))
	}
}

// base64 writes lines of 76 characters (RFC 2045 section 6.8).
func (m *message) base64(b []byte) {
	for s := base64.StdEncoding.EncodeToString(b); s != ""; {
		n := min(len(s), wrapAt)
		m.line(s[:n])
		s = s[n:]
	}
}

// wrapped breaks a long line between words, or where there are none.
func wrapped(line string) string {
	var b strings.Builder
	for len(line) > wrapAt {
		n := strings.LastIndexByte(line[:wrapAt], ' ')
		if n <= wrapAt/2 {
			n = wrapAt
		}
		b.WriteString(line[:n] + "\r\n  ")
		line = strings.TrimLeft(line[n:], " ")
	}
	return b.String() + line
}

// asciiText is text of a stranger in US-ASCII.
func asciiText(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 0x80 {
			return '?'
		}
		return r
	}, safeLine(s))
}

// safeLine keeps the indentation that SafeText would take away.
func safeLine(s string) string {
	rest := strings.TrimLeft(s, " ")
	return s[:len(s)-len(rest)] + mail.SafeText(rest, maxText)
}

// displayName is a phrase between blanks (RFC 5322 section 3.2.5, RFC 2047
// section 5), or one blank.
func displayName(s string) string {
	s = mail.SafeText(s, nameLimit)
	if s == "" {
		return " "
	}
	if encoded := mime.QEncoding.Encode("utf-8", s); encoded != s { // in words that are no longer than 75
		return "\r\n " + strings.ReplaceAll(encoded, " ", "\r\n ") + "\r\n "
	}
	return ` "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `" `
}

// messageID is s between angle brackets (RFC 5322 section 3.6.4), "" if it is
// none.
func messageID(s string) string {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">")
	left, right, ok := strings.Cut(s, "@")
	if !ok || !isDotAtom(left) || !isDotAtom(right) || len(s) > 250 {
		return ""
	}
	return "<" + s + ">"
}

// isDotAtom is the dot-atom-text of RFC 5322 section 3.2.3.
func isDotAtom(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for i := range len(atom) {
			c := atom[i]
			letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
			if !letter && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) < 0 {
				return false
			}
		}
	}
	return true
}
