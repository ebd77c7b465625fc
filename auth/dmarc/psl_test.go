package dmarc_test

import (
	"testing"

	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
)

// TestDiscoveryByPublicSuffixes: the same messages by both ways to the
// organizational domain, and compared.
func TestDiscoveryByPublicSuffixes(t *testing.T) {
	server := newServer(t)
	server.Add(t, `_dmarc.shop.co.uk. 60 IN TXT "v=DMARC1; p=reject"`)
	server.Add(t, `_dmarc.co.uk. 60 IN TXT "v=DMARC1; p=none"`)
	for _, c := range []struct {
		name, from, spf string
		walk, psl       string // value policy record
	}{
		{"the domain itself", "example.com", "", "fail reject example.com", "fail reject example.com"},
		{"a subdomain", "host.example.com", "", "fail quarantine example.com", "fail quarantine example.com"},
		{"psd=n in between", "x.apart.example.com", "", "fail reject apart.example.com", "fail reject example.com"},
		{"psd=n sets apart", "x.apart.example.com", "example.com", "fail reject apart.example.com", "pass reject example.com"},
		{"psd=y above", "there.psd.example", "", "fail none psd.example", "fail none psd.example"},
		{"psd=y keeps apart", "reg.psd.example", "other.psd.example", "fail reject reg.psd.example", "pass reject reg.psd.example"},
		{"records on the way", "x.own.example.com", "", "fail reject example.com", "fail reject example.com"},
		{"a suffix of two labels keeps apart", "shop.co.uk", "other.co.uk", "pass reject shop.co.uk", "fail reject shop.co.uk"},
		{"below a suffix of two labels", "www.shop.co.uk", "shop.co.uk", "pass none co.uk", "pass reject shop.co.uk"},
		{"the suffix itself", "co.uk", "", "fail none co.uk", "fail none co.uk"},
		{"no record", "none.example", "", "none  ", "none  "},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s spf.Result
			if c.spf != "" {
				s = spf.Result{Value: "pass", Domain: domain(t, c.spf)}
			}
			check := func(discovery string) dmarc.Result {
				checker := dmarc.New(dmarc.Options{Resolver: server.Resolver(t), Discovery: discovery})
				return checker.Check(t.Context(), domain(t, c.from), s, nil)
			}
			said := func(value, policy, record string) string { return value + " " + policy + " " + record }
			walk, psl, both := check(dmarc.TreeWalk), check(dmarc.PSL), check(dmarc.Compare)
			if got := said(walk.Value, walk.Policy, walk.PolicyDomain.String()); got != c.walk || walk.PSL != nil {
				t.Errorf("tree walk: got %s, want %s", got, c.walk)
			}
			if got := said(psl.Value, psl.Policy, psl.PolicyDomain.String()); got != c.psl || psl.PSL != nil {
				t.Errorf("public suffixes: got %s, want %s", got, c.psl)
			}
			if got := said(both.Value, both.Policy, both.PolicyDomain.String()); got != c.walk {
				t.Errorf("compare: the tree walk does not decide: %s", got)
			}
			switch {
			case c.walk == c.psl && both.PSL != nil:
				t.Errorf("compare: a difference where there is none: %+v", both.PSL)
			case c.walk != c.psl && (both.PSL == nil || said(both.PSL.Value, both.PSL.Policy, both.PSL.PolicyDomain.String()) != c.psl):
				t.Errorf("compare: %+v", both.PSL)
			}
		})
	}
}

// TestCompareKeepsQuietInTrouble: a name server that is away is no difference.
func TestCompareKeepsQuietInTrouble(t *testing.T) {
	checker := dmarc.New(dmarc.Options{Resolver: newServer(t).Resolver(t), Discovery: dmarc.Compare})
	if r := checker.Check(t.Context(), domain(t, "x.sub.halftrouble.example"), spf.Result{}, nil); r.Value != dmarc.TempError || r.PSL != nil {
		t.Errorf("got %+v", r)
	}
}
