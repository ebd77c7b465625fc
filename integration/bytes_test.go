package integration

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatepost/gateway/intake/wire/wiretest"
)

// bytesConfig has one listener for each way and newline policy.
const bytesConfig = `
hostname: relay.example.test
store: {min_free: 1MiB}
tls:
  certificates:
    - {cert: "{{dir}}/tls.crt", key: "{{dir}}/tls.key"}
relay_clients:
  - {name: local, addresses: [127.0.0.1], send_as: ["@example.com", "@sender.test"], other_from: unsigned}
limits: {errors_per_session: 1000}
listeners:
  - {name: opt-reject, address: "{{optional-reject}}", role: smarthost, relay_clients: [local], bare_newline: {data: reject, bdat: reject}}
  - {name: opt-normalize, address: "{{optional-normalize}}", role: smarthost, relay_clients: [local], bare_newline: {data: normalize, bdat: normalize}}
  - {name: tls-reject, address: "{{implicit-reject}}", role: smarthost, relay_clients: [local], tls: {mode: implicit}, bare_newline: {data: reject, bdat: reject}}
  - {name: tls-normalize, address: "{{implicit-normalize}}", role: smarthost, relay_clients: [local], tls: {mode: implicit}, bare_newline: {data: normalize, bdat: normalize}}
next_hops:
  - {name: sink, urls: ["smtp://{{sink}}"], tls: {policy: "off"}}
routes:
  - {match: {recipients: ["*"]}, next_hop: sink}
`

// bytesGate is the gateway of the byte table.
type bytesGate struct {
	*gate
	end       *sink
	addresses map[string]string
}

func startBytesGate(t *testing.T) *bytesGate {
	t.Helper()
	b := &bytesGate{end: startSink(t, nil), addresses: map[string]string{}}
	for _, mode := range []string{"optional", "implicit"} {
		for _, policy := range []string{"reject", "normalize"} {
			b.addresses[mode+"-"+policy] = freeAddress(t)
		}
	}
	vars := map[string]string{"sink": b.end.Addr}
	for k, v := range b.addresses {
		vars[k] = v
	}
	b.gate = startGate(t, bytesConfig, vars)
	return b
}

// client opens a session by one of the ways of the table.
func (b *bytesGate) client(t *testing.T, way, policy string) *wiretest.Client {
	t.Helper()
	mode := "optional"
	if way == "implicit TLS" {
		mode = "implicit"
	}
	conn, err := dialTCP(b.addresses[mode+"-"+policy])
	if err != nil {
		t.Fatal(err)
	}
	trust := &tls.Config{InsecureSkipVerify: true}
	if mode == "implicit" {
		conn = tls.Client(conn, trust)
	}
	t.Cleanup(func() { conn.Close() })
	c := wiretest.NewClient(conn)
	if greeting, err := c.Reply(); err != nil || !strings.HasPrefix(greeting, "220 ") {
		t.Fatalf("greeting %q, %v", greeting, err)
	}
	hello := func() {
		if _, err := c.Expect("EHLO client.test", "250"); err != nil {
			t.Fatal(err)
		}
	}
	hello()
	if way == "STARTTLS" {
		if err := c.StartTLS(trust); err != nil {
			t.Fatal(err)
		}
		hello()
	}
	return c
}

// TestByteTable: the whole table over every way, form and newline policy
// through the real binary; what arrives at the next hop is compared octet for
// octet with what the table says was accepted.
func TestByteTable(t *testing.T) {
	t.Parallel()
	b := startBytesGate(t)
	for _, way := range []string{"plain", "STARTTLS", "implicit TLS"} {
		for _, form := range []wiretest.Form{wiretest.DATA, wiretest.BDAT} {
			for _, policy := range []string{"reject", "normalize"} {
				t.Run(fmt.Sprintf("%s/%s/%s", way, form, policy), func(t *testing.T) { b.table(t, way, form, policy) })
			}
		}
	}
}

func (b *bytesGate) table(t *testing.T, way string, form wiretest.Form, policy string) {
	c := b.client(t, way, policy)
	accepted := map[string]wiretest.Case{} // by recipient
	for i, row := range wiretest.Cases() {
		if !slices.Contains(row.Forms, form) {
			continue
		}
		to := fmt.Sprintf("row%d.%s@rcpt.test", i, strings.ReplaceAll(strings.ToLower(t.Name()[len("TestByteTable/"):]), "/", "."))
		to = strings.ReplaceAll(to, "_", "-")
		reply, err := c.Message(form, "a@example.com", to, row.Sent)
		if err != nil {
			t.Fatalf("%s: %v", row.Name, err)
		}
		want := row.Reject
		if policy == "normalize" {
			want = row.Normalize
		}
		switch refused := want.Refused.String(); {
		case !want.Refused.IsZero() && !strings.HasPrefix(reply, refused):
			t.Errorf("%s: %q, want %q", row.Name, reply, refused)
		case want.Refused.IsZero() && strings.HasPrefix(reply, "250 2.0.0 Ok: queued as "):
			accepted[to] = row
		case want.Refused.IsZero() && !refusedByPolicy(reply, want.Content):
			t.Errorf("%s: %q, want 250", row.Name, reply)
		}
	}
	b.compare(t, accepted, policy)
}

// refusedByPolicy tells whether the message is one that the wire takes and
// the policy does not: without one author it cannot be relayed.
func refusedByPolicy(reply, content string) bool {
	header, _, _ := strings.Cut(content, "\r\n\r\n")
	return strings.HasPrefix(reply, "550 5.") && strings.Count("\r\n"+strings.ToLower(header), "\r\nfrom:") != 1
}

// compare looks at what arrived for each accepted row: our prefix, then the
// content, which a server that speaks DATA gets with a last CRLF.
func (b *bytesGate) compare(t *testing.T, accepted map[string]wiretest.Case, policy string) {
	t.Helper()
	if len(accepted) < 8 {
		t.Errorf("only %d rows were accepted", len(accepted))
	}
	b.settled()
	arrived := map[string][]byte{}
	for _, m := range b.end.all() {
		for _, to := range m.To {
			if to == "victim@example.com" {
				t.Fatal("a message was smuggled")
			}
			arrived[to] = m.Data
		}
	}
	for to, row := range accepted {
		want := row.Reject.Content
		if policy == "normalize" {
			want = row.Normalize.Content
		}
		if !strings.HasSuffix(want, "\r\n") {
			want += "\r\n"
		}
		got, ok := arrived[to]
		if !ok || !bytes.HasSuffix(got, []byte(want)) || !bytes.HasPrefix(got, []byte("Received: from client.test")) {
			t.Errorf("%s: arrived %t: %.300q…%.100q, want the end %.300q (%d and %d octets)", row.Name, ok, got, got[max(0, len(got)-100):], want, len(got), len(want))
			continue
		}
		if prefix := got[:len(got)-len(want)]; bytes.Contains(prefix, []byte("\r\n\r\n")) {
			t.Errorf("%s: more than header fields were put in front: %q", row.Name, prefix)
		}
	}
}

// exchange is a session as Exchange Server and Exchange Online hold it.
const exchangeBody = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nbare LF in BDAT:\nline ü\r\n.\r\n"

// TestExchangeDialogue: STARTTLS, XSHADOW and X-ANONYMOUSTLS not offered, MAIL
// with SIZE and BODY, pipelined RCPT and BDAT in one write, several chunks,
// an empty last chunk, RSET between messages, a second message on the session.
func TestExchangeDialogue(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	s.keys()
	d := secured(t, fromExchange, s.mx)
	greeting := d.expect(t, 250, "EHLO ex1.corp.test")
	contains(t, greeting, "CHUNKING", "8BITMIME", "SIZE ", "PIPELINING", "ENHANCEDSTATUSCODES", "DSN", "SMTPUTF8")
	lacks(t, greeting, "BINARYMIME", "XSHADOW", "X-EXPS", "STARTTLS")
	data := "From: bob@example.test\r\nTo: carl@world.test\r\nSubject: %s\r\n" + exchangeBody
	for _, c := range []struct {
		subject string
		chunks  func(data string) string
	}{
		{"one chunk", func(data string) string { return fmt.Sprintf("BDAT %d LAST\r\n%s", len(data), data) }},
		{"three chunks", func(data string) string {
			return fmt.Sprintf("BDAT 10\r\n%sBDAT %d\r\n%sBDAT 5 LAST\r\n%s", data[:10], len(data)-15, data[10:len(data)-5], data[len(data)-5:])
		}},
		{"empty last chunk", func(data string) string { return fmt.Sprintf("BDAT %d\r\n%sBDAT 0 LAST\r\n", len(data), data) }},
		{"lower case", func(data string) string { return fmt.Sprintf("bdat %d last\r\n%s", len(data), data) }},
		{"octet by octet", func(data string) string {
			var b strings.Builder
			for i := range len(data) {
				fmt.Fprintf(&b, "BDAT 1\r\n%s", data[i:i+1])
			}
			return b.String() + "BDAT 0 LAST\r\n"
		}},
	} {
		text := fmt.Sprintf(data, c.subject)
		chunks := c.chunks(text)
		script := fmt.Sprintf("MAIL FROM:<bob@example.test> SIZE=%d BODY=8BITMIME\r\nRCPT TO:<carl@world.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;carl@world.test\r\n", len(text)) + chunks
		sent := make(chan error, 1)
		go func() { sent <- d.send(script) }()
		replies := 2 + strings.Count(strings.ToUpper(chunks), "BDAT ")
		for i := range replies {
			code, reply, err := d.reply()
			if err != nil || code != 250 {
				t.Fatalf("%s: reply %d of %d: %q, %v", c.subject, i+1, replies, reply, err)
			}
			if i == replies-1 {
				contains(t, reply, "queued as ")
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		d.expect(t, 250, "RSET")
		m := s.world.wait(t, "Subject: "+c.subject+"\r\n")
		contains(t, string(m.Data), "bare LF in BDAT:\r\nline ü\r\n.\r\n", "d=example.test;")
		lacks(t, strings.ReplaceAll(string(m.Data), "\r\n", ""), "\n", "\r")
		if len(m.Rcpt) != 1 || len(m.Rcpt[0].Notify) != 2 || m.Rcpt[0].OriginalRecipient != "carl@world.test" {
			t.Errorf("DSN parameters were not passed on: %+v", m.Rcpt[0])
		}
	}
	t.Log("UNVERIFIED: a real Exchange Server was not at hand; its dialogues here are written after its documentation and logs")
}

// TestBDATTrouble: what ends a transfer, and that the session goes on in step.
func TestBDATTrouble(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	d := session(t, fromExchange, s.mx)
	d.expect(t, 503, "BDAT 0 LAST")
	d.expect(t, 503, "BDAT 6\r\nMAIL") // the octets are read, not obeyed
	d.expect(t, 250, "MAIL FROM:<bob@example.test>")
	d.expect(t, 503, "BDAT 6\r\nQUIT")
	// How many octets follow is not known: nothing behind it may be obeyed.
	for _, line := range []string{"BDAT", "BDAT x", "BDAT -1", "BDAT 1 FIRST", "BDAT 99999999999999999999"} {
		d := session(t, fromExchange, s.mx)
		d.expect(t, 250, "MAIL FROM:<bob@example.test>")
		d.expect(t, 250, "RCPT TO:<carl@world.test>")
		if code, text, err := d.cmd(line); err == nil && code/100 != 5 {
			t.Errorf("%s: %q", line, text)
		}
		if code, text, err := d.cmd("NOOP"); err == nil && code == 250 {
			t.Errorf("%s: the session goes on: %q", line, text)
		}
	}
	// RSET in the middle: nothing of the first message is left.
	d = session(t, fromExchange, s.mx)
	for _, subject := range []string{"first", "second"} {
		d.expect(t, 250, "MAIL FROM:<bob@example.test>")
		d.expect(t, 250, "RCPT TO:<carl@world.test>")
		text := letter("bob@example.test", "carl@world.test", subject, "x")
		end := " LAST"
		if subject == "first" {
			end = ""
		}
		d.expect(t, 250, fmt.Sprintf("BDAT %d%s\r\n%s", len(text), end, strings.TrimSuffix(text, "\r\n")))
		if subject == "first" {
			d.expect(t, 250, "RSET")
		}
	}
	m := s.world.wait(t, "Subject: second")
	lacks(t, string(m.Data), "first")
	// DATA while BDAT runs, RCPT behind it, a lost connection: nothing arrives.
	d.expect(t, 250, "MAIL FROM:<bob@example.test>")
	d.expect(t, 250, "RCPT TO:<carl@world.test>")
	d.expect(t, 250, "BDAT 7\r\nFrom:")
	d.expect(t, 503, "DATA")
	d.conn.Close()
	s.settled()
	if n := len(s.world.all()); n != 1 {
		t.Errorf("%d messages arrived, want 1", n)
	}
}
