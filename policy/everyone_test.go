package policy

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
)

func prefixes(t testing.TB, list ...string) []netip.Prefix {
	t.Helper()
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func TestRelaysForEveryone(t *testing.T) {
	for _, c := range []struct {
		ranges string
		want   bool
	}{
		{"0.0.0.0/0", true},
		{"::/0", true},
		{"0.0.0.0/1 128.0.0.0/1", true},
		{"0.0.0.0/1", true},
		{"0.0.0.0/2", true},
		{"0.0.0.0/3 128.0.0.0/3", true},
		{"0.0.0.0/3", false},
		{"0.0.0.0/3 0.0.0.0/3 0.0.0.0/4", false}, // twice the same is not more
		{"1.0.0.0/8 2.0.0.0/7 4.0.0.0/6 8.0.0.0/5 16.0.0.0/4 32.0.0.0/3 64.0.0.0/3", true},
		{"::ffff:0.0.0.0/96", true},
		{"::ffff:0.0.0.0/97 ::ffff:128.0.0.0/97", true},
		{"0.0.0.0/3 ::ffff:32.0.0.0/99", true}, // both forms together
		{"64:ff9b::/96", true},
		{"::/64", true},
		{"::/1 8000::/1", true},
		{"2000::/3", true},
		{"2000::/4 3000::/4", true},
		{"2a00::/12", true},
		{"2a00::/13 2400::/13", true},
		{"2a00::/13", false},
		{"8000::/1", false}, // nothing there is global
		{"10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 127.0.0.0/8", false},
		{"fc00::/7 fe80::/10 ::1/128", false},
		{"2001:db8::/32 192.0.2.0/24", false},
		{"192.0.2.1/32 2001:db8::1/128", false},
		{"", false},
	} {
		if got := RelaysForEveryone(prefixes(t, strings.Fields(c.ranges)...)); got != c.want {
			t.Errorf("%s: got %v", c.ranges, got)
		}
	}
	if RelaysForEveryone([]netip.Prefix{{}}) {
		t.Error("no prefix at all")
	}
}

// FuzzRelaysForEveryone cuts prefixes in halves and repeats them: that must
// never change the answer. One more prefix must never take a danger away, and
// counting by hand, a /16 at a time, must agree for IPv4.
func FuzzRelaysForEveryone(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 1, 128, 0, 0, 0, 1})
	f.Add([]byte{10, 0, 0, 0, 8, 0, 0, 0, 0, 3, 32, 0, 0, 0, 3})
	f.Add([]byte{255, 255, 0, 0, 16})
	f.Fuzz(func(t *testing.T, data []byte) {
		var list, halves []netip.Prefix
		counted := map[uint32]bool{}
		for ; len(data) >= 5 && len(list) < 16; data = data[5:] {
			bits := int(data[4] % 17) // up to /16, so that blocks can be counted
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte(data[:4])), bits).Masked()
			list = append(list, p)
			first := binary.BigEndian.Uint32(p.Addr().AsSlice()) >> 16
			for n := range uint32(1) << (16 - bits) {
				counted[first+n] = true
			}
			low := netip.PrefixFrom(p.Addr(), bits+1)
			high := p.Addr().As4()
			high[bits/8] |= 0x80 >> (bits % 8)
			mapped := netip.AddrFrom16(netip.AddrFrom4(high).As16())
			halves = append(halves, netip.PrefixFrom(mapped, 96+bits+1), low, low)
		}
		got := RelaysForEveryone(list)
		if want := len(counted) >= 1<<14; got != want {
			t.Errorf("%v: got %v, counted %d blocks", list, got, len(counted))
		}
		if RelaysForEveryone(halves) != got {
			t.Errorf("%v: halves %v answer otherwise", list, halves)
		}
		if got && !RelaysForEveryone(append(list, netip.MustParsePrefix("10.0.0.0/8"))) {
			t.Errorf("%v: one more prefix takes the danger away", list)
		}
	})
}
