package extract

import (
	"strings"
	"testing"
)

// A header of one field with very many folded lines cost the square of their
// number: one message kept a processor busy for minutes.
func TestFoldedLinesCostTheirLengthOnly(t *testing.T) {
	part := "--b\r\nContent-Type: text/plain; x=\"" + strings.Repeat("\n x", 80_000) + "\r\n\r\n"
	if _, err := Message(strings.NewReader("Content-Type: multipart/mixed; boundary=b\r\n\r\n"+strings.Repeat(part, 5)), Limits{}); err == nil {
		t.Error("there is no report in it")
	}
	h, _ := split([]byte("Subject: a\n" + strings.Repeat(" 0123456789\n", 10_000) + "To: b\n\n"))
	if len(h["subject"]) > 2*maxValue || h["to"] != "b" {
		t.Errorf("%d octets of Subject, To %q", len(h["subject"]), h["to"])
	}
	h, _ = split([]byte("Content-Type: multipart/mixed;\r\n\tboundary=x\r\n\r\n"))
	if kind, params := h.mediaType(); kind != "multipart/mixed" || params["boundary"] != "x" {
		t.Errorf("%s, %v", kind, params)
	}
}
