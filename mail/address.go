package mail

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Address is a mailbox (RFC 5321 section 4.1.2, RFC 6531 section 3.3). The
// zero value is the null reverse-path.
type Address struct {
	local  string // without quoting
	domain Domain
}

// ErrAddress reports a string that is not a mailbox.
var ErrAddress = errors.New("not a mailbox")

// Limits of RFC 5321 section 4.5.3.1: a path has 256 octets with its brackets.
const (
	maxLocalPart = 64
	maxMailbox   = 254
)

// ParseAddress reads a mailbox without angle brackets, strictly: no comments,
// no white space, no source route, local part at most 64 octets, the whole at
// most 254. A quoted local part is unquoted and kept in its shortest form; an
// empty one is refused, for software that drops the quotes sees no mailbox.
// Octets above 127 are refused unless allowUTF8 (SMTPUTF8) is set; U-labels of
// the domain count as such octets.
func ParseAddress(s string, allowUTF8 bool) (Address, error) {
	if len(s) > maxMailbox {
		return Address{}, fmt.Errorf("%w: longer than %d octets", ErrAddress, maxMailbox)
	}
	if !allowUTF8 && !isASCII(s) {
		return Address{}, fmt.Errorf("%w: non-ASCII without SMTPUTF8", ErrAddress)
	}
	if !utf8.ValidString(s) {
		return Address{}, fmt.Errorf("%w: not UTF-8", ErrAddress)
	}
	local, rest, err := cutLocalPart(s)
	if err != nil {
		return Address{}, err
	}
	if written := len(s) - len(rest) - len("@"); written > maxLocalPart {
		return Address{}, fmt.Errorf("%w: local part of %d octets", ErrAddress, written)
	}
	if strings.Contains(rest, "_") {
		return Address{}, fmt.Errorf("%w: underscore in domain", ErrAddress)
	}
	domain, err := parseAddressDomain(rest)
	if err != nil {
		return Address{}, fmt.Errorf("%w: %w", ErrAddress, err)
	}
	return NewAddress(local, domain)
}

// NewAddress joins a local part without quoting, as go-smtp hands it over, and
// a domain.
func NewAddress(local string, domain Domain) (Address, error) {
	a := Address{local, domain}
	switch {
	case local == "" || len(a.quotedLocal()) > maxLocalPart:
		return Address{}, fmt.Errorf("%w: local part of %d octets", ErrAddress, len(local))
	case domain.IsZero():
		return Address{}, fmt.Errorf("%w: no domain", ErrAddress)
	case !utf8.ValidString(local):
		return Address{}, fmt.Errorf("%w: not UTF-8", ErrAddress)
	case hasControl(local):
		return Address{}, fmt.Errorf("%w: control character in local part", ErrAddress)
	case len(a.String()) > maxMailbox: // conversion to A-labels can make it longer
		return Address{}, fmt.Errorf("%w: longer than %d octets", ErrAddress, maxMailbox)
	}
	return a, nil
}

// hasControl finds C0 and C1 controls and the line ends of Unicode.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, isControl)
}

func isControl(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029
}

func parseAddressDomain(s string) (Domain, error) {
	if strings.HasPrefix(s, "[") {
		return parseLiteral(s)
	}
	return ParseDomain(s)
}

// cutLocalPart splits before the @ that ends the local part.
func cutLocalPart(s string) (local, domain string, err error) {
	if strings.HasPrefix(s, `"`) {
		return cutQuoted(s)
	}
	local, domain, ok := strings.Cut(s, "@")
	if !ok || !isDotString(local) {
		return "", "", fmt.Errorf("%w: local part", ErrAddress)
	}
	return local, domain, nil
}

// cutQuoted reads a Quoted-string (RFC 5321 section 4.1.2).
func cutQuoted(s string) (local, domain string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			rest, ok := strings.CutPrefix(s[i+1:], "@")
			if !ok {
				return "", "", fmt.Errorf("%w: quoted local part", ErrAddress)
			}
			return b.String(), rest, nil
		case c == '\\':
			if i++; i == len(s) || s[i] < ' ' || s[i] > '~' {
				return "", "", fmt.Errorf("%w: backslash in local part", ErrAddress)
			}
			b.WriteByte(s[i])
		case c < ' ' || c == 0x7f:
			return "", "", fmt.Errorf("%w: control octet in local part", ErrAddress)
		default:
			b.WriteByte(c)
		}
	}
	return "", "", fmt.Errorf("%w: quoted local part without end", ErrAddress)
}

// isDotString tells whether s is a Dot-string (RFC 5321, RFC 6531).
func isDotString(s string) bool {
	if s == "" {
		return false
	}
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for i := range len(atom) {
			if !isAtext(atom[i]) {
				return false
			}
		}
	}
	return true
}

func isAtext(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c >= 0x80 || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// IsNull tells whether a is the null reverse-path "<>".
func (a Address) IsNull() bool { return a == Address{} }

// Local is the local part without quoting.
func (a Address) Local() string { return a.local }

// Domain is the part behind the @.
func (a Address) Domain() Domain { return a.domain }

// IsASCII tells whether a can be sent without SMTPUTF8.
func (a Address) IsASCII() bool { return isASCII(a.local) }

// IsDotAtom tells whether the local part needs no quoting.
func (a Address) IsDotAtom() bool { return isDotString(a.local) }

// String is the mailbox as it goes over a wire, quoted where it must be; the
// null reverse-path gives "".
func (a Address) String() string {
	if a.IsNull() {
		return ""
	}
	return a.quotedLocal() + "@" + a.domain.name
}

// Path is the address between angle brackets (RFC 5321 Path).
func (a Address) Path() string { return "<" + a.String() + ">" }

// quotedLocal is the local part as it is written.
func (a Address) quotedLocal() string {
	if isDotString(a.local) {
		return a.local
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(a.local) {
		if a.local[i] == '"' || a.local[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(a.local[i])
	}
	b.WriteByte('"')
	return b.String()
}

// Equal compares the local part octet by octet (RFC 5321 section 2.4).
func (a Address) Equal(b Address) bool { return a == b }

// EqualFold compares the local part without regard to case, as mail systems do.
func (a Address) EqualFold(b Address) bool {
	return a.domain == b.domain && strings.EqualFold(a.local, b.local)
}

// MarshalText makes an Address a plain string in JSON.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText wrote; empty is the null reverse-path.
func (a *Address) UnmarshalText(b []byte) error {
	*a = Address{}
	if len(b) == 0 {
		return nil
	}
	local, rest, err := cutLocalPart(string(b))
	if err != nil {
		return err
	}
	domain, err := parseAddressDomain(rest)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAddress, err)
	}
	*a, err = NewAddress(local, domain)
	return err
}
