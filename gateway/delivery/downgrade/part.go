package downgrade

import (
	"bytes"
	"mime"
	"strings"

	"gatepost/mail"
)

// maxBoundary is the longest boundary (RFC 2046 section 5.1.1), with room for
// those who do not count.
const maxBoundary = 200

// part is one entity of a message, numbered in the order of their headers.
type part struct {
	number    int
	header    mail.Header
	malformed bool   // the header holds a line that is no field
	mediaType string // lower case
	encoding  string // Content-Transfer-Encoding, lower case
	boundary  string // of a multipart that can be walked
	root      bool   // the header is that of a message
	sealed    bool   // inside of something signed or encrypted
}

// newPart reads what a header says about its body (RFC 2045 sections 5.2 and 6.1).
func newPart(number int, raw []byte, parent *part) *part {
	p := &part{number: number, mediaType: "text/plain", encoding: "7bit"}
	p.root = parent == nil || parent.isMessage()
	p.sealed = parent != nil && parent.sealed
	if parent != nil && parent.mediaType == "multipart/digest" {
		p.mediaType = "message/rfc822" // RFC 2046 section 5.1.5
	}
	var err error
	p.header, err = mail.ParseHeader(raw)
	p.malformed = err != nil
	p.readType()
	if fields := p.header.All("Content-Transfer-Encoding"); len(fields) > 0 {
		words := strings.FieldsFunc(strings.ToLower(fields[0].Value()), func(r rune) bool { return strings.ContainsRune(" \t;(", r) })
		p.encoding = strings.Join(words[:min(len(words), 1)], "")
	}
	return p
}

func (p *part) readType() {
	fields := p.header.All("Content-Type")
	if len(fields) == 0 {
		return
	}
	value := fields[0].Value()
	mediaType, params, err := mime.ParseMediaType(value)
	if mediaType == "" {
		mediaType = "text/plain"
		if bare, _, _ := strings.Cut(strings.ToLower(value), ";"); strings.HasPrefix(strings.TrimSpace(bare), "multipart/") {
			mediaType = "multipart/mixed" // with parameters that nobody can read
		}
	}
	p.mediaType = mediaType
	if boundary := params["boundary"]; p.isMultipart() && err == nil && len(boundary) <= maxBoundary {
		p.boundary = strings.TrimRight(boundary, " ")
	}
	p.sealed = p.sealed || mediaType == "multipart/signed" || mediaType == "multipart/encrypted"
}

func (p *part) isMultipart() bool { return strings.HasPrefix(p.mediaType, "multipart/") }

// isMessage tells whether the body is a message that is walked too.
func (p *part) isMessage() bool {
	return (p.mediaType == "message/rfc822" || p.mediaType == "message/global") && p.isIdentity()
}

// isIdentity tells whether the body stands as it is.
func (p *part) isIdentity() bool {
	return p.encoding == "7bit" || p.encoding == "8bit" || p.encoding == "binary" || p.encoding == ""
}

// forbidden says why the body must not be encoded, if so.
func (p *part) forbidden() string {
	switch {
	case p.sealed:
		return "8-bit octets in a signed or encrypted part"
	case p.isMultipart():
		return "8-bit octets in a multipart that cannot be read"
	case strings.HasPrefix(p.mediaType, "message/"):
		return "8-bit octets in a part of type " + mail.SafeText(p.mediaType, 80)
	case p.malformed:
		return "8-bit octets in a part with a malformed header"
	case p.isIdentity() || p.encoding == quotedPrintable:
		return ""
	}
	return "8-bit octets in a part that is already encoded"
}

// rewrite is the header with another encoding. A message that had no MIME
// fields gets them (RFC 2045 section 4; RFC 1428 section 3 for the charset).
func (p *part) rewrite(raw []byte, encoding string) []byte {
	field := "Content-Transfer-Encoding: " + encoding + "\r\n"
	out := make([]byte, 0, len(raw)+200)
	done := false
	for _, f := range p.header.Fields {
		switch {
		case !f.Is("Content-Transfer-Encoding"):
			out = append(out, f.Raw...)
		case !done:
			out = append(out, field...)
			done = true
		}
	}
	if len(out) > 0 && !bytes.HasSuffix(out, []byte("\r\n")) {
		out = append(out, "\r\n"...)
	}
	if p.root && !p.header.Has("MIME-Version") {
		out = append(out, "MIME-Version: 1.0\r\n"...)
	}
	if p.root && !p.header.Has("Content-Type") {
		out = append(out, "Content-Type: text/plain; charset=unknown-8bit\r\n"...)
	}
	if !done {
		out = append(out, field...)
	}
	return append(out, "\r\n"...)
}
