package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"

	"gatepost/mail"
)

// plain is a server without extensions but those given.
func plain(extensions ...string) string {
	script := "S: 220 test\nC: EHLO gw.example\nS: 250-test\n"
	for _, e := range extensions {
		script += "S: 250-" + e + "\n"
	}
	return script + "S: 250 HELP\n"
}

// oneByOne is a transfer without PIPELINING; params are those of MAIL.
func oneByOne(params string) string {
	return "C: MAIL FROM:<a@a.example>" + params + "\nS: 250 Ok\nC: RCPT TO:<b@b.example>\nS: 250 Ok\nC: DATA\nS: 354 go\nD:\nS: 250 Ok\n"
}

func TestSizeIsRefusedEarly(t *testing.T) {
	s := serve(t, plain("SIZE 20")+quit)
	signer := &fixedSigner{}
	d := start(t, Options{Signer: signer}, s)
	want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0],
		"message 552 5.3.4 Message is bigger than the next hop takes: 28 octets, the limit is 20")
	if len(signer.calls) != 0 {
		t.Error("a message that cannot be sent was signed")
	}
}

func TestSizeCountsSignaturesPrefixAndCuts(t *testing.T) {
	m := message(t, small)
	m.Prefix = []byte("Received: x\r\n")          // 13
	m.Cuts = []mail.Span{{Offset: 0, Length: 19}} // From: a@a.example
	size := len(small) + 13 - 19 + len("DKIM-Signature: x\r\n")
	s := serve(t, plain("SIZE")+oneByOne(fmt.Sprintf(" SIZE=%d", size))+quit, plain(fmt.Sprintf("SIZE %d", size-1))+quit)
	d := start(t, Options{Signer: &fixedSigner{}, Messages: 1}, s)
	want(t, d.Deliver(t.Context(), job(t, m, "b@b.example"))[0], "250 2.0.0 Ok")
	if got := s.Messages()[0]; got != "DKIM-Signature: x\r\nReceived: x\r\n"+small[19:]+".\r\n" {
		t.Errorf("the server got %q", got)
	}
	want(t, d.Deliver(t.Context(), job(t, m, "b@b.example"))[0], "message 552 5.3.4 *")
}

func TestSMTPUTF8(t *testing.T) {
	utf8Header := "Subject: é\r\n\r\nHi\r\n"
	for name, test := range map[string]struct {
		message func(*mail.Message)
		content string
		to      string
		script  string
		want    string
	}{
		"offered":               {func(m *mail.Message) { m.Envelope.UTF8 = true }, utf8Header, "b@b.example", plain("8BITMIME", "SMTPUTF8") + oneByOne(" BODY=8BITMIME SMTPUTF8"), "250 2.0.0 Ok"},
		"header":                {func(m *mail.Message) { m.Envelope.UTF8 = true }, utf8Header, "b@b.example", plain("8BITMIME"), "message 553 5.6.7 *"},
		"sender":                {func(m *mail.Message) { m.Envelope.From, _ = mail.ParseAddress("é@a.example", true) }, small, "b@b.example", plain("8BITMIME"), "message 553 5.6.7 *"},
		"prefix":                {func(m *mail.Message) { m.Envelope.UTF8, m.Prefix = true, []byte("Received: é\r\n") }, small, "b@b.example", plain("8BITMIME"), "message 553 5.6.7 *"},
		"recipient":             {func(*mail.Message) {}, small, "é@b.example", plain("8BITMIME"), "recipient 553 5.6.7 *"},
		"said, but not needed":  {func(m *mail.Message) { m.Envelope.UTF8 = true }, small, "b@b.example", plain() + oneByOne(""), "250 2.0.0 Ok"},
		"U-label is no problem": {func(*mail.Message) {}, small, "b@bücher.example", strings.ReplaceAll(plain()+oneByOne(""), "b@b.example", "b@xn--bcher-kva.example"), "250 2.0.0 Ok"},
		"8-bit header without the client saying so": {func(*mail.Message) {}, utf8Header, "b@b.example", plain("8BITMIME") + oneByOne(" BODY=8BITMIME"), "250 2.0.0 Ok"},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, Options{}, serve(t, test.script+quit))
			m := message(t, test.content)
			test.message(m)
			want(t, d.Deliver(t.Context(), job(t, m, test.to))[0], test.want)
		})
	}
}

func TestOnlyTheRecipientNeedsSMTPUTF8(t *testing.T) {
	s := serve(t, plain()+oneByOne("")+quit)
	d := start(t, Options{}, s)
	results := d.Deliver(t.Context(), job(t, message(t, small), "é@b.example", "b@b.example"))
	want(t, results[0], "recipient 553 5.6.7 *")
	want(t, results[1], "250 2.0.0 Ok")
}

const (
	latin  = "From: a@a.example\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße aus Köln an alle\r\n"
	signed = "From: a@a.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=x\r\n\r\n--x\r\n\r\nGrüße\r\n--x--\r\n"
)

func TestEightBitMail(t *testing.T) {
	for name, test := range map[string]struct {
		role          mail.Role
		content       string
		force         string
		script        string
		want          string
		form          string // of the signature
		wantInContent string
	}{
		"8BITMIME offered":    {mail.RoleRelay, latin, "", plain("8BITMIME") + oneByOne(" BODY=8BITMIME"), "250 2.0.0 Ok", FormAsIs, "Grüße"},
		"relayed":             {mail.RoleRelay, latin, "", plain() + oneByOne(""), "250 2.0.0 Ok", FormSevenBit, "quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe"},
		"our own":             {mail.RoleInternal, latin, "", plain() + oneByOne(""), "250 2.0.0 Ok", FormSevenBit, "Gr=C3=BC=C3=9Fe"},
		"judged":              {mail.RoleMX, latin, "", plain(), "message 554 5.6.3 *", "", ""},
		"judged, forced":      {mail.RoleMX, latin, EightBitForce, plain() + oneByOne(""), "250 2.0.0 Ok", "", "Grüße"},
		"signed part":         {mail.RoleRelay, signed, "", plain(), "message 554 5.6.3 *", "", ""},
		"signed part, forced": {mail.RoleRelay, signed, EightBitForce, plain() + oneByOne(""), "250 2.0.0 Ok", FormAsIs, "Grüße"},
		"relayed, forced":     {mail.RoleRelay, latin, EightBitForce, plain() + oneByOne(""), "250 2.0.0 Ok", FormSevenBit, "Gr=C3=BC=C3=9Fe"},
		"7-bit body":          {mail.RoleMX, small, "", plain() + oneByOne(""), "250 2.0.0 Ok", "", "Hello"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, test.script+quit)
			signer := &fixedSigner{}
			d := start(t, Options{Signer: signer, NextHops: []NextHop{{EightBit: test.force}}}, s)
			m := message(t, test.content)
			m.Origin.Role = test.role
			r := d.Deliver(t.Context(), job(t, m, "b@b.example"))[0]
			want(t, r, test.want)
			if test.form == "" != (len(signer.calls) == 0) {
				t.Fatalf("signed: %q", signer.calls)
			}
			if r.Code != 250 {
				return
			}
			sent := s.Messages()[0]
			if !strings.Contains(sent, test.wantInContent) {
				t.Errorf("sent %q", sent)
			}
			if test.form != "" && signer.calls[0] != test.form+": "+strings.TrimSuffix(strings.TrimPrefix(sent, "DKIM-Signature: x\r\n"), ".\r\n") {
				t.Errorf("signed %q\nsent   %q", signer.calls[0], sent)
			}
			if (test.form != "") != (len(r.Signed) == 1) || strings.HasPrefix(sent, "DKIM-Signature:") != (test.form != "") {
				t.Errorf("signed by %v, sent %q", r.Signed, sent)
			}
		})
	}
}

func TestConvertedSizeIsExact(t *testing.T) {
	s := serve(t, plain("SIZE")+"C: MAIL FROM:<a@a.example> SIZE=*\nS: 250 Ok\nC: RCPT*\nS: 250 Ok\nC: DATA\nS: 354 go\nD:\nS: 250 Ok\n"+quit)
	d := start(t, Options{}, s)
	m := message(t, latin)
	d.Deliver(t.Context(), job(t, m, "b@b.example"))
	a := newAttempt(d, &Job{Message: m})
	f, trouble := a.form(t.Context(), FormSevenBit)
	if trouble != nil || f.size != int64(len(s.Messages()[0])-len(".\r\n")) {
		t.Errorf("form %+v, %+v; sent %d octets", f, trouble, len(s.Messages()[0]))
	}
}

func TestOneSignatureForAllTargets(t *testing.T) {
	signer := &fixedSigner{}
	d := start(t, Options{Signer: signer}, serve(t, hello+"C: MAIL*\nX:"), serve(t, hello+transfer+quit))
	want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], "250 2.0.0 queued as X")
	if len(signer.calls) != 1 {
		t.Errorf("signed %d times", len(signer.calls))
	}
}

// TestOnlyMailOfStrangersIsSealed: in the bytes that leave, and never
// re-encoded; what is signed is not sealed.
func TestOnlyMailOfStrangersIsSealed(t *testing.T) {
	for role, want := range map[mail.Role][2]int{mail.RoleMX: {0, 1}, mail.RoleRelay: {1, 0}, mail.RoleInternal: {1, 0}} {
		signer, sealer := &fixedSigner{}, &fixedSigner{}
		s := serve(t, hello+transfer+quit)
		d := start(t, Options{Signer: signer, Sealer: sealer}, s)
		m := message(t, small)
		m.Origin.Role, m.Prefix = role, []byte("Received: x\r\n")
		r := d.Deliver(t.Context(), job(t, m, "b@b.example"))[0]
		got := [2]int{len(signer.calls), len(sealer.calls)}
		if got != want || len(r.Signed) != 1 {
			t.Errorf("%s: signed and sealed %v, %v", role, got, r.Signed)
		}
		if all := append(signer.calls, sealer.calls...); "as-is: "+strings.TrimSuffix(strings.TrimPrefix(s.Messages()[0], "DKIM-Signature: x\r\n"), ".\r\n") != all[0] {
			t.Errorf("%s: signed %q, sent %q", role, all[0], s.Messages()[0])
		}
	}
	sealer := &fixedSigner{}
	s := serve(t, plain()+quit)
	m := message(t, latin)
	m.Origin.Role = mail.RoleMX
	want(t, start(t, Options{Sealer: sealer}, s).Deliver(t.Context(), job(t, m, "b@b.example"))[0], "message 554 5.6.3 *")
	if len(sealer.calls) != 0 {
		t.Error("what cannot be sent was sealed")
	}
}

func TestUnsignedMailDoesNotLeave(t *testing.T) {
	signer := &fixedSigner{err: errors.New("secret detail")}
	var log strings.Builder
	d := start(t, Options{Signer: signer, Logger: slog.New(slog.NewTextHandler(&log, nil))}, serve(t, hello+quit))
	want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], "message 451 4.7.5 Signing failed, will try again")
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "secret detail") {
		t.Errorf("the log says %q", log.String())
	}
}

// failingBody fails when it has been read.
type failingBody struct{ text string }

func (b failingBody) Size() int64 { return int64(len(b.text)) + 1 }

func (b failingBody) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader(b.text), iotest.ErrReader(errors.New("disk on fire")))), nil
}

func TestStoreTroubleIsOurs(t *testing.T) {
	s := serve(t, hello+"C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250 Ok\nS: 354 go\nW:")
	other := serve(t) // must see nobody
	d := start(t, Options{}, s, other)
	m := message(t, small)
	m.Content = failingBody{strings.Repeat("Hello\r\n", 10_000)}
	want(t, d.Deliver(t.Context(), job(t, m, "b@b.example"))[0], "message 451 4.3.0 Internal error, will try again")
	if len(s.Messages()) != 0 {
		t.Error("half a message was sent as a whole")
	}
}

func TestBareNewlineIsNeverSent(t *testing.T) {
	s := serve(t, hello+"C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250 Ok\nS: 354 go\nW:")
	d := start(t, Options{}, s)
	m := message(t, "A: b\r\n\r\nx\n.\nMAIL FROM:<evil@evil.example>\r\n")
	want(t, d.Deliver(t.Context(), job(t, m, "b@b.example"))[0], "message 554 5.6.0 Message holds a bare CR or LF*")
}
