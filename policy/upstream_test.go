package policy

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"gatepost/auth/spf"
	"gatepost/mail"
)

// spfAsked notes who is checked.
type spfAsked struct {
	addr netip.Addr
	helo string
	n    int
}

func (s *spfAsked) Check(_ context.Context, ip netip.Addr, helo string, _ mail.Address) spf.Result {
	s.addr, s.helo = ip, helo
	s.n++
	return spf.Result{Value: "pass", Identity: spf.MailFrom}
}

func field(from, info string) string {
	return "Received: from " + from + " " + info + " by filter.example with ESMTP id 1" + onDate + "\r\n"
}

func TestTheClientBehindAnUpstreamIsJudged(t *testing.T) {
	outer, inner := field("real.author.example", "(h.author.example [198.51.100.77])"), field("edge.example", "(edge.example [10.0.0.2])")
	forged := field("forged.example", "(forged.example [192.0.2.66])")
	for _, c := range []struct {
		name, from, fields string
		hops               int
		addr, helo         string // checked; empty: nobody
		reason             string
	}{
		{"one hop", "10.0.0.1", outer + forged, 1, "198.51.100.77", "real.author.example", ""},
		{"two hops", "10.0.0.1", inner + outer + forged, 2, "198.51.100.77", "real.author.example", ""},
		{"two hops, but mail came to the inner one directly", "10.0.0.1", outer + forged, 2, "198.51.100.77", "real.author.example", ""},
		{"not as many fields as hops", "10.0.0.1", inner, 2, "", "", "no Received field of hop 2"},
		{"no field", "10.0.0.1", "", 1, "", "", "no Received field of hop 1"},
		{"a field that cannot be read", "10.0.0.1", "Received: by filter.example id 1" + onDate + "\r\n" + outer, 1, "", "", "hop 1 cannot be read"},
		{"the second cannot be read", "10.0.0.1", inner + "Received: by filter.example id 1" + onDate + "\r\n", 2, "", "", "hop 2 cannot be read"},
		{"never from an untrusted client", "203.0.113.9", outer, 1, "203.0.113.9", "out.author.example", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := &spfAsked{}
			o := options(t, &proofs{names: []string{"name.example"}})
			o.Proofs.SPF = asked
			o.Upstreams = []UpstreamRule{{Addresses: []string{"10.0.0.0/24"}, Hops: c.hops}}
			s := stranger()
			s.Addr, s.IPRev = netip.MustParseAddr(c.from), IPRev{Value: "pass", Addr: netip.MustParseAddr(c.from), Name: "connected.example"}
			h := header(t, c.fields+"From: a@author.example\r\n")
			f, _, _ := engine(t, o).Content(t.Context(), s, mail.Envelope{From: address(t, "a@author.example")}, h, mail.MemoryBody(nil))
			if c.addr == "" {
				if asked.n != 0 || f.SPF.Value != "none" || !strings.Contains(f.SPF.Reason, c.reason) || f.IPRev.Value != "" || f.Upstream.Addr.IsValid() {
					t.Fatalf("somebody was judged: %+v, %+v, %+v", f.SPF, f.IPRev, f.Upstream)
				}
				return
			}
			if asked.addr.String() != c.addr || asked.helo != c.helo || f.IPRev.Addr.String() != c.addr {
				t.Errorf("asked for %s %s, iprev %+v", asked.addr, asked.helo, f.IPRev)
			}
			if behind := c.from == "10.0.0.1"; behind != (f.Upstream.By.String() == c.from) {
				t.Errorf("upstream %+v", f.Upstream)
			}
		})
	}
}

func TestUpstreamAndRelay(t *testing.T) {
	o := options(t, &proofs{})
	o.Upstreams = []UpstreamRule{{Addresses: []string{"192.0.2.10"}}}
	e := engine(t, o)
	h := header(t, field("x.example", "([198.51.100.77])")+"From: a@example.com\r\n")
	f, v, vouched := e.Content(t.Context(), client("exchange"), mail.Envelope{}, h, mail.MemoryBody(nil))
	if f.Upstream != (Upstream{}) || v.Rule != "send-as" || vouched.String() != "example.com" {
		t.Errorf("a relay client was judged as an upstream: %+v %+v", f.Upstream, v)
	}
}

func TestExemptClientBehindAnUpstream(t *testing.T) {
	o := options(t, &proofs{dmarc: policyOf("reject")})
	o.Upstreams = []UpstreamRule{{Addresses: []string{"10.0.0.1"}}}
	s := stranger()
	s.Addr = netip.MustParseAddr("10.0.0.1")
	h := header(t, field("x.example", "([198.51.100.7])")+"From: a@author.example\r\n")
	if _, v, _ := engine(t, o).Content(t.Context(), s, mail.Envelope{}, h, mail.MemoryBody(nil)); v.Rule != "exempt" {
		t.Errorf("got %+v", v)
	}
}

func TestUpstreamOptions(t *testing.T) {
	for path, r := range map[string]UpstreamRule{
		"policy.upstreams[0].addresses":    {},
		"policy.upstreams[0].addresses ":   {Addresses: []string{"0.0.0.0/0"}},
		"policy.upstreams[0].addresses[0]": {Addresses: []string{"198.51.100.0/24"}}, // exempt
		"policy.upstreams[0].hops":         {Addresses: []string{"10.0.0.1"}, Hops: 11},
	} {
		o := options(t, &proofs{})
		o.Upstreams = []UpstreamRule{r}
		_, err := New(o)
		field := (*FieldError)(nil)
		if !errors.As(err, &field) || field.Path != strings.TrimSpace(path) {
			t.Errorf("%s: got %v", path, err)
		}
	}
}
