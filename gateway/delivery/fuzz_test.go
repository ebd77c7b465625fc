package delivery

import (
	"net/netip"
	"strings"
	"testing"

	"gatepost/mail"
)

// FuzzHopURL: an entry of urls gives a scheme we know, a host that can be
// dialled and a port; written again it reads the same.
func FuzzHopURL(f *testing.F) {
	for _, s := range []string{"smtp://mx.example.com:25", "smtps://[2001:db8::1]", "lmtp:///run/lmtp.sock", "mx://bücher.example", "lmtp://host", "smtp://host:0", "smtp://u:p@host", "smtp://host/path", "smtp://a..b", "SMTP://Host.:587"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseHopURL(text)
		if err != nil {
			return
		}
		if u.isSocket() {
			if u.scheme != schemeLMTP || u.port != 0 {
				t.Fatalf("%q: %+v", text, u)
			}
			return
		}
		_, badDomain := mail.ParseDomain(u.host)
		_, badAddr := netip.ParseAddr(u.host)
		if badDomain != nil && badAddr != nil || u.scheme != schemeMX && u.port == 0 {
			t.Fatalf("%q: %+v", text, u)
		}
		written := u.scheme + "://" + u.host
		if u.scheme != schemeMX {
			written = u.scheme + "://" + joinPort(strings.ReplaceAll(u.host, "%", "%25"), u.port)
		}
		if again, err := parseHopURL(written); err != nil || again != u {
			t.Fatalf("%q: %+v is written %q, which reads %+v, %v", text, u, written, again, err)
		}
	})
}
