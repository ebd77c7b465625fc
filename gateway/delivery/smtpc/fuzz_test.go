package smtpc

import (
	"bytes"
	"strings"
	"testing"
	"testing/iotest"

	"gatepost/mail"
)

// FuzzReplies reads a whole stream of replies: the same in one piece and octet
// by octet, each within its bounds, with nothing of one in the next.
func FuzzReplies(f *testing.F) {
	for _, s := range []string{"220 hi\r\n250-a\r\n250 b\r\n", "250 a\n354\r\n", "550-5.1.1 x\r\n550 5.7.1 y\r\n250 z\r\n", "250-a\r\n251 b\r\n", strings.Repeat("250-x\r\n", 130), "999 x\r\n", "250 " + strings.Repeat("x", 5000)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole := newReplyReader(bytes.NewReader(in))
		pieces := newReplyReader(iotest.OneByteReader(bytes.NewReader(in)))
		for range len(in) + 1 {
			a, err := whole.next()
			b, err2 := pieces.next()
			if (err == nil) != (err2 == nil) || err == nil && a != b {
				t.Fatalf("%q: %+v, %v; octet by octet %+v, %v", in, a, err, b, err2)
			}
			if err != nil {
				return
			}
			if len(whole.lines) > maxReplyOctets+maxReplyLine || bytes.Count(whole.lines, []byte("\n")) >= maxReplyLines || a.Text != mail.SafeText(a.Text, maxReplyText) {
				t.Fatalf("%q: %d octets of text", in, len(whole.lines))
			}
		}
		t.Fatalf("%q has no end", in)
	})
}

// FuzzExtensions: what a server offers is what its lines say, word for word.
func FuzzExtensions(f *testing.F) {
	for _, s := range []string{"host\nPIPELINING\nSIZE 1000\nAUTH LOGIN PLAIN", "host\nauth=login plain\nsize", "STARTTLS", "host\nSIZE -5\nSTARTTLS x\nstarttls", "h\nSIZE 99999999999999999999", "h\n\xc3\xbc\nDSN\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, lines []byte) {
		e := parseExtensions(lines)
		_, rest, _ := strings.Cut(strings.ToUpper(string(lines)), "\n")
		offers := func(keyword string) bool {
			for line := range strings.SplitSeq(rest, "\n") {
				if words := strings.Fields(line); len(words) > 0 && words[0] == keyword {
					return true
				}
			}
			return false
		}
		if e.StartTLS != offers("STARTTLS") || e.Pipelining != offers("PIPELINING") || e.EightBitMIME != offers("8BITMIME") || e.SMTPUTF8 != offers("SMTPUTF8") || e.DSN != offers("DSN") || e.Size != offers("SIZE") {
			t.Fatalf("%q: %+v", lines, e)
		}
		if e.MaxSize < 0 || e.MaxSize > 0 && !e.Size || len(e.Auth) > len(lines) {
			t.Fatalf("%q: %+v", lines, e)
		}
		for _, mechanism := range e.Auth {
			if strings.ContainsAny(mechanism, " \t\r\n") || strings.ToUpper(mechanism) != mechanism {
				t.Fatalf("%q: mechanism %q", lines, mechanism)
			}
		}
	})
}

// FuzzOriginal: ORCPT, ENVID and everything else of a recipient make one
// command on one line, however a client wrote them, and ORCPT reads back.
func FuzzOriginal(f *testing.F) {
	f.Add("rfc822", "bob@there.example")
	f.Add("rfc822\r\nRSET", "a> NOTIFY=NEVER\r\n")
	f.Add("utf-8", "käthe+x=y@there.example")
	f.Add("UTF-8", `\x{FC}@x`)
	f.Add("", "x")
	f.Fuzz(func(t *testing.T, kind, original string) {
		c := &Conn{}
		got := string(c.appendOriginal(nil, &mail.Recipient{OriginalType: kind, Original: original}))
		if strings.ContainsAny(got, "\r\n\x00") || strings.Count(got, " ") > 1 || (got == "") != (kind == "" || original == "") {
			t.Fatalf("%q;%q is written %q", kind, original, got)
		}
		if got == "" || strings.EqualFold(kind, "utf-8") {
			return
		}
		_, value, _ := strings.Cut(got, "=")
		wroteKind, wrote, _ := strings.Cut(value, ";")
		if strings.Contains(kind, ";") {
			return
		}
		kindBack, err1 := mail.DecodeXtext(wroteKind)
		back, err2 := mail.DecodeXtext(wrote)
		if err1 != nil || err2 != nil || kindBack != kind || back != original {
			t.Fatalf("%q;%q is written %q, which reads %q;%q", kind, original, got, kindBack, back)
		}
	})
}
