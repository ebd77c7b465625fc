package dsn

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"gatepost/mail"
)

const dateFormat = "Mon, 02 Jan 2006 15:04:05 -0700"

// report is a notice while it is written.
type report struct {
	Notice
	options  Options
	returned returned
	global   bool // the forms of RFC 6533
}

// Write makes the notice a message of our own, ready for the queue. It reads
// the message that it is about.
func (w *Writer) Write(ctx context.Context, n Notice) (*mail.Message, error) {
	back, err := w.readBack(ctx, n)
	if err != nil {
		return nil, err
	}
	r := &report{Notice: n, options: w.options, returned: back}
	r.global = r.isGlobal()
	content := r.content()
	shape, err := mail.Scan(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	sender := n.Message.Envelope.From
	m := &mail.Message{
		ID:       n.ID,
		Received: n.At,
		Envelope: mail.Envelope{Recipients: []mail.Recipient{{Address: sender}}, UTF8: shape.EightBitHeader || !sender.IsASCII()},
		Origin:   mail.Origin{Role: mail.RoleInternal, From: w.options.Postmaster.Domain()},
		Content:  mail.MemoryBody(content),
		Shape:    shape,
		Facts:    facts(n),
	}
	if shape.EightBitBody {
		m.Envelope.Body = "8BITMIME"
	}
	return m, nil
}

// facts tell the trace what the notice is about.
func facts(n Notice) []byte {
	b, err := json.Marshal(struct {
		Notice Kind    `json:"notice"`
		About  mail.ID `json:"about"`
	}{n.Kind, n.Message.ID})
	if err != nil {
		return nil
	}
	return b
}

// isGlobal tells whether something of the report needs UTF-8.
func (r *report) isGlobal() bool {
	if r.Message.Envelope.UTF8 || !r.Message.Envelope.From.IsASCII() {
		return true
	}
	for _, to := range r.Recipients {
		if !to.Address.IsASCII() || !isASCII(to.Original) {
			return true
		}
	}
	return false
}

// content is the notice: header and three parts (RFC 6522 section 3).
func (r *report) content() []byte {
	text, status := r.text(), r.status()
	boundary := r.boundary(text, status, r.returned.octets)
	var b bytes.Buffer
	r.header(&b, boundary, isASCII(text) && isASCII(status) && isASCII(string(r.returned.octets)))
	charset := "us-ascii"
	if !isASCII(text) {
		charset = "utf-8"
	}
	part(&b, boundary, "Notification", "text/plain; charset="+charset, text)
	part(&b, boundary, "Delivery report", "message/"+r.statusType(), status)
	part(&b, boundary, r.returned.description, r.returned.mediaType(r.global), string(r.returned.octets))
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	return b.Bytes()
}

func (r *report) statusType() string {
	if r.global {
		return "global-delivery-status"
	}
	return "delivery-status"
}

// boundary is a line that none of the parts has.
func (r *report) boundary(parts ...any) string {
	for n := 0; ; n++ {
		boundary := fmt.Sprintf("=_%s.%d", r.ID, n)
		if !strings.Contains(fmt.Sprintf("%s", parts), boundary) {
			return boundary
		}
	}
}

func part(b *bytes.Buffer, boundary, description, mediaType, content string) {
	fmt.Fprintf(b, "\r\n--%s\r\nContent-Description: %s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n%s",
		boundary, description, mediaType, encoding(isASCII(content)), content)
}

func encoding(ascii bool) string {
	if ascii {
		return "7bit"
	}
	return "8bit"
}

// header writes the notice's own header. It is a reply made by a machine
// (RFC 3834 section 5).
func (r *report) header(b *bytes.Buffer, boundary string, ascii bool) {
	field := func(name, value string) { fmt.Fprintf(b, "%s: %s\r\n", name, value) }
	field("From", "Mail Delivery System "+r.options.Postmaster.Path())
	field("To", r.Message.Envelope.From.Path())
	field("Subject", map[Kind]string{
		Failure: "Your message could not be delivered",
		Delay:   "Your message is delayed",
		Success: "Your message was passed on",
	}[r.Kind])
	field("Date", r.At.UTC().Format(dateFormat))
	field("Message-ID", fmt.Sprintf("<%s@%s>", r.ID, r.options.Hostname))
	if id := r.returned.messageID; id != "" {
		field("In-Reply-To", id)
		field("References", id)
	}
	field("Auto-Submitted", "auto-replied")
	field("MIME-Version", "1.0")
	field("Content-Type", fmt.Sprintf("multipart/report; report-type=%s;\r\n\tboundary=\"%s\"", r.statusType(), boundary))
	field("Content-Transfer-Encoding", encoding(ascii))
	b.WriteString("\r\nThis is a delivery status notice in MIME format (RFC 3464).\r\n")
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
