package intake

import (
	"net/netip"
	"testing"
	"time"
)

func TestClientPrefix(t *testing.T) {
	for _, tt := range []struct {
		addr string
		bits int
		want string
	}{
		{"192.0.2.1", 64, "192.0.2.1/32"},
		{"::ffff:192.0.2.1", 64, "192.0.2.1/32"},
		{"2001:db8:1:2:3::4", 64, "2001:db8:1:2::/64"},
		{"2001:db8:1:2:3::4", 48, "2001:db8:1::/48"},
		{"fe80::1%eth0", 128, "fe80::1/128"},
	} {
		if got := clientPrefix(netip.MustParseAddr(tt.addr), tt.bits).String(); got != tt.want {
			t.Errorf("%s/%d: %s, want %s", tt.addr, tt.bits, got, tt.want)
		}
	}
}

func TestConnections(t *testing.T) {
	var c connections
	a, b := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
	for i, want := range []bool{true, true, false} {
		if c.enter(2) != want {
			t.Errorf("connection %d of two: let in is %v", i+1, !want)
		}
	}
	c.leave()
	if !c.enter(2) {
		t.Error("a connection that ended must make room")
	}
	if !c.enterClient(a, 1) || c.enterClient(a, 1) || !c.enterClient(b, 1) {
		t.Error("want exactly one connection for each client")
	}
	c.leaveClient(a)
	if !c.enterClient(a, 1) {
		t.Error("a client's connection that ended must make room")
	}
	c.leaveClient(a)
	c.leaveClient(b)
	if len(c.clients) != 0 {
		t.Errorf("%d clients are remembered without a connection", len(c.clients))
	}
}

func TestFailuresPerHour(t *testing.T) {
	now := time.Unix(1e9, 0)
	f := newFailures(func() time.Time { return now })
	a := netip.MustParsePrefix("192.0.2.1/32")
	f.add(a)
	now = now.Add(59 * time.Minute)
	f.add(a)
	if got := f.count(a); got != 2 {
		t.Errorf("%d failures within the hour, want 2", got)
	}
	now = now.Add(time.Minute)
	if got := f.count(a); got != 0 {
		t.Errorf("%d failures after the hour, want 0", got)
	}
	f.add(a)
	if got := f.count(a); got != 1 {
		t.Errorf("%d failures in the new hour, want 1", got)
	}
}

// A guesser with many addresses must neither fill the memory nor be forgotten
// for others that failed once.
func TestFailuresAreBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	f := newFailures(func() time.Time { return now })
	guesser := netip.MustParsePrefix("192.0.2.1/32")
	f.add(guesser)
	f.add(guesser)
	addr := netip.MustParseAddr("2001:db8::")
	for range failureClients + 10 {
		addr = addr.Next()
		f.add(netip.PrefixFrom(addr, 128))
	}
	if len(f.clients) > failureClients {
		t.Errorf("%d clients are remembered, want at most %d", len(f.clients), failureClients)
	}
	if f.count(guesser) != 2 {
		t.Error("the client with most failures was forgotten")
	}
	now = now.Add(failureWindow)
	f.add(netip.MustParsePrefix("192.0.2.9/32"))
	if len(f.clients) != 1 {
		t.Errorf("%d clients are remembered after the hour, want 1", len(f.clients))
	}
}
