package dmarc_test

import (
	"testing"

	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
	"gatepost/dnsx/dnstest"
)

// A top-level domain with a DMARC record without psd=y became the
// organizational domain of all names below it, so that any of them passed as
// any other.
func TestTopLevelDomainAlignsNobody(t *testing.T) {
	s := dnstest.New(t, `_dmarc.bank. 60 IN TXT "v=DMARC1; p=reject"
_dmarc.good.bank. 60 IN TXT "v=DMARC1; p=reject"
`)
	checker := dmarc.New(dmarc.Options{Resolver: s.Resolver(t)})
	for _, c := range []struct{ from, proved, value, policy string }{
		{"good.bank", "evil.bank", "fail", "good.bank"},
		{"plain.bank", "evil.bank", "fail", "bank"},
		{"a.plain.bank", "b.plain.bank", "pass", "bank"},
		{"a.good.bank", "good.bank", "pass", "good.bank"},
		{"bank", "bank", "pass", "bank"},
		{"bank", "evil.bank", "fail", "bank"},
	} {
		r := checker.Check(t.Context(), domain(t, c.from), spf.Result{Value: "pass", Domain: domain(t, c.proved)}, nil)
		if r.Value != c.value || r.PolicyDomain.String() != c.policy {
			t.Errorf("from %s with a pass of %s: %s by %s, want %s by %s", c.from, c.proved, r.Value, r.PolicyDomain, c.value, c.policy)
		}
	}
}
