package mail

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Domain is a domain name in lower-case A-label form without a final dot, or
// an address literal such as "[192.0.2.1]" (RFC 5321 section 4.1.3). The zero
// value names nothing.
type Domain struct{ name string }

// ErrDomain reports a string that is not a domain name.
var ErrDomain = errors.New("not a domain name")

// domainProfile is lookup processing of RFC 5891 with the mapping that user
// interfaces apply (RFC 5895).
var domainProfile = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false), idna.BidiRule())

// ParseDomain reads a domain name; U-labels become A-labels. It refuses empty
// labels, labels over 63 and names over 253 octets and every octet that is not
// a letter, digit, hyphen or underscore.
func ParseDomain(s string) (Domain, error) {
	if s == "" || len(s) > 1024 {
		return Domain{}, fmt.Errorf("%w: length %d", ErrDomain, len(s))
	}
	name := s
	if !isASCII(s) {
		if !utf8.ValidString(s) || strings.ContainsRune(s, utf8.RuneError) {
			return Domain{}, fmt.Errorf("%w: %q is not UTF-8", ErrDomain, s)
		}
		ascii, err := domainProfile.ToASCII(s)
		if err != nil {
			return Domain{}, fmt.Errorf("%w: %q", ErrDomain, s)
		}
		name = ascii
	}
	name = strings.ToLower(name)
	if len(name) > 253 {
		return Domain{}, fmt.Errorf("%w: longer than 253 octets", ErrDomain)
	}
	for label := range strings.SplitSeq(name, ".") {
		if !validLabel(label) {
			return Domain{}, fmt.Errorf("%w: %q", ErrDomain, s)
		}
	}
	return Domain{strings.Clone(name)}, nil // who keeps a name keeps no field that it stood in
}

// parseLiteral reads an address literal with its brackets.
func parseLiteral(s string) (Domain, error) {
	inner, ok := strings.CutPrefix(s, "[")
	inner, ok2 := strings.CutSuffix(inner, "]")
	if !ok || !ok2 {
		return Domain{}, fmt.Errorf("%w: %q", ErrDomain, s)
	}
	text, v6 := inner, false
	if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
		text, v6 = inner[5:], true
	}
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" || ip.Is6() != v6 {
		return Domain{}, fmt.Errorf("%w: address literal %q", ErrDomain, s)
	}
	return LiteralDomain(ip), nil
}

// LiteralDomain is the address literal of ip.
func LiteralDomain(ip netip.Addr) Domain {
	if ip.Unmap().Is4() {
		return Domain{"[" + ip.Unmap().String() + "]"}
	}
	return Domain{"[IPv6:" + ip.String() + "]"}
}

func validLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for i := range len(label) {
		c := label[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// String is the A-label form, the form for wires, look-ups and comparison.
func (d Domain) String() string { return d.name }

// IsZero tells whether d names nothing.
func (d Domain) IsZero() bool { return d.name == "" }

// IsLiteral tells whether d is an address literal.
func (d Domain) IsLiteral() bool { return strings.HasPrefix(d.name, "[") }

// Unicode is the U-label form for people to read; it falls back to the A-label form.
func (d Domain) Unicode() string {
	if u, err := idna.Display.ToUnicode(d.name); err == nil && !d.IsLiteral() {
		return u
	}
	return d.name
}

// Within tells whether d is parent or a subdomain of it.
func (d Domain) Within(parent Domain) bool {
	if d.IsZero() || parent.IsZero() {
		return false
	}
	return d == parent || strings.HasSuffix(d.name, "."+parent.name)
}

// MarshalText and UnmarshalText make a Domain a plain string in JSON.
func (d Domain) MarshalText() ([]byte, error) { return []byte(d.name), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Domain) UnmarshalText(b []byte) (err error) {
	switch {
	case len(b) == 0:
		*d = Domain{}
	case b[0] == '[':
		*d, err = parseLiteral(string(b))
	default:
		*d, err = ParseDomain(string(b))
	}
	return err
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
