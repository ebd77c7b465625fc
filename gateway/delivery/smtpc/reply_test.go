package smtpc

import (
	"errors"
	"io"
	"strings"
	"testing"

	"gatepost/mail"
)

func TestReply(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     mail.Reply
	}{
		{"plain", "250 Ok\r\n", mail.Reply{Code: 250, Text: "Ok"}},
		{"code alone", "250\r\n", mail.Reply{Code: 250}},
		{"code and space", "354 \r\n", mail.Reply{Code: 354}},
		{"enhanced", "550 5.1.1 no such user\r\n", mail.Reply{Code: 550, Enhanced: mail.Enhanced{5, 1, 1}, Text: "no such user"}},
		{"enhanced alone", "250 2.1.5\r\n", mail.Reply{Code: 250, Enhanced: mail.Enhanced{2, 1, 5}}},
		{"enhanced of three digits", "550 5.7.133 not you\r\n", mail.Reply{Code: 550, Enhanced: mail.Enhanced{5, 7, 133}, Text: "not you"}},
		{"enhanced on every line", "550-5.7.1 first\r\n550 5.7.1 second\r\n", mail.Reply{Code: 550, Enhanced: mail.Enhanced{5, 7, 1}, Text: "first second"}},
		{"enhanced of another class is text", "450 5.1.1 what\r\n", mail.Reply{Code: 450, Text: "5.1.1 what"}},
		{"version is no enhanced code", "220 2.0.0.1 ready\r\n", mail.Reply{Code: 220, Text: "2.0.0.1 ready"}},
		{"bare LF", "250 Ok\n", mail.Reply{Code: 250, Text: "Ok"}},
		{"control octets", "250 a\x1b[31mb\tc\r\n", mail.Reply{Code: 250, Text: "a [31mb c"}},
		{"not UTF-8", "550 caf\xe9\r\n", mail.Reply{Code: 550, Text: "caf?"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := newReplyReader(strings.NewReader(test.in)).next()
			if err != nil || got != test.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestReplyGarbage(t *testing.T) {
	for name, in := range map[string]string{
		"empty line":        "\r\n",
		"no code":           "hello there\r\n",
		"two digits":        "25 Ok\r\n",
		"code too low":      "150 Ok\r\n",
		"code too high":     "650 Ok\r\n",
		"other separator":   "250_Ok\r\n",
		"codes differ":      "250-Ok\r\n550 no\r\n",
		"line too long":     "250 " + strings.Repeat("a", maxReplyLine) + "\r\n",
		"endless lines":     strings.Repeat("250-more\r\n", 10_000),
		"too many octets":   strings.Repeat("250-"+strings.Repeat("a", 2000)+"\r\n", 30),
		"http":              "HTTP/1.1 400 Bad Request\r\n",
		"continuation lost": "250-first\r\nsecond\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := newReplyReader(strings.NewReader(in)).next(); !errors.Is(err, ErrReply) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestReplyCutOff(t *testing.T) {
	if _, err := newReplyReader(strings.NewReader("250-first\r\n250 sec")).next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	if _, err := newReplyReader(strings.NewReader("")).next(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}

func TestExtensions(t *testing.T) {
	for _, test := range []struct {
		lines string
		want  Extensions
	}{
		{"host", Extensions{}},
		{"host\nPIPELINING\n8bitmime\nSMTPUTF8\nDSN\nSTARTTLS", Extensions{Pipelining: true, EightBitMIME: true, SMTPUTF8: true, DSN: true, StartTLS: true}},
		{"host\nSIZE 1000", Extensions{Size: true, MaxSize: 1000}},
		{"host\nSIZE", Extensions{Size: true}},
		{"host\nSIZE 0", Extensions{Size: true}},
		{"host\nSIZE many", Extensions{Size: true}},
		{"host\nSIZE -5", Extensions{Size: true}},
		{"host\nAUTH PLAIN login", Extensions{Auth: []string{"PLAIN", "LOGIN"}}},
		{"host\nAUTH=LOGIN PLAIN", Extensions{Auth: []string{"LOGIN", "PLAIN"}}},
		{"PIPELINING is my name", Extensions{}},
		{"host\n\nX-UNKNOWN", Extensions{}},
	} {
		got := parseExtensions([]byte(test.lines))
		if strings.Join(got.Auth, ",") != strings.Join(test.want.Auth, ",") {
			t.Errorf("%q: AUTH %v", test.lines, got.Auth)
		}
		got.Auth, test.want.Auth = nil, nil
		if got.Pipelining != test.want.Pipelining || got.EightBitMIME != test.want.EightBitMIME || got.SMTPUTF8 != test.want.SMTPUTF8 ||
			got.DSN != test.want.DSN || got.StartTLS != test.want.StartTLS || got.Size != test.want.Size || got.MaxSize != test.want.MaxSize {
			t.Errorf("%q: got %+v", test.lines, got)
		}
	}
}

func FuzzReply(f *testing.F) {
	for _, seed := range []string{"250 Ok\r\n", "550-5.7.1 a\r\n550 5.7.1 b\r\n", "250-\r\n250\r\n", "421 4.3.2", "\x00", "250 \xff\x1b\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		reply, err := newReplyReader(strings.NewReader(string(in))).next()
		if err != nil {
			return
		}
		if reply.Code < 200 || reply.Code > 599 {
			t.Errorf("code %d", reply.Code)
		}
		if reply.Enhanced != (mail.Enhanced{}) && int(reply.Enhanced[0]) != reply.Code/100 {
			t.Errorf("code %d with %s", reply.Code, reply.Enhanced)
		}
		if reply.Text != mail.SafeText(reply.Text, maxReplyText) {
			t.Errorf("text is not safe: %q", reply.Text)
		}
	})
}
