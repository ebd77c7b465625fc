package dmarc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatepost/auth/dkim"
	"gatepost/auth/spf"
	"gatepost/dnsx"
	"gatepost/mail"
)

// Options of a Checker.
type Options struct {
	Resolver  Resolver // required
	Discovery string   // of organizational domains: TreeWalk (default), PSL or Compare
	// TimeLimit bounds all queries of one check: each of many signatures makes a
	// walk, in zones that may be a stranger's. Default: DefaultTimeLimit.
	TimeLimit time.Duration
}

// DefaultTimeLimit is that of SPF (RFC 7208 section 4.6.4).
const DefaultTimeLimit = 20 * time.Second

// Checker evaluates DMARC. It may be used by many goroutines.
type Checker struct{ options Options }

// New makes a Checker.
func New(o Options) *Checker {
	if o.TimeLimit == 0 {
		o.TimeLimit = DefaultTimeLimit
	}
	return &Checker{o}
}

// check is one evaluation.
type check struct {
	walker
	result Result
	policy policy
	doubt  error // DNS trouble that could have hidden a pass
}

// Check evaluates a From domain with the results of SPF and DKIM. Only a pass
// proves anything. The value is temperror where DNS trouble, here or in SPF or
// DKIM, leaves open whether the result would have been pass; Policy then tells
// what is at stake, if that is known.
func (c *Checker) Check(ctx context.Context, from mail.Domain, s spf.Result, d []dkim.Result) Result {
	ctx, cancel := context.WithTimeout(ctx, c.options.TimeLimit)
	defer cancel()
	k := newCheck(walker{resolver: c.options.Resolver, found: map[string]lookup{}}, from)
	k.psl = c.options.Discovery == PSL
	k.evaluate(ctx, s, d)
	if c.options.Discovery == Compare {
		k.result.PSL = k.compare(ctx, s, d)
	}
	return k.result
}

func newCheck(w walker, from mail.Domain) *check {
	return &check{walker: w, result: Result{Value: None, From: from, Pct: 100}}
}

func (k *check) evaluate(ctx context.Context, s spf.Result, d []dkim.Result) {
	if k.result.From.IsZero() || k.result.From.IsLiteral() {
		k.result.Reason = "no From domain"
		return
	}
	if !k.findPolicy(ctx) {
		return
	}
	k.align(ctx, s, d)
	k.choosePolicy(ctx)
	k.conclude()
}

// findPolicy looks for the record; false means that the result is final.
func (k *check) findPolicy(ctx context.Context) bool {
	var err error
	k.policy, err = k.discover(ctx, k.result.From)
	if err != nil {
		k.result.Value, k.result.Reason = TempError, safe(err)
		return false
	}
	if k.policy.record == nil {
		k.result.Reason = "no DMARC record"
		return false
	}
	k.result.PolicyDomain = domainOf(k.policy.domain)
	k.result.OrgDomain = domainOf(k.policy.org.domain)
	k.result.Record = k.policy.record
	if k.policy.flaw != nil {
		k.result.Value, k.result.Reason = PermError, safe(k.policy.flaw)
		return false
	}
	k.result.Pct = k.policy.record.Pct
	k.result.HasT, k.result.Testing = k.policy.record.HasT, k.policy.record.Testing
	return true
}

// align looks for passes of SPF and DKIM whose domain belongs to the From
// domain (RFC 9989 section 4.10.2), and for checks that could not be made.
func (k *check) align(ctx context.Context, s spf.Result, d []dkim.Result) {
	// A HELO name counts where the reverse-path was null (RFC 7489 section 3.1.2).
	k.result.SPFAligned = k.identifier(ctx, "SPF", s.Value, s.Domain)
	for _, signature := range d {
		if k.identifier(ctx, "DKIM", signature.Value, signature.Domain) {
			k.result.DKIMAligned = true
		}
	}
}

// identifier tells whether one result is a pass and aligned.
func (k *check) identifier(ctx context.Context, method, value string, domain mail.Domain) bool {
	if domain.IsZero() || value != "pass" && value != "temperror" {
		return false
	}
	strict := k.result.Record.DKIMStrict
	if method == "SPF" {
		strict = k.result.Record.SPFStrict
	}
	aligned, err := k.aligned(ctx, domain, strict)
	if err != nil {
		k.doubt = fmt.Errorf("alignment of %s: %w", domain, err)
		return false
	}
	if aligned && value == "temperror" {
		k.doubt = fmt.Errorf("%s of %s could not be checked", method, domain)
		return false
	}
	return aligned
}

// aligned compares a proved domain with the From domain.
func (k *check) aligned(ctx context.Context, domain mail.Domain, strict bool) (bool, error) {
	from := k.result.From
	if domain == from {
		return true, nil
	}
	if strict || topLabel(domain) != topLabel(from) { // no common parent at all
		return false, nil
	}
	if err := k.findOrganization(ctx); err != nil {
		return false, err
	}
	// An organizational domain is the name itself or above it: of a stranger's
	// name nothing is asked, or trouble with his servers would leave it open
	// whether he is the author.
	if org := k.policy.org.domain; domain.String() != org && !strings.HasSuffix(domain.String(), "."+org) {
		return false, nil
	}
	org, err := k.organizational(ctx, domain.String())
	return err == nil && org.domain == k.policy.org.domain, err
}

// findOrganization finds the organizational domain of From, where the search
// for the policy did not need it.
func (k *check) findOrganization(ctx context.Context) error {
	if k.policy.org.domain != "" {
		return nil
	}
	org, err := k.organizational(ctx, k.result.From.String())
	if err != nil {
		return err
	}
	k.policy.org = org
	k.result.OrgDomain = domainOf(org.domain)
	return nil
}

// choosePolicy takes p for the domain of the record itself, sp for existing
// subdomains, np for those that do not exist (RFC 9989 section 4.10.1).
func (k *check) choosePolicy(ctx context.Context) {
	record := k.policy.record
	k.result.Policy, k.result.Tag = record.Policy, "p"
	if k.policy.domain == k.result.From.String() {
		return
	}
	if record.Subdomains != "" {
		k.result.Policy, k.result.Tag = record.Subdomains, "sp"
	}
	if record.NonExistent == "" {
		return
	}
	_, err := k.resolver.A(ctx, k.result.From.String())
	switch {
	case isMissing(err):
		k.result.Policy, k.result.Tag = record.NonExistent, "np"
	case dnsx.IsTemporary(err) && record.NonExistent != k.result.Policy:
		k.doubt = err
		k.result.Policy, k.result.Tag = "", ""
	}
}

// isMissing tells that the very name asked for does not exist. One that is an
// alias of a name that does not exist does (RFC 8020 section 2, RFC 6604
// section 3).
func isMissing(err error) bool {
	var e *dnsx.Error
	return dnsx.IsNXDomain(err) && errors.As(err, &e) && len(e.Chain) == 0
}

// conclude sets the value.
func (k *check) conclude() {
	switch {
	case k.result.SPFAligned || k.result.DKIMAligned:
		k.result.Value = Pass
	case k.doubt != nil:
		k.result.Value, k.result.Reason = TempError, safe(k.doubt)
	default:
		k.result.Value = Fail
	}
}

func topLabel(d mail.Domain) string {
	name := d.String()
	return name[strings.LastIndexByte(name, '.')+1:]
}

// domainOf reads a name that came from a Domain or one of its parents.
func domainOf(name string) mail.Domain {
	d, err := mail.ParseDomain(name)
	if err != nil {
		return mail.Domain{}
	}
	return d
}

func safe(err error) string { return mail.SafeText(dnsx.Brief(err), 300) }
