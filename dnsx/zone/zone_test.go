package zone_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"gatepost/dnsx/zone"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const text = `
$ORIGIN example.com.
$TTL 1h
@       IN SOA ns hostmaster 1 2 3 4 60
@       IN A 192.0.2.1
WWW     IN A 192.0.2.2
alias   IN CNAME www
out     IN CNAME host.example.net.
loop    IN CNAME loop2
loop2   IN CNAME loop
*.w     IN TXT "wild"
b.w     IN A 192.0.2.3
c.ent   IN A 192.0.2.4
`

func TestAnswers(t *testing.T) {
	z, err := zone.ParseString(text)
	if err != nil {
		t.Fatal(err)
	}
	other, err := zone.ParseString("$ORIGIN example.net.\n@ 60 IN SOA ns h 1 2 3 4 5\nhost 60 IN A 192.0.2.9")
	if err != nil {
		t.Fatal(err)
	}
	zones := zone.Zones{z, other}
	for _, c := range []struct {
		name, qtype, rcode string
		answers            []string // owner and type
		soa                string
	}{
		{"example.com", "A", "NOERROR", []string{"example.com. A"}, ""},
		{"www.EXAMPLE.com", "A", "NOERROR", []string{"www.example.com. A"}, ""},
		{"www.example.com", "TXT", "NOERROR", nil, "example.com."},
		{"alias.example.com", "A", "NOERROR", []string{"alias.example.com. CNAME", "www.example.com. A"}, ""},
		{"alias.example.com", "CNAME", "NOERROR", []string{"alias.example.com. CNAME"}, ""},
		{"alias.example.com", "TXT", "NOERROR", []string{"alias.example.com. CNAME"}, "example.com."},
		{"out.example.com", "A", "NOERROR", []string{"out.example.com. CNAME", "host.example.net. A"}, ""},
		{"loop.example.com", "A", "NOERROR", []string{"loop.example.com. CNAME", "loop2.example.com. CNAME"}, ""},
		{"a.w.example.com", "TXT", "NOERROR", []string{"a.w.example.com. TXT"}, ""},
		{"a.a.w.example.com", "TXT", "NOERROR", []string{"a.a.w.example.com. TXT"}, ""},
		{"a.w.example.com", "A", "NOERROR", nil, "example.com."},
		{"b.w.example.com", "TXT", "NOERROR", nil, "example.com."},
		{"a.b.w.example.com", "TXT", "NXDOMAIN", nil, "example.com."}, // b.w is the closest encloser
		{"ent.example.com", "A", "NOERROR", nil, "example.com."},
		{"x.ent.example.com", "A", "NXDOMAIN", nil, "example.com."},
		{"missing.example.com", "A", "NXDOMAIN", nil, "example.com."},
		{"missing.example.net", "A", "NXDOMAIN", nil, "example.net."},
		{"example.org", "A", "REFUSED", nil, ""},
	} {
		query := new(dns.Msg).SetQuestion(dns.Fqdn(c.name), dns.StringToType[c.qtype])
		reply := zones.Answer(query)
		var answers []string
		for _, rr := range reply.Answer {
			answers = append(answers, rr.Header().Name+" "+dns.TypeToString[rr.Header().Rrtype])
		}
		soa := ""
		if len(reply.Ns) > 0 {
			soa = reply.Ns[0].Header().Name
		}
		if dns.RcodeToString[reply.Rcode] != c.rcode || !slices.Equal(answers, c.answers) || soa != c.soa {
			t.Errorf("%s %s: %s %q SOA %q", c.name, c.qtype, dns.RcodeToString[reply.Rcode], answers, soa)
		}
	}
}

func TestRecordsChangeWhileServing(t *testing.T) {
	z, err := zone.ParseString("") // no SOA: authoritative for all
	if err != nil {
		t.Fatal(err)
	}
	server, err := zone.NewServer("127.0.0.1:0", z)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	long := `"` + strings.Repeat("x", 250) + `" `
	for _, step := range []struct {
		do   func() error
		want int
	}{
		{func() error { return nil }, dns.RcodeNameError},
		{func() error { return z.Add("a.b.test. IN TXT " + strings.Repeat(long, 20)) }, dns.RcodeSuccess},
		{func() error { z.Remove("A.b.test", "TXT"); return nil }, dns.RcodeNameError},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		for _, network := range []string{"udp", "tcp"} {
			client := dns.Client{Net: network}
			reply, _, err := client.Exchange(new(dns.Msg).SetQuestion("a.b.test.", dns.TypeTXT), server.Addr())
			if err != nil || reply.Rcode != step.want || !reply.Authoritative {
				t.Fatalf("%s: %v %v", network, reply, err)
			}
			if step.want == dns.RcodeSuccess && reply.Truncated != (network == "udp") {
				t.Errorf("%s: truncated %v", network, reply.Truncated)
			}
		}
	}
}

func TestBadZoneIsRefused(t *testing.T) {
	if _, err := zone.ParseString("example.com. IN A not-an-address"); err == nil {
		t.Error("no error")
	}
}
