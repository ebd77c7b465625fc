package dnsx

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
)

// wireName turns a host name into the one spelling that questions, replies
// and the cache share: lower-case presentation form with a final dot. It
// fails for what cannot be a name in the DNS: empty labels, labels over 63 and
// names over 253 octets (RFC 1035 section 2.3.4). Every octet may stand in a
// label (RFC 2181 section 11); macros of SPF make use of that.
func wireName(name string) (string, bool) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 1024 {
		return "", false
	}
	if strings.IndexFunc(name, func(c rune) bool { return c >= 0x80 }) >= 0 {
		if ascii, err := idna.Lookup.ToASCII(name); err == nil {
			name = ascii // U-labels become A-labels; what is no IDN stays as it is
		}
	}
	if len(name) > 253 {
		return "", false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return "", false
		}
	}
	return canonical(escape(name))
}

// escape writes what is special in presentation form as \DDD.
func escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"();@\$`, c) >= 0 {
			fmt.Fprintf(&b, `\%03d`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String() + "."
}

// canonical brings a presentation form to the spelling that unpacking gives.
func canonical(name string) (string, bool) {
	wire := make([]byte, 256)
	n, err := dns.PackDomainName(name, wire, 0, nil, false)
	if err != nil {
		return "", false
	}
	name, _, err = dns.UnpackDomainName(wire[:n], 0)
	return strings.ToLower(name), err == nil
}

// plainName is a name of a reply as callers get it: lower case, no final dot;
// the root is ".".
func plainName(name string) string {
	if name == "." {
		return name
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}
