package zone

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// FuzzParse: every record of a zone that was read can be asked for, the reply
// fits on the wire, and a name without records is told apart.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"a.example. IN A 192.0.2.1\n*.a.example. 60 IN TXT \"x\"\n", "example. IN SOA ns. h. 1 2 3 4 5\nwww IN CNAME example.\n",
		"$ORIGIN example.\n$TTL 60\n@ IN MX 10 mail\nmail IN AAAA 2001:db8::1\n", "a IN CNAME b\nb IN CNAME a\n", "x IN TXT ( \"a\"\n \"b\" ; comment\n)\n",
		"\\097.example. IN TXT \"\\255\"\n", "a.example. IN", "_25._tcp.a IN TLSA 3 1 1 abcd\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "$GENERATE") || len(text) > 4<<10 {
			return // may make very many records
		}
		z, err := ParseString(text)
		if err != nil {
			return
		}
		for name, set := range z.sets {
			for qtype, records := range set {
				reply := Zones{z}.Answer(new(dns.Msg).SetQuestion(name, qtype))
				if reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeRefused || reply.Rcode == dns.RcodeSuccess && len(reply.Answer) < len(records) {
					t.Fatalf("%q: asked for %s %s: %v", text, name, dns.TypeToString[qtype], reply)
				}
				if _, err := reply.Pack(); err != nil {
					t.Fatalf("%q: %s %s: %v", text, name, dns.TypeToString[qtype], err)
				}
			}
		}
		for name := range z.sets {
			if z.exists[name] < 1 {
				t.Fatalf("%q: %s has records and does not exist", text, name)
			}
		}
	})
}
