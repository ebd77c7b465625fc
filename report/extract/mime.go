package extract

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
)

// Kind is what a document claims to be.
type Kind string

// The kinds.
const (
	Aggregate Kind = "dmarc" // RFC 7489 appendix C, RFC 9990
	Failure   Kind = "failure"
	TLS       Kind = "tls"
)

// Document is one report, not yet read.
type Document struct {
	Kind Kind
	Name string // of the file, as a stranger wrote it; may be empty
	Data []byte
	// Original is the message that a failure report is about, or its header.
	Original []byte
	// Err tells why there is no Data.
	Err error
}

// Found is what a message holds.
type Found struct {
	MessageID string
	From      string // the field, as it stands
	Documents []Document
	Unpacked  int64 // octets that archives became
}

// walker goes through one message.
type walker struct {
	limits Limits
	parts  int
	budget int64 // uncompressed octets left
	found  Found
}

// Message takes the reports out of a message. An error means that the message
// as a whole is refused; what is wrong with one document stands there.
func Message(r io.Reader, limits Limits) (Found, error) {
	limits = limits.complete()
	b, err := io.ReadAll(io.LimitReader(r, limits.Message+1))
	if err != nil {
		return Found{}, fmt.Errorf("read the message: %w", err)
	}
	if int64(len(b)) > limits.Message {
		return Found{}, refuse("the message is larger than %d octets", limits.Message)
	}
	w := &walker{limits: limits, budget: limits.Uncompressed}
	h, body := split(b)
	w.found.MessageID, w.found.From = h["message-id"], h["from"]
	err = w.part(h, body, 0)
	w.found.Unpacked = limits.Uncompressed - w.budget
	if err != nil {
		return w.found, err
	}
	if len(w.found.Documents) == 0 {
		return w.found, refuse("there is no report in the message")
	}
	return w.found, nil
}

// File takes the reports out of a file that did not come by mail.
func File(name string, b []byte, limits Limits) (Found, error) {
	limits = limits.complete()
	w := &walker{limits: limits, budget: limits.Uncompressed}
	w.content(name, "application/octet-stream", b)
	if len(w.found.Documents) == 0 {
		return w.found, refuse("there is no report in the file")
	}
	return w.found, nil
}

func (w *walker) part(h header, body []byte, depth int) error {
	if w.parts++; w.parts > w.limits.Parts {
		return refuse("the message has more than %d parts", w.limits.Parts)
	}
	if depth > w.limits.Depth {
		return refuse("the parts are nested deeper than %d", w.limits.Depth)
	}
	kind, params := h.mediaType()
	if strings.HasPrefix(kind, "multipart/") {
		return w.multipart(params["boundary"], body, depth)
	}
	decoded := decode(h["content-transfer-encoding"], body)
	switch kind {
	case "message/feedback-report": // RFC 5965 section 2
		w.add(Document{Kind: Failure, Name: h.fileName(), Data: decoded})
	case "message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers", "text/rfc822":
		w.original(decoded)
	default:
		w.content(h.fileName(), kind, decoded)
	}
	if len(w.found.Documents) > w.limits.Documents {
		w.found.Documents = w.found.Documents[:w.limits.Documents]
		return refuse("the message has more than %d reports", w.limits.Documents)
	}
	return nil
}

func (w *walker) add(d Document) { w.found.Documents = append(w.found.Documents, d) }

// original belongs to the failure report before it (RFC 6591 section 3.1).
func (w *walker) original(b []byte) {
	if n := len(w.found.Documents); n > 0 && w.found.Documents[n-1].Kind == Failure {
		w.found.Documents[n-1].Original = b
	}
}

// multipart goes through the parts between boundaries (RFC 2046 section
// 5.1.1). A missing last boundary is forgiven.
func (w *walker) multipart(boundary string, b []byte, depth int) error {
	if boundary == "" || len(boundary) > 256 {
		return refuse("a multipart has no usable boundary")
	}
	dash, start := []byte("--"+boundary), -1
	for pos := 0; pos < len(b); {
		line, next := nextLine(b, pos)
		rest, is := bytes.CutPrefix(line, dash)
		rest = bytes.TrimRight(rest, " \t")
		last := string(rest) == "--"
		if !is || len(rest) > 0 && !last {
			pos = next
			continue
		}
		if start >= 0 {
			if err := w.inner(b[start:pos], depth); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
		start, pos = next, next
	}
	if start >= 0 {
		return w.inner(b[start:], depth)
	}
	return nil
}

func (w *walker) inner(part []byte, depth int) error {
	h, body := split(part)
	return w.part(h, body, depth+1)
}

// decode undoes the transfer encoding (RFC 2045 section 6); of what is broken
// the readable beginning counts.
func decode(encoding string, b []byte) []byte {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "base64":
		out, _ := io.ReadAll(base64.NewDecoder(base64.StdEncoding, &alphabet{b: b})) // an error ends it
		return out
	case "quoted-printable":
		out, _ := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(b))) // likewise
		return out
	}
	return b
}

// alphabet reads the octets of base64 and leaves out all others (RFC 2045
// section 6.8).
type alphabet struct{ b []byte }

func (a *alphabet) Read(p []byte) (n int, err error) {
	for n < len(p) && len(a.b) > 0 {
		c := a.b[0]
		a.b = a.b[1:]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '=' {
			p[n] = c
			n++
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}
