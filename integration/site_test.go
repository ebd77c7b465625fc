package integration

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// siteConfig is one gateway in all three uses. The clients differ by their
// loopback address: .10 is Exchange, .11 a printer, all others are the world.
const siteConfig = `
hostname: mx.example.test
authserv_id: example.test
postmaster: postmaster@example.test
store: {min_free: 1MiB}
log: {level: info, format: json}
tls:
  certificates:
    - {cert: "{{dir}}/tls.crt", key: "{{dir}}/tls.key"}
dns: {servers: [{address: "{{dns}}"}], timeout: 2s}
relay_clients:
  - {name: exchange, addresses: [127.0.0.10], send_as: ["@example.test"], other_from: unsigned}
  - {name: printers, addresses: [127.0.0.11], send_as: ["scanner@example.test"]}
users:
  - name: crm
    password_hash: "{{hash}}"
    send_as: ["@example.test"]
listeners:
  - {name: mx, address: "{{mx}}", role: mx, relay_clients: [exchange]}
  - {name: devices, address: "{{devices}}", role: smarthost, relay_clients: [printers], bare_newline: {data: normalize}}
  - {name: submission, address: "{{submission}}", role: smarthost, tls: {mode: required}, auth: {mechanisms: [PLAIN, LOGIN]}}
  - {name: submissions, address: "{{submissions}}", role: smarthost, tls: {mode: implicit}, auth: {mechanisms: [PLAIN, LOGIN]}}
  - {name: balanced, address: "{{balanced}}", role: mx, relay_clients: [exchange], proxy_protocol: {trusted: [` + fromBalancer + `]}}
next_hops:
  - {name: inside, urls: ["smtp://{{inside}}"], tls: {policy: "off"}}
  - {name: world, urls: ["smtp://{{world}}"], tls: {policy: "off"}}
domains:
  - {name: example.test, next_hop: inside, recipients: {file: "{{recipients}}"}}
  - {name: all.example.test, next_hop: inside, recipients: {accept: all}}
routes:
  - {match: {recipients: [by-mx.test]}, next_hop: mx}
  - {match: {recipients: ["*"]}, next_hop: world}
delivery: {retry: [1s, 1s, 2s], {{delivery}}}
dkim:
  sign:
    - {domains: [example.test], algorithms: [rsa-2048, ed25519]}
policy: {{{policy}}}
`

// The addresses that clients come from.
const (
	fromExchange = "127.0.0.10"
	fromPrinter  = "127.0.0.11"
	fromWorld    = "127.0.0.20" // SPF of the world's domains allows it
	fromStranger = "127.0.0.99"
	fromBalancer = "127.0.0.50"
)

// siteZone is the DNS that the gateway sees.
const siteZone = `
$TTL 60
mx.example.test.        A    127.0.0.1
example.test.           MX   10 mx.example.test.
example.test.           TXT  "v=spf1 -all"
_dmarc.example.test.    TXT  "v=DMARC1; p=reject"
20.0.0.127.in-addr.arpa. PTR client.good.test.
client.good.test.       A    127.0.0.20
client.good.test.       TXT  "v=spf1 ip4:127.0.0.20 -all"
good.test.              MX   10 client.good.test.
good.test.              TXT  "v=spf1 ip4:127.0.0.20 -all"
_dmarc.good.test.       TXT  "v=DMARC1; p=reject"
none.test.              TXT  "v=spf1 -all"
_dmarc.none.test.       TXT  "v=DMARC1; p=none"
quar.test.              TXT  "v=spf1 -all"
_dmarc.quar.test.       TXT  "v=DMARC1; p=quarantine"
reject.test.            TXT  "v=spf1 -all"
_dmarc.reject.test.     TXT  "v=DMARC1; p=reject; sp=none"
reject0.test.           TXT  "v=spf1 -all"
_dmarc.reject0.test.    TXT  "v=DMARC1; p=reject; pct=0"
quar0.test.             TXT  "v=spf1 -all"
_dmarc.quar0.test.      TXT  "v=DMARC1; p=quarantine; pct=0"
testing.test.           TXT  "v=spf1 -all"
_dmarc.testing.test.    TXT  "v=DMARC1; p=reject; pct=0; t=y"
plain.test.             TXT  "nothing to see"
`

// siteRecipients are the mailboxes of example.test.
const siteRecipients = "bob@example.test\nanna@example.test # a comment\nsecurity@example.test\npostmaster@example.test\nscanner@example.test\n"

// The login of the site's user, and its hash by `gatepost user hash`.
const (
	siteUser     = "crm"
	sitePassword = "correct horse"
)

// site is a running gateway with its surroundings.
type site struct {
	*gate
	mx, devices, submission, submissions, balanced string

	inside, world *sink
	addZone       func(lines string)
	vars          map[string]string
}

// newSite prepares a site; change may set other vars before it is written.
func newSite(t testing.TB, zone string, change func(vars map[string]string)) *site {
	t.Helper()
	dns, z := startDNS(t, siteZone+zone)
	s := &site{mx: freeAddress(t), devices: freeAddress(t), submission: freeAddress(t), submissions: freeAddress(t), balanced: freeAddress(t)}
	s.addZone = func(lines string) {
		t.Helper()
		if err := z.Add(lines); err != nil {
			t.Fatal(err)
		}
	}
	s.inside, s.world = startSink(t, nil), startSink(t, nil)
	s.vars = map[string]string{
		"dns": dns, "mx": s.mx, "devices": s.devices, "submission": s.submission, "submissions": s.submissions, "balanced": s.balanced,
		"inside": s.inside.Addr, "world": s.world.Addr, "hash": passwordHash(t, sitePassword), "policy": "", "delivery": "warn_after: 0",
		"recipients": writeFile(t, t.TempDir(), "recipients.txt", siteRecipients),
	}
	if change != nil {
		change(s.vars)
	}
	s.gate = newGate(t, siteConfig, s.vars)
	return s
}

// startSite is newSite and start.
func startSite(t testing.TB, zone string, change func(vars map[string]string)) *site {
	t.Helper()
	s := newSite(t, zone, change)
	s.start()
	return s
}

// passwordHash asks the command line for a hash, as an administrator does.
func passwordHash(t testing.TB, password string) string {
	t.Helper()
	out, err := output([]byte(password+"\n"), nil, binary(t), "user", "hash")
	i := strings.Index(out, "$argon2id$")
	if err != nil || i < 0 {
		t.Fatalf("user hash: %v %s", err, out)
	}
	return strings.TrimSpace(out[i:])
}

// keys makes active DKIM keys for example.test and publishes them.
func (s *site) keys() {
	s.t.Helper()
	s.mustRun("dkim", "create", "example.test", "--algorithm", "rsa-2048", "--selector", "r1", "--activate")
	s.mustRun("dkim", "create", "example.test", "--algorithm", "ed25519", "--selector", "e1", "--activate")
	s.addZone(s.mustRun("dkim", "dns", "example.test"))
}

// connectFrom opens a connection from a local address of our choice.
func connectFrom(local, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialWait, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(local), 0))}
	return d.Dial("tcp", address)
}

// dialFrom is dial from a local address of our choice.
func dialFrom(local, address string) (*dialogue, error) {
	c, err := connectFrom(local, address)
	if err != nil {
		return nil, err
	}
	return greeted(c)
}

// session opens a session from an address, EHLO said.
func session(t testing.TB, local, address string) *dialogue {
	t.Helper()
	d, err := dialFrom(local, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.conn.Close() })
	d.expect(t, 250, "EHLO client.good.test")
	return d
}

// send sends one message from an address and wants code as the last reply,
// which it returns.
func send(t testing.TB, local, address string, code int, from, to, data string) string {
	t.Helper()
	d := session(t, local, address)
	defer d.conn.Close()
	got, text, err := d.transaction(from, strings.Split(to, ","), data)
	if err != nil || got != code {
		t.Errorf("from <%s> to <%s>: got %q, %v; want %d", from, to, text, err, code)
	}
	return text
}

// arrivals are the messages of the sink that contain text, when there are n;
// more may not come.
func (s *sink) arrivals(text string) (found []*received) {
	for _, m := range s.all() {
		if strings.Contains(string(m.Data), text) {
			found = append(found, m)
		}
	}
	return found
}

// settled waits until the gateway has nothing to deliver.
func (g *gate) settled() {
	g.t.Helper()
	waitFor(g.t, 30*time.Second, "the queue to be empty", func() bool { return stats(g.t, g).Queued == 0 })
}

// refuseAll makes a sink refuse every recipient.
func refuseAll(code int, enhanced smtp.EnhancedCode, text string) func(string) error {
	return func(to string) error { return smtpError(code, enhanced, fmt.Sprintf("%s (%s)", text, to)) }
}

// traced waits until `gatepost trace ID` shows all parts: refusals are written
// once a second, ends when they are committed.
func (g *gate) traced(id string, parts ...string) string {
	g.t.Helper()
	return g.shows([]string{"trace", id}, parts...)
}

// shows waits until a command prints all parts.
func (g *gate) shows(args []string, parts ...string) string {
	g.t.Helper()
	out, last := "", ""
	for range 40 {
		out, _ = g.run(args...)
		if last = missing(out, parts); last == "" {
			return out
		}
		time.Sleep(100 * time.Millisecond)
	}
	g.t.Errorf("gatepost %v never showed %q:\n%s", args, last, out)
	return out
}

// logged waits until the log shows all parts.
func (g *gate) logged(parts ...string) {
	g.t.Helper()
	for range 100 {
		if missing(g.log.String(), parts) == "" {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	g.t.Errorf("the log never showed %q", missing(g.log.String(), parts))
}

// missing is the first part that text lacks.
func missing(text string, parts []string) string {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return p
		}
	}
	return ""
}

// hopConfig is a smarthost for loopback in front of one peer. Mail for
// sender.test goes back to a sink of its own, notices to senders among it.
const hopConfig = `
hostname: relay.example.test
postmaster: postmaster@relay.example.test
store: {min_free: 1MiB}
log: {level: info, format: json}
tls:
  certificates:
    - {cert: "{{dir}}/tls.crt", key: "{{dir}}/tls.key"}
dns: {servers: [{address: "{{dns}}"}], timeout: 2s}
relay_clients:
  - {name: local, addresses: [127.0.0.1], send_as: ["@sender.test"]}
listeners:
  - {name: in, address: "{{in}}", role: smarthost, relay_clients: [local]}
next_hops:
  - {name: peer, urls: ["{{url}}"], {{hop}}}
  - {name: back, urls: ["smtp://{{back}}"], tls: {policy: "off"}}
routes:
  - {match: {recipients: [sender.test]}, next_hop: back}
  - {match: {recipients: ["*"]}, next_hop: peer}
delivery: {retry: [1s, 1s, 2s], {{delivery}}}
dkim:
  sign:
    - {domains: [sender.test, relay.example.test], algorithms: [rsa-2048, ed25519]}
`

// hopGate is a running gateway of hopConfig.
type hopGate struct {
	*gate
	in      string
	back    *sink
	addZone func(lines string)
}

// startHopGate starts a gateway in front of url, such as smtp://127.0.0.1:25;
// vars may set "hop", the options of the next hop, and "delivery".
func startHopGate(t testing.TB, url string, vars map[string]string) *hopGate {
	t.Helper()
	dns, z := startDNS(t, "relay.example.test. 60 A 127.0.0.1\n")
	h := &hopGate{in: freeAddress(t), back: startSink(t, nil)}
	h.addZone = func(lines string) {
		t.Helper()
		if err := z.Add(lines); err != nil {
			t.Fatal(err)
		}
	}
	all := map[string]string{"dns": dns, "in": h.in, "url": url, "back": h.back.Addr, "hop": `tls: {policy: "off"}`, "delivery": "warn_after: 0"}
	for k, v := range vars {
		all[k] = v
	}
	h.gate = startGate(t, hopConfig, all)
	return h
}

// send sends one message through the gateway and gives its id.
func (h *hopGate) send(from string, to []string, data string) string {
	h.t.Helper()
	code, text, err := deliver(h.in, "client.test", from, to, data)
	if err != nil || code != 250 {
		h.t.Fatalf("<%s> to %v: %q, %v", from, to, text, err)
	}
	return queuedID(h.t, text)
}
