package smtpc

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"gatepost/mail"
)

// appendOriginal writes ORCPT (RFC 3461 section 4.2, RFC 6533 section 3).
func (c *Conn) appendOriginal(b []byte, r *mail.Recipient) []byte {
	if r.OriginalType == "" || r.Original == "" {
		return b
	}
	b = append(append(b, " ORCPT="...), mail.EncodeXtext(r.OriginalType)...)
	b = append(b, ';')
	if strings.EqualFold(r.OriginalType, "utf-8") {
		return append(b, encodeUTF8Address(r.Original)...)
	}
	return append(b, mail.EncodeXtext(r.Original)...)
}

// encodeUTF8Address writes an address as utf-8-addr-xtext, which passes where
// SMTPUTF8 is not offered. What already is in that form stays.
func encodeUTF8Address(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r >= utf8.RuneSelf, r <= ' ', r == '+', r == '=', r == 0x7f:
			fmt.Fprintf(&b, `\x{%X}`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
