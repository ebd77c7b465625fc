package policy

import (
	"cmp"
	"net/netip"
	"slices"
)

// Above these sizes the ranges of relay clients are the Internet in all but
// name, however they are cut: a quarter of all IPv4 addresses, or as many
// global IPv6 addresses as a regional registry hands out (a /12). The largest
// networks with one owner are a /8 and a /16.
const (
	tooManyIPv4     = 1 << 30
	tooManyIPv6Bits = 12
)

// RelaysForEveryone tells whether the union of the ranges lets anyone relay.
// It counts addresses, so that 0.0.0.0/1 and 128.0.0.0/1 are no better than
// 0.0.0.0/0; IPv4-mapped and NAT64 forms (RFC 4291 section 2.5.5.2, RFC 6052)
// count as IPv4.
func RelaysForEveryone(prefixes []netip.Prefix) bool {
	var four, six []span
	for _, p := range prefixes {
		if !p.IsValid() {
			continue
		}
		p = unmapPrefix(p).Masked()
		if p.Addr().Is4() {
			four = append(four, spanIPv4(p))
			continue
		}
		for _, embedded := range embeddings() {
			if overlap, ok := intersect(p, embedded); ok {
				four = append(four, embeddedIPv4(overlap))
			}
		}
		if overlap, ok := intersect(p, globalIPv6()); ok {
			six = append(six, spanIPv6(overlap))
		}
	}
	return covered(four) >= tooManyIPv4 || covered(six) >= 1<<(64-tooManyIPv6Bits)
}

// embeddings are the IPv6 ranges whose last 32 bits are an IPv4 address.
func embeddings() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("::ffff:0:0/96"), netip.MustParsePrefix("64:ff9b::/96")}
}

// globalIPv6 is the range from which global unicast addresses are assigned.
func globalIPv6() netip.Prefix { return netip.MustParsePrefix("2000::/3") }

// span is a range of numbers, both ends in it: IPv4 addresses, or the upper
// halves of IPv6 addresses.
type span struct{ first, last uint64 }

func spanIPv4(p netip.Prefix) span {
	b := p.Addr().As4()
	first := uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
	return span{first, first + 1<<(32-p.Bits()) - 1}
}

func embeddedIPv4(p netip.Prefix) span {
	b := p.Addr().As16()
	return spanIPv4(netip.PrefixFrom(netip.AddrFrom4([4]byte(b[12:])), p.Bits()-96))
}

// spanIPv6 counts in units of /64; a narrower range counts as one.
func spanIPv6(p netip.Prefix) span {
	b := p.Addr().As16()
	var first uint64
	for _, c := range b[:8] {
		first = first<<8 | uint64(c)
	}
	return span{first, first + 1<<(64-min(p.Bits(), 64)) - 1}
}

// intersect is the narrower of two prefixes that overlap.
func intersect(a, b netip.Prefix) (netip.Prefix, bool) {
	if !a.Overlaps(b) {
		return netip.Prefix{}, false
	}
	if a.Bits() > b.Bits() {
		return a, true
	}
	return b, true
}

// covered counts the numbers in the union of spans.
func covered(spans []span) uint64 {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	var total, next uint64 // next: the first number not yet counted
	for _, s := range spans {
		first := max(s.first, next)
		if s.last < first {
			continue
		}
		total += s.last - first + 1
		next = s.last + 1
	}
	return total
}
