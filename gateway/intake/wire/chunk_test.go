package wire_test

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"gatepost/gateway/intake/wire"
	"gatepost/gateway/intake/wire/wiretest"
	"gatepost/mail"
)

func errPolicy() error {
	return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "Refused by policy"}
}

// BDAT dialogues (RFC 3030) behind EHLO, with the messages they leave.
func TestBDAT(t *testing.T) {
	for _, d := range []struct {
		name, script string
		want         []string
	}{
		{"chunks", transaction + "C+ BDAT 5\\r\\nhello\nS: 250 2.0.0 5 octets received\nC+ BDAT 6 LAST\\r\\n world\nS: 250 2.0.0 Ok: queued", []string{"hello world"}},
		{"pipelined", transaction + "C+ BDAT 1\\r\\naBDAT 1\\r\\nbBDAT 0\\r\\nBDAT 1 LAST\\r\\ncVRFY x\\r\\n\nS: 250\nS: 250\nS: 250\nS: 250 2.0.0 Ok: queued\nS: 252", []string{"abc"}},
		{"nothing last", transaction + "C+ BDAT 2\\r\\nab\nS: 250\nC: BDAT 0 LAST\nS: 250 2.0.0 Ok", []string{"ab"}},
		{"nothing at all", transaction + "C: BDAT 0 LAST\nS: 250 2.0.0 Ok", []string{""}},
		{"lower case, zeros", transaction + "C: bdat 0002 last\nC+ ab\nS: 250 2.0.0 Ok", []string{"ab"}},
		{"commands inside", transaction + "C+ BDAT 12 LAST\\r\\nQUIT\\r\\nNOOP\\r\\n\nS: 250 2.0.0 Ok", []string{"QUIT\r\nNOOP\r\n"}},
		{"CRLF over chunks", transaction + "C+ BDAT 2\\r\\na\\rBDAT 2 LAST\\r\\n\\nb\nS: 250\nS: 250 2.0.0 Ok", []string{"a\r\nb"}},
		{"CR over chunks", transaction + "C+ BDAT 2\\r\\na\\rBDAT 0\\r\\nBDAT 1 LAST\\r\\nb\nS: 250\nS: 250\nS: 250 2.0.0 Ok", []string{"a\r\nb"}},
		{"CR and nothing", transaction + "C+ BDAT 2\\r\\na\\rBDAT 0 LAST\\r\\n\nS: 250\nS: 250 2.0.0 Ok", []string{"a\r\n"}},
		{"without MAIL", "C+ BDAT 6 LAST\\r\\nQUIT\\r\\nVRFY x\\r\\n\nS: 503 5.5.1\nS: 252", nil},
		{"without RCPT", "C: MAIL FROM:<a@x.test>\nS: 250\nC+ BDAT 6\\r\\nQUIT\\r\\nBDAT 6 LAST\\r\\nQUIT\\r\\n\nS: 503 5.5.1\nS: 503 5.5.1", nil},
		{"big without MAIL", "C+ BDAT 100000 LAST\\r\\n" + strings.Repeat("QUIT\\r\\nRSET", 10000) + "VRFY x\\r\\n\nS: 503 5.5.1\nS: 252", nil},
		{"NUL without MAIL", "C+ BDAT 3 LAST\\r\\na\\x00bVRFY x\\r\\n\nS: 503 5.5.1\nS: 252", nil},
		{"DATA inside", transaction + "C+ BDAT 1\\r\\na\nS: 250\nC: DATA\nS: 503 5.5.1\nC+ BDAT 1 LAST\\r\\nb\nS: 250 2.0.0 Ok", []string{"ab"}},
		{"MAIL inside", transaction + "C+ BDAT 1\\r\\na\nS: 250\nC: MAIL FROM:<c@x.test>\nS: 503 5.5.1\nC: RCPT TO:<d@x.test>\nS: 503\nC: NOOP\nS: 250\nC+ BDAT 1 LAST\\r\\nb\nS: 250 2.0.0 Ok", []string{"ab"}},
		{"RSET inside", transaction + "C+ BDAT 1\\r\\na\nS: 250\nC: RSET\nS: 250 2.0.0 Session reset\nC: BDAT 0 LAST\nS: 503" + transaction + "C: DATA\nS: 354\nC: .\nS: 250 2.0.0 Ok", []string{""}},
		{"EHLO inside", transaction + "C+ BDAT 1\\r\\na\nS: 250\nC: EHLO y\nS: 250-gate.test\nC: BDAT 0 LAST\nS: 503", nil},
		{"QUIT inside", transaction + "C+ BDAT 1\\r\\na\nS: 250\nC: QUIT\nS: 221\nS! ", nil},
		{"NUL in a chunk", transaction + "C+ BDAT 3\\r\\na\\x00bBDAT 1\\r\\ncBDAT 1 LAST\\r\\nd\nS: 550 5.6.0\nS: 503\nS: 503", nil},
		{"size is no number", transaction + "C: BDAT x LAST\nS: 501 5.5.4\nS! ", nil},
		{"size with sign", transaction + "C: BDAT +5\nS: 501 5.5.4\nS! ", nil},
		{"negative size", transaction + "C: BDAT -5\nS: 501 5.5.4\nS! ", nil},
		{"no size", transaction + "C: BDAT\nS: 501 5.5.4\nS! ", nil},
		{"no LAST", transaction + "C: BDAT 5 FIRST\nS: 501 5.5.4\nS! ", nil},
		{"LAST and more", transaction + "C: BDAT 5 LAST LAST\nS: 501 5.5.4\nS! ", nil},
		{"absurd size", transaction + "C: BDAT 3000000000\nS: 552 5.3.4\nS! ", nil},
		{"more absurd size", transaction + "C: BDAT 99999999999999999999 LAST\nS: 552 5.3.4\nS! ", nil},
	} {
		t.Run(d.name, func(t *testing.T) {
			g := newGateway(t, baseSettings())
			c := g.greeted()
			play(t, c, d.script)
			if !strings.HasSuffix(d.script, "S! ") {
				play(t, c, "C: VRFY step\nS: 252\nC: QUIT\nS: 221\nS! ")
			}
			var got []string
			for _, m := range g.got() {
				got = append(got, m.content)
			}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", d.want) {
				t.Errorf("got %q, want %q", got, d.want)
			}
		})
	}
}

func TestBDATWhereItIsNotOffered(t *testing.T) {
	s := baseSettings()
	s.Chunking = false
	g := newGateway(t, s)
	c := g.greeted()
	play(t, c, transaction+"C+ BDAT 6 LAST\\r\\nQUIT\\r\\nVRFY x\\r\\n\nS: 502 5.5.1\nS: 252\nC: DATA\nS: 354\nC: .\nS: 250 2.0.0 Ok")
}

// A bare newline that only a later chunk shows is refused there.
func TestNewlineOverChunks(t *testing.T) {
	s := baseSettings()
	s.BDATNewline = wire.Reject
	g := newGateway(t, s)
	c := g.greeted()
	play(t, c, transaction+"C+ BDAT 2\\r\\na\\rBDAT 1\\r\\nbBDAT 0 LAST\\r\\n\nS: 250\nS: "+mail.ReplyBareNewline.String()+" (ta@x.test)\nS: 503")
	play(t, c, transaction+"C+ BDAT 2\\r\\na\\rBDAT 0 LAST\\r\\n\nS: 250\nS: "+mail.ReplyBareNewline.String())
	play(t, c, transaction+"C+ BDAT 2\\r\\na\\rBDAT 1 LAST\\r\\n\\n\nS: 250\nS: 250 2.0.0 Ok")
	if got := g.refusals(); len(got) != 2 || got[0] != mail.ReplyBareNewline {
		t.Errorf("sessions were told %v", got)
	}
}

// A message of exactly the limit passes, one octet more does not.
func TestMessageSize(t *testing.T) {
	for _, limit := range []int{1, 2, 999, 1 << 15, 100_000} {
		for _, form := range []wiretest.Form{wiretest.DATA, wiretest.BDAT} {
			t.Run(fmt.Sprint(limit, form), func(t *testing.T) {
				s := baseSettings()
				s.MessageSize = int64(limit)
				g := newGateway(t, s)
				c := g.greeted()
				for _, size := range []int{limit + 1, limit, 3*limit + 100_000, limit} {
					checkSize(t, g, c, form, size)
				}
			})
		}
	}
}

func checkSize(t *testing.T, g *gateway, c *wiretest.Client, form wiretest.Form, size int) {
	t.Helper()
	content := strings.Repeat(".123456\r\n", size/9+1)[:size]
	if size > 1 {
		content = content[:size-2] + "\r\n"
	}
	content = strings.ReplaceAll(content, "\r\r\n", ".\r\n")
	sent := content
	if form == wiretest.DATA {
		if size < 2 {
			return // DATA ends in CRLF
		}
		sent = strings.TrimSuffix(strings.ReplaceAll("\r\n"+content, "\r\n.", "\r\n.."), "")[2:] + ".\r\n"
	}
	before := len(g.got())
	reply, err := c.Message(form, "a@x.test", "b@x.test", sent)
	must(t, err)
	got := g.got()[before:]
	switch fits := int64(size) <= g.settings.MessageSize; {
	case fits && (len(got) != 1 || got[0].content != content):
		t.Errorf("%d octets: %q, %d messages", size, reply, len(got))
	case !fits && (len(got) != 0 || !strings.HasPrefix(reply, mail.ReplyTooBig.String())):
		t.Errorf("%d octets: %q, %d messages", size, reply, len(got))
	}
}

// The Data call of a message that the client or the wire broke off is slow to
// return. What it returns must not be taken for the result of the next message:
// go-smtp does not wait for it when RSET ends a message.
func TestBrokenMessageDoesNotAnswerForTheNext(t *testing.T) {
	for _, end := range []string{"RSET\r\n", "EHLO y\r\n", "BDAT 1\r\n\x00RSET\r\n"} {
		g := newGateway(t, baseSettings())
		g.atData = func(_ *wire.Conn, r io.Reader) error {
			content, err := io.ReadAll(r)
			if err == nil {
				return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: string(content)}
			}
			for range 10000 {
				runtime.Gosched()
			}
			return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "wrong"}
		}
		c := g.greeted()
		const begin = "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\n"
		for range 50 {
			must(t, c.Send(begin+"BDAT 1\r\na"+end+begin+"BDAT 5 LAST\r\nright"))
			for range 3 {
				wantReply(t, c, "250")
			}
			if strings.HasPrefix(end, "BDAT") {
				wantReply(t, c, "550")
			}
			for range 3 {
				wantReply(t, c, "250")
			}
			wantReply(t, c, "250 2.0.0 right")
		}
	}
}
