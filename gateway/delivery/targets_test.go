package delivery

import (
	"net/netip"
	"strings"
	"testing"

	"gatepost/dnsx"
	"gatepost/mail"
)

var world = fakeDNS{
	mx: map[string][]dnsx.MX{
		"two.example":     {{Preference: 20, Host: "b.two.example"}, {Preference: 10, Host: "A.two.example"}},
		"equal.example":   {{Preference: 10, Host: "a.two.example"}, {Preference: 10, Host: "b.two.example"}},
		"null.example":    {{Host: "."}},
		"halfnull.exampl": {{Host: "."}, {Preference: 5, Host: "a.two.example"}},
		"broken.example":  {{Host: "!"}},
		"dead.example":    {{Preference: 10, Host: "nowhere.example"}},
		"maybe.example":   {{Preference: 10, Host: "nowhere.example"}, {Preference: 20, Host: "trouble.example"}},
		"half.example":    {{Preference: 10, Host: "trouble.example"}, {Preference: 20, Host: "b.two.example"}},
		"us.example":      {{Preference: 10, Host: "a.two.example"}, {Preference: 20, Host: "gw.example"}, {Preference: 20, Host: "b.two.example"}, {Preference: 30, Host: "c.two.example"}},
		"usbyip.example":  {{Preference: 10, Host: "alias.example"}, {Preference: 20, Host: "a.two.example"}},
		"usmaybe.example": {{Preference: 10, Host: "trouble.example"}, {Preference: 20, Host: "gw.example"}},
		"zero.example":    {{Preference: 10, Host: "zero.example"}},
		"many.example":    {{Preference: 10, Host: "many.example"}},
	},
	addrs: map[string][]string{
		"a.two.example":   {"2001:db8::1", "192.0.2.1"},
		"b.two.example":   {"192.0.2.2"},
		"c.two.example":   {"192.0.2.3"},
		"host.example":    {"192.0.2.7"},
		"alias.example":   {"192.0.2.99"},
		"zero.example":    {"0.0.0.0", "::"},
		"gw.example":      {"192.0.2.50"},
		"trouble.example": {"!"},
		"many.example":    strings.Fields(strings.Repeat("192.0.2.4 ", 30)),
	},
}

func searchFor(t *testing.T, o Options, dest, origin string) (string, *failure) {
	t.Helper()
	o.Hostname, o.Resolver, o.Shuffle = "gw.example", world, inOrder
	o.Own = []netip.Addr{netip.MustParseAddr("192.0.2.99")}
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	m := &mail.Message{}
	if origin != "" {
		m.Origin.Addr = netip.MustParseAddr(origin)
	}
	found, f := d.targets(t.Context(), &Job{Dest: dest, Message: m})
	var list []string
	for _, target := range found {
		list = append(list, target.remote())
	}
	return strings.Join(list, " "), f
}

func TestMailExchangers(t *testing.T) {
	for _, test := range []struct {
		name, dest, origin, want string
		cause                    cause
	}{
		{"by preference", "mx:two.example", "", "a.two.example[2001:db8::1]:25 a.two.example[192.0.2.1]:25 b.two.example[192.0.2.2]:25", ""},
		{"no MX, but an address", "mx:host.example", "", "host.example[192.0.2.7]:25", ""},
		{"no such domain", "mx:nothing.example", "", "", causeNoDomain},
		{"null MX", "mx:null.example", "", "", causeNullMX},
		{"null MX among others does not count", "mx:halfnull.exampl", "", "a.two.example[2001:db8::1]:25 a.two.example[192.0.2.1]:25", ""},
		{"no answer", "mx:broken.example", "", "", causeDNS},
		{"hosts without address", "mx:dead.example", "", "", causeNoHost},
		{"hosts without address, or maybe", "mx:maybe.example", "", "", causeDNS},
		{"one host without answer", "mx:half.example", "", "b.two.example[192.0.2.2]:25", ""},
		{"we are the second", "mx:us.example", "", "a.two.example[2001:db8::1]:25 a.two.example[192.0.2.1]:25", ""},
		{"we are the first, by address", "mx:usbyip.example", "", "", causeLoop},
		{"we, behind one without answer", "mx:usmaybe.example", "", "", causeDNS},
		{"we are the domain", "mx:gw.example", "", "", causeLoop},
		{"unspecified addresses", "mx:zero.example", "", "", causeNoHost},
		{"literal", "mx:[192.0.2.77]", "", "192.0.2.77[192.0.2.77]:25", ""},
		{"literal of IPv6", "mx:[IPv6:2001:db8::7]", "", "2001:db8::7[2001:db8::7]:25", ""},
		{"literal of ours", "mx:[192.0.2.99]", "", "", causeLoop},
		{"came from the only one", "mx:host.example", "192.0.2.7", "", causeOrigin},
		{"came from the first", "mx:two.example", "::ffff:192.0.2.1", "a.two.example[2001:db8::1]:25 b.two.example[192.0.2.2]:25", ""},
		{"bounded", "mx:many.example", "", strings.TrimSpace(strings.Repeat("many.example[192.0.2.4]:25 ", maxTargets)), ""},
		{"no destination", "example.com", "", "", causeUnknownHop},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, f := searchFor(t, Options{}, test.dest, test.origin)
			if got != test.want || (f == nil) != (test.cause == "") || f != nil && f.cause != test.cause {
				t.Errorf("got %q, %+v", got, f)
			}
		})
	}
}

func TestNextHops(t *testing.T) {
	reverse := func(n int, swap func(i, j int)) {
		for i := range n / 2 {
			swap(i, n-1-i)
		}
	}
	for _, test := range []struct {
		name   string
		hop    NextHop
		origin string
		want   string
		cause  cause
	}{
		{"hosts", NextHop{URLs: []string{"smtp://a.two.example:2525", "smtps://b.two.example", "lmtp://[2001:db8::9]:24"}}, "",
			"a.two.example[2001:db8::1]:2525 a.two.example[192.0.2.1]:2525 b.two.example[192.0.2.2]:465 2001:db8::9[2001:db8::9]:24", ""},
		{"a host is not an MX", NextHop{URLs: []string{"smtp://host.example"}}, "", "host.example[192.0.2.7]:25", ""},
		{"an MX", NextHop{URLs: []string{"mx://two.example", "smtp://host.example"}}, "",
			"a.two.example[2001:db8::1]:25 a.two.example[192.0.2.1]:25 b.two.example[192.0.2.2]:25 host.example[192.0.2.7]:25", ""},
		{"localhost", NextHop{URLs: []string{"smtp://localhost:2525"}}, "", "localhost[127.0.0.1]:2525 localhost[::1]:2525", ""},
		{"loopback origin is not the host", NextHop{URLs: []string{"smtp://127.0.0.1:2525"}}, "127.0.0.1", "127.0.0.1[127.0.0.1]:2525", ""},
		{"came from one of two", NextHop{URLs: []string{"smtp://b.two.example", "smtp://host.example"}}, "192.0.2.7", "b.two.example[192.0.2.2]:25", ""},
		{"came from it", NextHop{URLs: []string{"smtp://host.example:2525"}}, "192.0.2.7", "", causeOrigin},
		{"name unknown", NextHop{URLs: []string{"smtp://nothing.example"}}, "", "", causeHopDNS},
		{"socket", NextHop{URLs: []string{"lmtp:///run/lmtp"}}, "192.0.2.7", "/run/lmtp", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.hop.Name = "test"
			got, f := searchFor(t, Options{NextHops: []NextHop{test.hop}}, "hop:test", test.origin)
			if got != test.want || (f == nil) != (test.cause == "") || f != nil && f.cause != test.cause {
				t.Errorf("got %q, %+v", got, f)
			}
		})
	}
	d, err := New(Options{Hostname: "gw.example", Resolver: world, Shuffle: reverse,
		NextHops: []NextHop{{Name: "test", Select: SelectRandom, URLs: []string{"smtp://192.0.2.1", "smtp://192.0.2.2"}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	found, _ := d.targets(t.Context(), &Job{Dest: "hop:test", Message: &mail.Message{}})
	if len(found) != 2 || found[0].host != "192.0.2.2" {
		t.Errorf("random order: %+v", found)
	}
}

func TestSourceAddressDecidesTheFamily(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.30"), netip.MustParseAddr("2001:db8::30")
	for _, test := range []struct {
		source netip.Addr
		want   string
	}{{four, "a.two.example[192.0.2.1]:25 b.two.example[192.0.2.2]:25"}, {six, "a.two.example[2001:db8::1]:25"}} {
		if got, _ := searchFor(t, Options{SourceAddresses: []netip.Addr{test.source}}, "mx:two.example", ""); got != test.want {
			t.Errorf("%s: got %q", test.source, got)
		}
	}
	if _, f := searchFor(t, Options{SourceAddresses: []netip.Addr{six}}, "mx:host.example", ""); f == nil || f.cause != causeNoSource {
		t.Errorf("got %+v", f)
	}
}

func TestSourceAddressIsUsed(t *testing.T) {
	s := serve(t, hello+transfer+quit)
	d := start(t, Options{SourceAddresses: []netip.Addr{netip.MustParseAddr("127.0.0.77")}}, s)
	socket, err := d.dial(t.Context(), &target{hop: d.hops["test"], addr: netip.MustParseAddr("127.0.0.1"), address: closedPort(t)})
	if err == nil {
		socket.Close()
		t.Fatal("somebody listens on a closed port")
	}
	if !strings.Contains(err.Error(), "127.0.0.77") {
		t.Errorf("the source address is not used: %v", err)
	}
	want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], ok)
}

func TestDeliveryByMX(t *testing.T) {
	s := serve(t, hello+strings.ReplaceAll(transfer, "b@b.example", "b@b.test")+quit)
	addr := netip.MustParseAddrPort(s.Addr())
	d := start(t, Options{NextHops: []NextHop{{URLs: []string{"smtp://192.0.2.1"}}}, MXPort: addr.Port(), Resolver: fakeDNS{
		mx:    map[string][]dnsx.MX{"b.test": {{Preference: 1, Host: "mx.b.test"}}},
		addrs: map[string][]string{"mx.b.test": {"127.0.0.1"}},
	}})
	j := job(t, message(t, small), "b@b.test")
	j.Dest = "mx:b.test"
	r := d.Deliver(t.Context(), j)[0]
	want(t, r, ok)
	if r.Remote != "mx.b.test[127.0.0.1]:"+strings.TrimPrefix(s.Addr(), "127.0.0.1:") {
		t.Errorf("remote %q", r.Remote)
	}
}

func TestExchangerByOurNameIsALoop(t *testing.T) {
	s := serve(t, "S: 220 x\nC: EHLO*\nS: 250-GW.Example at your service\nS: 250 PIPELINING\nW:")
	d := start(t, Options{NextHops: []NextHop{{URLs: []string{"smtp://192.0.2.1"}}}, MXPort: netip.MustParseAddrPort(s.Addr()).Port(), Resolver: fakeDNS{
		addrs: map[string][]string{"b.test": {"127.0.0.1"}},
	}})
	j := job(t, message(t, small), "b@b.test")
	j.Dest = "mx:b.test"
	want(t, d.Deliver(t.Context(), j)[0], "recipient 554 5.4.6 Mail for this domain loops back to this host: GW.Example")
}

func TestKeptConnectionIsPreferredAmongEquals(t *testing.T) {
	first, second := serve(t, hello+"C: MAIL*\nX:"), serve(t, hello+transfer+transfer+quit)
	d := start(t, Options{NextHops: []NextHop{{Select: SelectRandom}}}, first, second)
	for range 2 {
		want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], ok)
	}
}
