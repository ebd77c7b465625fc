package intake

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/policy"
)

func stampSession(secure, extended bool) *session {
	return &session{
		connection: &connection{service: &service{hostname: "mx1.example.com"}},
		secure:     secure, extended: extended, cipher: tlsClause{"TLSv1.3", "TLS_AES_128_GCM_SHA256"},
	}
}

func stampMessage(t *testing.T, helo string, recipients ...string) *message {
	t.Helper()
	m := &message{transaction: &transaction{id: 1, with: "ESMTPS", who: policy.Session{
		Helo: helo, Addr: netip.MustParseAddr("192.0.2.1")}}}
	for _, r := range recipients {
		a, err := mail.ParseAddress(r, true)
		if err != nil {
			t.Fatal(err)
		}
		m.env.Recipients = append(m.env.Recipients, mail.Recipient{Address: a})
	}
	return m
}

func TestReceived(t *testing.T) {
	now := time.Date(2026, 11, 5, 9, 8, 7, 0, time.FixedZone("", 3600))
	m := stampMessage(t, "client.example", "u@local.test")
	m.iprev = policy.IPRev{Value: "pass", Name: "ptr.client.example"}
	want := "Received: from client.example (ptr.client.example [192.0.2.1])\r\n" +
		"\t(using TLSv1.3 with cipher TLS_AES_128_GCM_SHA256)\r\n" +
		"\tby mx1.example.com with ESMTPS id 0000000000001\r\n" +
		"\tfor <u@local.test>;\r\n" +
		"\tThu, 5 Nov 2026 08:08:07 +0000\r\n"
	if got := stampSession(true, true).received(m, now); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	m.iprev.Value = "fail"
	if got := stampSession(true, true).received(m, now); strings.Contains(got, "ptr.client.example") {
		t.Errorf("a name that does not lead back to the address is shown:\n%s", got)
	}
	m = stampMessage(t, "client.example", "u@local.test", "v@local.test")
	m.who.Addr = netip.MustParseAddr("2001:db8::1")
	got := stampSession(false, true).received(m, now)
	if strings.Contains(got, "for <") || strings.Contains(got, "using") || !strings.Contains(got, "([IPv6:2001:db8::1])") {
		t.Errorf("got\n%s", got)
	}
}

// Nothing that a stranger says can begin another field or end a comment.
func TestReceivedCannotBeInjected(t *testing.T) {
	for _, evil := range []string{"a)b", "a(b", "x\r\nSubject: y", "x\ty", "[1.2.3.4](", "\"x", "a;b", strings.Repeat("a", 2000)} {
		m := stampMessage(t, evil, "u@local.test")
		m.iprev = policy.IPRev{Value: "pass", Name: evil}
		got := stampSession(false, true).received(m, time.Now())
		if !strings.HasPrefix(got, "Received: from [192.0.2.1] ([192.0.2.1])\r\n") {
			t.Errorf("%q: %s", evil, got)
		}
	}
}

func TestLongLinesAreFolded(t *testing.T) {
	label := strings.Repeat("a", 60)
	m := stampMessage(t, label+"."+label+".example", label+"@"+label+"."+label+".test")
	m.iprev = policy.IPRev{Value: "pass", Name: label + ".example"}
	got := stampSession(true, true).received(m, time.Now())
	for line := range strings.SplitSeq(got, "\r\n") {
		if len(line) > 200 {
			t.Errorf("line of %d octets: %s", len(line), line)
		}
	}
	h, err := mail.ParseHeader([]byte(got + "\r\n"))
	if err != nil || len(h.Fields) != 1 {
		t.Errorf("%d fields, %v", len(h.Fields), err)
	}
}

func TestProtocol(t *testing.T) {
	for _, tt := range []struct {
		secure, extended, auth, utf8 bool
		want                         string
	}{
		{false, false, false, false, "SMTP"}, {false, true, false, false, "ESMTP"}, {true, true, false, false, "ESMTPS"},
		{true, true, true, false, "ESMTPSA"}, {false, true, true, false, "ESMTPA"}, {true, true, true, true, "UTF8SMTPSA"},
		{false, true, false, true, "UTF8SMTP"},
	} {
		if got := stampSession(tt.secure, tt.extended).protocol(tt.auth, tt.utf8); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}
