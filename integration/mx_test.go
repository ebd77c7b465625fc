package integration

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"gatepost/dnsx/zone"
)

// worldPort is where MX hosts listen; only root may.
const worldPort = "25"

// mxConfig is a smarthost that finds the way by MX.
const mxConfig = `
hostname: relay.example.test
store: {min_free: 1MiB}
dns: {servers: [{address: "{{dns}}"}], timeout: 2s}
relay_clients:
  - {name: local, addresses: [127.0.0.1], send_as: ["@sender.test"]}
listeners:
  - {name: in, address: "{{in}}", role: smarthost, relay_clients: [local], tls: {mode: "off"}}
next_hops:
  - {name: back, urls: ["smtp://{{back}}"], tls: {policy: "off"}}
routes:
  - {match: {recipients: [sender.test]}, next_hop: back}
delivery: {retry: [1s, 1s, 2s], warn_after: 0}
`

// mxZone has domains of every kind; the hosts are on addresses of this run.
const mxZone = `
relay.example.test.   60 A    127.0.0.1
two.test.             60 MX   10 dead.two.test.
two.test.             60 MX   20 good.two.test.
dead.two.test.        60 A    %[1]s
good.two.test.        60 A    %[2]s
plain.test.           60 A    %[2]s
null.test.            60 MX   0 .
empty.test.           60 TXT  "no host"
self.test.            60 MX   10 relay.example.test.
alias.test.           60 MX   10 alias.two.test.
alias.two.test.       60 CNAME good.two.test.
`

// loopbackPair gives two addresses of 127.0.net3.0/24, the second with a server
// on port 25.
func loopbackPair(t *testing.T, net3 int) (dead string, good *sink) {
	t.Helper()
	asRoot(t, "a server on port 25 of a loopback address")
	for i := range 50 {
		address := fmt.Sprintf("127.0.%d.%d:%s", net3, 2+2*i, worldPort)
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		l.Close()
		return fmt.Sprintf("127.0.%d.%d", net3, 3+2*i), startSinkAt(t, address, nil)
	}
	t.Skip("SKIPPED: no port 25 on any loopback address")
	return "", nil
}

// TestDeliveryByMX: preference, the next host when one is dead, A without MX,
// null MX, no such domain, no host, a loop to ourselves.
func TestDeliveryByMX(t *testing.T) {
	t.Parallel()
	dead, good := loopbackPair(t, 77)
	host, _, _ := strings.Cut(good.Addr, ":")
	dns, _ := startDNS(t, fmt.Sprintf(mxZone, dead, host))
	back, in := startSink(t, nil), freeAddress(t)
	g := startGate(t, mxConfig, map[string]string{"dns": dns, "in": in, "back": back.Addr})
	for _, domain := range []string{"two.test", "plain.test", "alias.test"} {
		subject := "by MX to " + domain
		code, text, err := deliver(in, "client.test", "me@sender.test", []string{"carl@" + domain}, letter("me@sender.test", "carl@"+domain, subject, "x"))
		if err != nil || code != 250 {
			t.Fatalf("%q, %v", text, err)
		}
		m := good.wait(t, "Subject: "+subject+"\r\n")
		if len(m.To) != 1 || m.To[0] != "carl@"+domain {
			t.Errorf("%s: arrived for %v", domain, m.To)
		}
	}
	for domain, status := range map[string]string{"null.test": "5.1.10", "empty.test": "5.4.4", "missing.test": "5.1.2", "self.test": "5.4.6"} {
		to := "carl@" + domain
		code, text, err := deliver(in, "client.test", "me@sender.test", []string{to}, letter("me@sender.test", to, "no way", "x"))
		if err != nil || code != 250 {
			t.Fatalf("%q, %v", text, err)
		}
		contains(t, string(back.wait(t, "Final-Recipient: rfc822; "+to).Data), "Status: "+status, "Action: failed")
	}
	g.settled()
	checkAccount(t, g)
}

// TestDNSDownThenUp: mail waits for its MX, and goes when DNS is back.
func TestDNSDownThenUp(t *testing.T) {
	t.Parallel()
	dead, good := loopbackPair(t, 78)
	host, _, _ := strings.Cut(good.Addr, ":")
	dns, in := freeAddress(t), freeAddress(t)
	g := startGate(t, mxConfig, map[string]string{"dns": dns, "in": in, "back": freeAddress(t)})
	code, text, err := deliver(in, "client.test", "me@sender.test", []string{"carl@two.test"}, letter("me@sender.test", "carl@two.test", "patient", "x"))
	if err != nil || code != 250 {
		t.Fatalf("%q, %v", text, err)
	}
	g.traced(queuedID(t, text), "deferred", "4.4.3")
	z, err := zone.ParseString(fmt.Sprintf(mxZone, dead, host))
	if err != nil {
		t.Fatal(err)
	}
	server, err := zone.NewServer(dns, z)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	good.wait(t, "Subject: patient")
	g.settled()
}
