package dnsx_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"gatepost/dnsx"
	"gatepost/dnsx/dnstest"
)

const reverseZone = `
1.2.0.192.in-addr.arpa. 60 IN PTR liar.example.
1.2.0.192.in-addr.arpa. 60 IN PTR mail.example.
2.2.0.192.in-addr.arpa. 60 IN PTR liar.example.
3.2.0.192.in-addr.arpa. 60 IN PTR broken.example.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 60 IN PTR six.example.
liar.example. 60 IN A 198.51.100.1
mail.example. 60 IN A 192.0.2.1
six.example.  60 IN AAAA 2001:db8::1
`

func TestForwardConfirmed(t *testing.T) {
	s := dnstest.New(t, reverseZone)
	s.Fail("broken.example", "A", dnstest.ServFail)
	s.Fail("9.2.0.192.in-addr.arpa", "PTR", dnstest.ServFail)
	r := s.Resolver(t)
	for _, c := range []struct {
		ip, confirmed       string
		names               int
		notFound, temporary bool
	}{
		{"192.0.2.1", "mail.example", 2, false, false},
		{"::ffff:192.0.2.1", "mail.example", 2, false, false},
		{"192.0.2.2", "", 1, false, false},
		{"192.0.2.3", "", 1, false, true},
		{"192.0.2.4", "", 0, true, false},
		{"192.0.2.9", "", 0, false, true},
		{"2001:db8::1", "six.example", 1, false, false},
	} {
		names, confirmed, err := r.ForwardConfirmed(t.Context(), netip.MustParseAddr(c.ip))
		if len(names) != c.names || confirmed != c.confirmed || dnsx.IsNotFound(err) != c.notFound || dnsx.IsTemporary(err) != c.temporary {
			t.Errorf("%s: %v %q %v", c.ip, names, confirmed, err)
		}
	}
}

func TestForwardConfirmedLooksAtFewNames(t *testing.T) {
	var zone strings.Builder
	for i := range 40 {
		fmt.Fprintf(&zone, "1.2.0.192.in-addr.arpa. 60 IN PTR n%d.example.\n", i)
	}
	s := dnstest.New(t, zone.String())
	names, confirmed, _ := s.Resolver(t).ForwardConfirmed(t.Context(), netip.MustParseAddr("192.0.2.1"))
	if len(names) != 10 || confirmed != "" || s.Total() > 12 {
		t.Errorf("%d names, %d queries", len(names), s.Total())
	}
}
