package integration

import (
	"net"
	"strings"
	"testing"
)

// TestIPv6 relays from an IPv6 client to an IPv6 next hop.
func TestIPv6(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("SKIPPED: no IPv6 loopback on this machine: %v", err)
	}
	in := l.Addr().String()
	l.Close()
	l, err = net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	next := l.Addr().String()
	l.Close()
	s := startSinkAt(t, next, nil)
	config := strings.Replace(relayConfig, "addresses: [127.0.0.1]", "addresses: ['::1']", 1)
	g := startGate(t, config, map[string]string{"in": in, "sink": s.Addr, "store": sqliteStore})
	code, text, err := deliver(in, "six.test", "a@sender.test", []string{"b@rcpt.test"}, letter("a@sender.test", "b@rcpt.test", "six", "x"))
	if code != 250 {
		t.Fatal(code, text, err)
	}
	m := s.wait(t, "Subject: six")
	if !strings.Contains(string(m.Data), "[IPv6:::1]") {
		t.Errorf("Received does not name the client:\n%s", m.Data)
	}
	g.traced(queuedID(t, text), "client ::1", "[::1]:")
}
