package integration

import (
	"bytes"
	"strings"
	"testing"
)

// TestExchangeOutbound: a relay client sends for its domain and is signed,
// forwards foreign mail unsigned, and its null-sender mail is signed by the
// header From.
func TestExchangeOutbound(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	s.keys()
	ours, foreign := "d=example.test;", "foreign.test"
	for _, c := range []struct {
		subject, from, header string
		signed                bool
	}{
		{"own mail", "bob@example.test", "Bob <bob@example.test>", true},
		{"on behalf", "bob@example.test", "anna@example.test", true},
		{"out of office", "", "bob@example.test", true},
		{"forwarded", "alice@" + foreign, "alice@" + foreign, false},
		{"rewritten sender", "bob+alice=foreign.test@example.test", "alice@" + foreign, false},
		{"null sender, foreign author", "", "alice@" + foreign, false},
	} {
		reply := send(t, fromExchange, s.mx, 250, c.from, "carl@world.test", letter(c.header, "carl@world.test", c.subject, "text"))
		m := s.world.wait(t, "Subject: "+c.subject+"\r\n")
		if m.From != c.from || len(m.To) != 1 || m.To[0] != "carl@world.test" {
			t.Errorf("%s: arrived from <%s> to %v", c.subject, m.From, m.To)
		}
		if n := strings.Count(unfolded(m.Data), ours); n != map[bool]int{true: 2, false: 0}[c.signed] {
			t.Errorf("%s: %d signatures\n%s", c.subject, n, unfolded(m.Data))
		}
		contains(t, unfolded(m.Data), "Received: from client.good.test ([127.0.0.10]) by mx.example.test with ESMTP id "+queuedID(t, reply))
		lacks(t, unfolded(m.Data), "Authentication-Results")
	}
}

// TestRelayCompletesHeader: devices that send neither Date nor Message-ID.
func TestRelayCompletesHeader(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	s.keys()
	send(t, fromPrinter, s.devices, 250, "scanner@example.test", "carl@world.test", "From: scanner@example.test\r\nSubject: scan\r\n\r\nSee attachment\r\n")
	m := s.world.wait(t, "Subject: scan")
	contains(t, unfolded(m.Data), "\r\nDate: ", "\r\nMessage-ID: <")
	send(t, fromExchange, s.mx, 250, "bob@example.test", "carl@world.test", letter("bob@example.test", "carl@world.test", "complete", "x"))
	m = s.world.wait(t, "Subject: complete")
	if n := bytes.Count(m.Data, []byte("\nDate: ")) + bytes.Count(m.Data, []byte("\nMessage-ID: ")); n != 2 {
		t.Errorf("%d Date and Message-ID fields, want one each", n)
	}
}

// TestSendAs: whom a relay client may be, on the envelope and in the From.
func TestSendAs(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	for _, c := range []struct {
		name, from, header string
		code               int
	}{
		{"itself", "scanner@example.test", "scanner@example.test", 250},
		{"null sender", "", "scanner@example.test", 250},
		{"another envelope", "bob@example.test", "scanner@example.test", 550},
		{"another author", "scanner@example.test", "bob@example.test", 550},
		{"foreign author", "scanner@example.test", "alice@foreign.test", 550},
		{"foreign envelope", "alice@foreign.test", "scanner@example.test", 550},
		{"two authors", "scanner@example.test", "scanner@example.test, bob@example.test", 550},
		{"display name as bait", "scanner@example.test", `"scanner@example.test" <alice@foreign.test>`, 550},
	} {
		reply := send(t, fromPrinter, s.devices, c.code, c.from, "carl@world.test", letter(c.header, "carl@world.test", c.name, "text"))
		if c.code == 550 {
			contains(t, reply, "5.7.1")
		}
	}
	two := "From: scanner@example.test\r\n" + letter("alice@foreign.test", "carl@world.test", "two From fields", "text")
	send(t, fromPrinter, s.devices, 550, "scanner@example.test", "carl@world.test", two)
	s.settled()
	if n := len(s.world.all()); n != 2 {
		t.Errorf("%d messages left, want 2", n)
	}
	s.logged(`"msg":"refused"`, `"rule":"send-as"`)
}

// TestNeverAnOpenRelay: nobody who is not configured reaches the world by any
// listener or any spelling.
func TestNeverAnOpenRelay(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	targets := []string{
		"carl%world.test@all.example.test", "world.test!carl@all.example.test", // that domain accepts all
		"carl@world.test", "CARL@WORLD.TEST", "carl%world.test@example.test", "@example.test:carl@world.test", `"carl@world.test"@example.test`,
		"carl@world.test@example.test", "world.test!carl@example.test", "carl@[127.0.0.1]", "carl@[IPv6:::1]", "carl@sub.example.test",
		"carl@example.test.world.test", "carl@xexample.test", `"carl@world.test> NOTIFY=NEVER "@example.test`, "carl", "carl@",
	}
	senders := []string{"", "bob@example.test", "alice@good.test", "postmaster@example.test"}
	for _, listener := range []string{s.mx, s.devices} {
		for _, local := range []string{fromStranger, fromWorld, "127.0.0.1"} {
			d := session(t, local, listener)
			for _, from := range senders {
				for _, to := range targets {
					d = refusedRecipient(t, d, local, listener, from, to)
				}
			}
		}
	}
	// The relay client of one listener is a stranger at another one.
	for _, x := range []struct{ local, listener string }{{fromPrinter, s.mx}, {fromExchange, s.devices}} {
		refusedRecipient(t, session(t, x.local, x.listener), x.local, x.listener, "bob@example.test", "carl@world.test")
	}
	// Who claims to be somebody else by PROXY or XCLIENT is not believed.
	for _, claim := range []string{"PROXY TCP4 127.0.0.10 127.0.0.1 40000 25", "XCLIENT ADDR=127.0.0.10", "XFORWARD ADDR=127.0.0.10"} {
		d := mustDial(t, s.mx)
		if code, text, err := d.cmd(claim); err != nil || code/100 != 5 {
			t.Errorf("%s: %q, %v", claim, text, err)
		}
		d.cmd("EHLO client.good.test")
		refusedRecipient(t, d, "127.0.0.1", s.mx, "bob@example.test", "carl@world.test")
	}
	s.settled()
	if n := len(s.world.all()) + len(s.inside.all()); n != 0 {
		t.Errorf("%d messages were relayed", n)
	}
}

// refusedRecipient wants a refusal at MAIL or RCPT, and gives the session to
// go on with: too many errors end one.
func refusedRecipient(t *testing.T, d *dialogue, local, listener, from, to string) *dialogue {
	t.Helper()
	code, text, err := d.cmd("MAIL FROM:<" + from + ">")
	if err == nil && code == 250 {
		code, text, err = d.cmd("RCPT TO:<" + to + ">")
	}
	switch {
	case err != nil || code == 421:
		d.conn.Close()
		return refusedRecipient(t, session(t, local, listener), local, listener, from, to)
	case code/100 != 5:
		t.Errorf("%s: from <%s> to <%s>: %q", local, from, to, text)
	}
	if _, _, err := d.cmd("RSET"); err != nil {
		d.conn.Close()
		return session(t, local, listener)
	}
	return d
}
