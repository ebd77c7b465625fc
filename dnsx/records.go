package dnsx

import (
	"context"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Answer is a set of records of one type. There is at least one record.
type Answer[T any] struct {
	Records   []T
	Authentic bool          // proved by a validating server, the whole chain
	Canonical string        // the last CNAME target, "" if none
	Chain     []string      // all CNAME targets in order
	TTL       time.Duration // what is left of it
}

// MX is one mail exchanger (RFC 5321 section 5.1).
type MX struct {
	Preference uint16 `json:"preference"`
	Host       string `json:"host"` // "." in a null MX
}

// IsNull recognizes the record of a domain that takes no mail (RFC 7505).
func (m MX) IsNull() bool { return m.Host == "." }

// TLSA is one certificate association (RFC 6698 section 2.1).
type TLSA struct {
	Usage, Selector, MatchingType uint8
	Data                          []byte
}

// TXT looks up text records; the strings of one record are joined (RFC 7208
// section 3.3, RFC 6376 section 3.6.2.2).
func (r *Resolver) TXT(ctx context.Context, name string) (Answer[string], error) {
	return lookup(ctx, r, name, dns.TypeTXT, func(rr *dns.TXT) (string, bool) {
		return unescapeStrings(rr.Txt), true
	})
}

// MX looks up mail exchangers, the most preferred first.
func (r *Resolver) MX(ctx context.Context, name string) (Answer[MX], error) {
	answer, err := lookup(ctx, r, name, dns.TypeMX, func(rr *dns.MX) (MX, bool) {
		return MX{rr.Preference, plainName(rr.Mx)}, true
	})
	slices.SortStableFunc(answer.Records, func(a, b MX) int { return int(a.Preference) - int(b.Preference) })
	return answer, err
}

// A looks up IPv4 addresses. Names in localhost are answered without asking
// (RFC 6761 section 6.3).
func (r *Resolver) A(ctx context.Context, name string) (Answer[netip.Addr], error) {
	if isLocalhost(name) {
		return Answer[netip.Addr]{Records: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, TTL: r.options.MaxTTL}, nil
	}
	return lookup(ctx, r, name, dns.TypeA, func(rr *dns.A) (netip.Addr, bool) {
		addr, ok := netip.AddrFromSlice(rr.A.To4())
		return addr, ok
	})
}

// AAAA looks up IPv6 addresses; addresses mapped from IPv4 stay as they are.
func (r *Resolver) AAAA(ctx context.Context, name string) (Answer[netip.Addr], error) {
	if isLocalhost(name) {
		return Answer[netip.Addr]{Records: []netip.Addr{netip.IPv6Loopback()}, TTL: r.options.MaxTTL}, nil
	}
	return lookup(ctx, r, name, dns.TypeAAAA, func(rr *dns.AAAA) (netip.Addr, bool) {
		addr, ok := netip.AddrFromSlice(rr.AAAA.To16())
		return addr, ok
	})
}

// isLocalhost tells whether a name means this host.
func isLocalhost(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// Addrs looks up IPv6 and IPv4 addresses, in this order. It fails only if
// neither is found, as Temporary if one of the questions was; Authentic means
// all that was found.
func (r *Resolver) Addrs(ctx context.Context, name string) (Answer[netip.Addr], error) {
	type outcome struct {
		answer Answer[netip.Addr]
		err    error
	}
	four := make(chan outcome, 1)
	go func() {
		answer, err := r.A(ctx, name)
		four <- outcome{answer, err}
	}()
	v6, err6 := r.AAAA(ctx, name)
	v4 := <-four
	switch {
	case err6 != nil && v4.err != nil:
		if IsTemporary(err6) {
			return v6, err6
		}
		return v4.answer, v4.err
	case err6 != nil:
		return v4.answer, nil
	case v4.err != nil:
		return v6, nil
	}
	both := v6
	both.Records = slices.Concat(v6.Records, v4.answer.Records)
	both.Authentic = v6.Authentic && v4.answer.Authentic
	both.TTL = min(v6.TTL, v4.answer.TTL)
	return both, nil
}

// PTR looks up the names of an address (RFC 1035 section 3.5, RFC 3596 section 2.5).
func (r *Resolver) PTR(ctx context.Context, addr netip.Addr) (Answer[string], error) {
	name, err := dns.ReverseAddr(addr.Unmap().WithZone("").String())
	if err != nil {
		return Answer[string]{}, &Error{Kind: NXDomain, Name: addr.String(), Type: "PTR", Err: err}
	}
	return lookup(ctx, r, name, dns.TypePTR, func(rr *dns.PTR) (string, bool) { return plainName(rr.Ptr), true })
}

// CNAME looks up the alias that a name is, without following it.
func (r *Resolver) CNAME(ctx context.Context, name string) (Answer[string], error) {
	return lookup(ctx, r, name, dns.TypeCNAME, func(rr *dns.CNAME) (string, bool) { return plainName(rr.Target), true })
}

// TLSA looks up certificate associations; the name is "_25._tcp.host".
func (r *Resolver) TLSA(ctx context.Context, name string) (Answer[TLSA], error) {
	return lookup(ctx, r, name, dns.TypeTLSA, func(rr *dns.TLSA) (TLSA, bool) {
		data, err := hex.DecodeString(rr.Certificate)
		return TLSA{rr.Usage, rr.Selector, rr.MatchingType, data}, err == nil
	})
}

// lookup asks a question and converts the records that were found.
func lookup[RR dns.RR, T any](ctx context.Context, r *Resolver, name string, qtype uint16, convert func(RR) (T, bool)) (Answer[T], error) {
	res, err := r.lookup(ctx, name, qtype)
	if err != nil {
		return Answer[T]{}, err
	}
	answer := Answer[T]{Authentic: res.authentic, Chain: slices.Clone(res.chain), TTL: res.ttl}
	if len(res.chain) > 0 {
		answer.Canonical = res.chain[len(res.chain)-1]
	}
	for _, rr := range res.records {
		if record, ok := rr.(RR); ok {
			if value, ok := convert(record); ok {
				answer.Records = append(answer.Records, value)
			}
		}
	}
	if len(answer.Records) == 0 {
		return Answer[T]{}, &Error{Kind: NoData, Name: name, Type: dns.TypeToString[qtype], Chain: answer.Chain}
	}
	return answer, nil
}

// unescapeStrings joins character strings, which the library hands over in
// presentation form: \" \\ and \DDD stand for single octets.
func unescapeStrings(parts []string) string {
	var b strings.Builder
	for _, s := range parts {
		for i := 0; i < len(s); i++ {
			if s[i] != '\\' || i+1 == len(s) {
				b.WriteByte(s[i])
				continue
			}
			if i+3 < len(s) && isDigit(s[i+1]) && isDigit(s[i+2]) && isDigit(s[i+3]) {
				b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
				i += 3
				continue
			}
			i++
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
