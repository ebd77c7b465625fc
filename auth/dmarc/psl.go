package dmarc

import (
	"context"

	"golang.org/x/net/publicsuffix"

	"gatepost/auth/dkim"
	"gatepost/auth/spf"
	"gatepost/mail"
)

// Values of Options.Discovery.
const (
	TreeWalk = "treewalk" // RFC 9989 section 4.10; the default
	PSL      = "psl"      // RFC 7489 section 3.2: the list of public suffixes in the binary
	Compare  = "compare"  // TreeWalk decides, and Result.PSL says where PSL differs
)

// Comparison is what the list of public suffixes leads to where that differs.
type Comparison struct {
	Value        string      `json:"value"`
	Policy       string      `json:"policy,omitempty"`
	PolicyDomain mail.Domain `json:"policy_domain,omitzero"`
	OrgDomain    mail.Domain `json:"org_domain,omitzero"`
}

// Registered is the organizational domain by the list of public suffixes: one
// label below the suffix. A suffix itself has none and stands for itself.
// Bounds go by it: who has one has all names below it.
func Registered(domain string) string {
	d, err := publicsuffix.EffectiveTLDPlusOne(domain)
	if err != nil {
		return domain
	}
	return d
}

// compare evaluates once more by the list, with the records at hand, and says
// what differs; nil where nothing does or DNS left one of the two open.
func (k *check) compare(ctx context.Context, s spf.Result, d []dkim.Result) *Comparison {
	other := newCheck(k.walker, k.result.From)
	other.psl = true
	other.evaluate(ctx, s, d)
	a, b := k.result, other.result
	if a.Value == TempError || b.Value == TempError ||
		a.Value == b.Value && a.Policy == b.Policy && a.PolicyDomain == b.PolicyDomain {
		return nil
	}
	return &Comparison{Value: b.Value, Policy: b.Policy, PolicyDomain: b.PolicyDomain, OrgDomain: b.OrgDomain}
}
