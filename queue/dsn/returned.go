package dsn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"

	"gatepost/mail"
)

const (
	headerLimit = 32 << 10 // of a returned header
	lineLimit   = 998      // RFC 5322 section 2.1.1
	lineCut     = 900      // where a longer line of a header is folded
)

// returned is what the sender gets back of the message.
type returned struct {
	octets      []byte
	whole       bool
	description string
	subject     string // decoded, for the text
	messageID   string
}

// readBack reads the message, or its header: whole messages only with
// failures (RFC 3461 section 4.3), unless RET=HDRS, and only small ones whose
// lines are short enough to be sent again.
func (w *Writer) readBack(ctx context.Context, n Notice) (returned, error) {
	m := n.Message
	whole := n.Kind == Failure && m.Envelope.Return != "HDRS" && m.Size() <= w.options.ReturnLimit
	limit := int64(headerLimit)
	if whole {
		limit = w.options.ReturnLimit
	}
	octets, err := readUpTo(ctx, m, limit)
	if err != nil {
		return returned{}, err
	}
	back := returned{octets: octets, whole: whole, description: "Undelivered message"}
	if !whole || !clean(octets) {
		back.whole = false
		back.octets = cleanHeader(octets)
		back.description = "Header of the message"
	}
	back.readHeader()
	return back, nil
}

// readUpTo reads the start of the message as it would have left. A body that
// has gone is no reason to tell the sender nothing.
func readUpTo(ctx context.Context, m *mail.Message, limit int64) ([]byte, error) {
	r, err := m.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("read message to return: %w", err)
	}
	defer r.Close()
	octets, err := io.ReadAll(io.LimitReader(r, limit))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("read message to return: %w", err)
	}
	return octets, nil
}

// clean tells whether the octets can be sent as they are.
func clean(b []byte) bool {
	for len(b) > 0 {
		n := bytes.IndexByte(b, '\n')
		if n < 0 {
			return len(b) <= lineLimit && !bytes.ContainsAny(b, "\r\x00")
		}
		line, ok := bytes.CutSuffix(b[:n], []byte("\r"))
		if !ok || len(line) > lineLimit || bytes.ContainsAny(line, "\r\x00") {
			return false
		}
		b = b[n+1:]
	}
	return true
}

// cleanHeader is the header in b, up to its last whole line, with long lines
// folded and without octets that must not be in mail.
func cleanHeader(b []byte) []byte {
	if n := bytes.Index(b, []byte("\r\n\r\n")); n >= 0 {
		b = b[:n+2]
	} else if n := bytes.LastIndexByte(b, '\n'); n >= 0 {
		b = b[:n+1]
	}
	var out bytes.Buffer
	for line := range bytes.Lines(b) {
		line = bytes.TrimRight(line, "\r\n")
		line = bytes.Map(func(r rune) rune {
			if r == '\r' || r == 0 {
				return ' '
			}
			return r
		}, line)
		for len(line) > lineLimit {
			out.Write(line[:lineCut])
			out.WriteString("\r\n ")
			line = line[lineCut:]
		}
		out.Write(line)
		out.WriteString("\r\n")
	}
	return out.Bytes()
}

func (b returned) mediaType(global bool) string {
	switch {
	case b.whole && global:
		return "message/global"
	case b.whole:
		return "message/rfc822"
	case global:
		return "message/global-headers"
	}
	return "text/rfc822-headers"
}

// readHeader takes what the text and the notice's own header show of it.
func (b *returned) readHeader() {
	header, _ := mail.ParseHeader(b.octets) // the fields before a malformed line will do
	if f := header.All("Message-ID"); len(f) == 1 && isMessageID(f[0].Value()) {
		b.messageID = f[0].Value()
	}
	if f := header.All("Subject"); len(f) > 0 {
		subject := f[0].Value()
		if decoded, err := new(mime.WordDecoder).DecodeHeader(subject); err == nil {
			subject = decoded
		}
		b.subject = mail.SafeText(subject, 200)
	}
}

// isMessageID takes only what can do no harm in our own header.
func isMessageID(s string) bool {
	inner, ok := strings.CutPrefix(s, "<")
	inner, ok2 := strings.CutSuffix(inner, ">")
	if !ok || !ok2 || inner == "" || len(s) > 250 {
		return false
	}
	for i := range len(inner) {
		if c := inner[i]; c <= ' ' || c >= 0x7f || c == '<' || c == '>' {
			return false
		}
	}
	return true
}
