package mail

import (
	"errors"
	"fmt"
	"strings"
)

// ErrXtext reports a string that is not xtext.
var ErrXtext = errors.New("not xtext")

const upperHex = "0123456789ABCDEF"

// EncodeXtext writes s as xtext (RFC 3461 section 4): octets outside "!" to
// "~", "+" and "=" become "+" and two digits.
func EncodeXtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if isXchar(s[i]) {
			b.WriteByte(s[i])
			continue
		}
		b.Write([]byte{'+', upperHex[s[i]>>4], upperHex[s[i]&15]})
	}
	return b.String()
}

// DecodeXtext reads xtext. The result may hold any octet.
func DecodeXtext(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case isXchar(s[i]):
			b.WriteByte(s[i])
		case s[i] == '+' && i+2 < len(s):
			hi, ok1 := hexDigit(s[i+1])
			lo, ok2 := hexDigit(s[i+2])
			if !ok1 || !ok2 {
				return "", fmt.Errorf("%w: %q", ErrXtext, s)
			}
			b.WriteByte(hi<<4 | lo)
			i += 2
		default:
			return "", fmt.Errorf("%w: %q", ErrXtext, s)
		}
	}
	return b.String(), nil
}

func isXchar(c byte) bool { return c > ' ' && c < 0x7f && c != '+' && c != '=' }

// hexDigit also takes the lower-case digits that the RFC does not know and
// that some clients send.
func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
