package dmarc_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
	"gatepost/dnsx"
	"gatepost/dnsx/dnstest"
	"gatepost/mail"
)

// Records of the zone: what stands at _dmarc.<name>.
var records = map[string]string{
	"example.com":           "v=DMARC1; p=reject; sp=quarantine; np=reject",
	"own.example.com":       "v=DMARC1; p=none; sp=reject",
	"strict.example":        "v=DMARC1; p=reject; adkim=s; aspf=s",
	"psd.example":           "v=DMARC1; p=quarantine; sp=none; np=reject; psd=y",
	"reg.psd.example":       "v=DMARC1; p=reject",
	"own.psd.example":       "v=DMARC1; p=reject; psd=n",
	"a.own.psd.example":     "v=DMARC1; p=none",
	"apart.example.com":     "v=DMARC1; p=reject; psd=n",
	"test.example":          "v=DMARC1; p=reject; t=y; pct=10",
	"pct.example":           "v=DMARC1; p=reject; pct=10",
	"bad.example":           "v=DMARC1; p=bogus",
	"badrua.example":        "v=DMARC1; p=bogus; rua=mailto:x@badrua.example",
	"e.f.g.deep.example":    "v=DMARC1; p=quarantine",
	"deep.example":          "v=DMARC1; p=reject",
	"xn--bcher-kva.example": "v=DMARC1; p=reject",
}

func newServer(t *testing.T) *dnstest.Server {
	var zone strings.Builder
	for name, record := range records {
		fmt.Fprintf(&zone, "_dmarc.%s. 60 IN TXT %q\n", name, record)
	}
	zone.WriteString(`_dmarc.twice.example.com. 60 IN TXT "v=DMARC1; p=none"
_dmarc.twice.example.com. 60 IN TXT "v=DMARC1; p=reject"
_dmarc.mixed.example.com. 60 IN TXT "v=spf1 -all"
_dmarc.mixed.example.com. 60 IN TXT "v=DMARC1; p=" "none"
_dmarc.alias.example. 60 IN CNAME _dmarc.example.com.
host.example.com. 60 IN A 192.0.2.1
there.psd.example. 60 IN A 192.0.2.1
`)
	s := dnstest.New(t, zone.String())
	s.Fail("_dmarc.trouble.example", "TXT", dnstest.ServFail)
	s.Fail("_dmarc.sub.halftrouble.example", "TXT", dnstest.ServFail)
	s.Add(t, `_dmarc.halftrouble.example. 60 IN TXT "v=DMARC1; p=reject"`)
	s.Add(t, `_dmarc.nptrouble.example. 60 IN TXT "v=DMARC1; p=reject; np=none"`)
	s.Fail("x.nptrouble.example", "A", dnstest.ServFail)
	return s
}

func domain(t *testing.T, name string) mail.Domain {
	t.Helper()
	if name == "" {
		return mail.Domain{}
	}
	d, err := mail.ParseDomain(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// proof is "spf:pass:example.com" or "dkim:fail:example.com".
func proofs(t *testing.T, list string) (s spf.Result, d []dkim.Result) {
	s.Value = spf.None
	for proof := range strings.FieldsSeq(list) {
		part := strings.Split(proof, ":")
		if part[0] == "spf" {
			s = spf.Result{Value: part[1], Domain: domain(t, part[2])}
		} else {
			d = append(d, dkim.Result{Value: part[1], Domain: domain(t, part[2])})
		}
	}
	return s, d
}

func TestCheck(t *testing.T) {
	resolver := newServer(t).ResolverWith(t, dnsx.Options{})
	for _, c := range []struct {
		from, proofs string
		want         string // value policy/tag @policy domain
	}{
		// The record of the domain itself, and alignment with it.
		{"example.com", "", "fail reject/p @example.com"},
		{"example.com", "spf:pass:example.com", "pass reject/p @example.com spf"},
		{"example.com", "dkim:pass:example.com", "pass reject/p @example.com dkim"},
		{"EXAMPLE.com", "spf:pass:mail.example.com dkim:pass:a.b.example.com", "pass reject/p @example.com spf dkim"},
		{"example.com", "spf:fail:example.com dkim:fail:example.com", "fail reject/p @example.com"},
		{"example.com", "spf:softfail:example.com dkim:policy:example.com", "fail reject/p @example.com"},
		{"example.com", "spf:pass:other.test dkim:pass:example.org", "fail reject/p @example.com"},
		{"example.com", "spf:pass:notexample.com", "fail reject/p @example.com"},
		{"example.com", "dkim:fail:example.com dkim:pass:example.com dkim:pass:other.test", "pass reject/p @example.com dkim"},
		// Subdomains: the record above, sp where the name exists, np where not.
		{"host.example.com", "", "fail quarantine/sp @example.com"},
		{"missing.example.com", "", "fail reject/np @example.com"},
		{"host.example.com", "spf:pass:example.com", "pass quarantine/sp @example.com spf"},
		{"own.example.com", "", "fail none/p @own.example.com"},
		{"own.example.com", "dkim:pass:example.com", "pass none/p @own.example.com dkim"}, // example.com is the organization of both
		{"x.own.example.com", "", "fail reject/np @example.com"},
		{"a.b.c.d.e.f.g.h.i.j.host.example.com", "", "fail reject/np @example.com"},
		// Strict alignment.
		{"strict.example", "spf:pass:mail.strict.example dkim:pass:mail.strict.example", "fail reject/p @strict.example"},
		{"strict.example", "dkim:pass:strict.example", "pass reject/p @strict.example dkim"},
		{"sub.strict.example", "dkim:pass:strict.example", "fail reject/p @strict.example"},
		// Public suffixes.
		{"reg.psd.example", "dkim:pass:mail.reg.psd.example", "pass reject/p @reg.psd.example dkim"},
		{"reg.psd.example", "dkim:pass:psd.example", "fail reject/p @reg.psd.example"},
		{"there.psd.example", "dkim:pass:reg.psd.example", "fail none/sp @psd.example"},
		{"gone.psd.example", "", "fail reject/np @psd.example"},
		{"there.psd.example", "dkim:pass:x.there.psd.example", "pass none/sp @psd.example dkim"},
		{"psd.example", "", "fail quarantine/p @psd.example"},
		{"psd.example", "spf:pass:psd.example", "pass quarantine/p @psd.example spf"},
		{"a.own.psd.example", "dkim:pass:b.own.psd.example", "pass none/p @a.own.psd.example dkim"},
		{"b.own.psd.example", "dkim:pass:reg.psd.example", "fail reject/p @own.psd.example"},
		{"apart.example.com", "dkim:pass:example.com", "fail reject/p @apart.example.com"},
		{"x.apart.example.com", "dkim:pass:y.apart.example.com", "pass reject/p @apart.example.com dkim"},
		// The walk: several records count as none, the name with the fewest labels wins.
		{"twice.example.com", "", "fail quarantine/sp @example.com"},
		{"mixed.example.com", "", "fail none/p @mixed.example.com"},
		{"alias.example", "", "fail reject/p @alias.example"},
		{"x.e.f.g.deep.example", "", "fail reject/p @deep.example"},
		{"none.test", "spf:pass:none.test", "none /"},
		{"", "", "none /"},
		{"bücher.example", "dkim:pass:xn--bcher-kva.example", "pass reject/p @xn--bcher-kva.example dkim"},
		// Bad policies.
		{"bad.example", "dkim:pass:bad.example", "permerror / @bad.example"},
		{"badrua.example", "", "fail none/p @badrua.example"},
		// Trouble counts only where it could hide a pass.
		{"trouble.example", "spf:pass:trouble.example", "temperror /"},
		{"x.trouble.example", "", "temperror /"},
		{"example.com", "spf:temperror:example.com", "temperror reject/p @example.com"},
		{"example.com", "spf:temperror:other.test", "fail reject/p @example.com"},
		{"example.com", "dkim:temperror:mail.example.com dkim:pass:example.com", "pass reject/p @example.com dkim"},
		{"strict.example", "dkim:temperror:mail.strict.example", "fail reject/p @strict.example"},
		{"halftrouble.example", "spf:pass:sub.halftrouble.example", "temperror reject/p @halftrouble.example"},
		{"x.nptrouble.example", "", "temperror / @nptrouble.example"},
	} {
		s, d := proofs(t, c.proofs)
		r := dmarc.New(dmarc.Options{Resolver: resolver}).Check(t.Context(), domain(t, c.from), s, d)
		got := fmt.Sprintf("%s %s/%s", r.Value, r.Policy, r.Tag)
		for _, add := range []struct {
			on   bool
			text string
		}{{!r.PolicyDomain.IsZero(), " @" + r.PolicyDomain.String()}, {r.SPFAligned, " spf"}, {r.DKIMAligned, " dkim"}} {
			if add.on {
				got += add.text
			}
		}
		if got != c.want {
			t.Errorf("%s with %q:\n got %s (%s)\nwant %s", c.from, c.proofs, got, r.Reason, c.want)
		}
		if (r.Value == "temperror" || r.Value == "permerror") == (r.Reason == "") && r.Value != "none" {
			t.Errorf("%s: %s with reason %q", c.from, r.Value, r.Reason)
		}
	}
}

func TestFactsOfTheRecord(t *testing.T) {
	checker := dmarc.New(dmarc.Options{Resolver: newServer(t).Resolver(t)})
	r := checker.Check(t.Context(), domain(t, "test.example"), spf.Result{}, nil)
	if !r.Testing || !r.HasT || r.Pct != 10 || r.Policy != "reject" || r.Record == nil {
		t.Errorf("%+v", r)
	}
	r = checker.Check(t.Context(), domain(t, "pct.example"), spf.Result{}, nil)
	if r.Testing || r.HasT || r.Pct != 10 {
		t.Errorf("%+v", r)
	}
	r = checker.Check(t.Context(), domain(t, "none.test"), spf.Result{}, nil)
	if r.Pct != 100 || r.Record != nil {
		t.Errorf("%+v", r)
	}
}

func TestOrganizationalDomainIsReported(t *testing.T) {
	checker := dmarc.New(dmarc.Options{Resolver: newServer(t).Resolver(t)})
	for from, c := range map[string][2]string{
		"psd.example":       {"x.psd.example", "psd.example"}, // its own: there is nothing one label below
		"there.psd.example": {"", "there.psd.example"},
		"own.example.com":   {"example.com", "example.com"},
		"host.example.com":  {"", "example.com"},
	} {
		s := spf.Result{}
		if c[0] != "" {
			s = spf.Result{Value: "pass", Domain: domain(t, c[0])}
		}
		if r := checker.Check(t.Context(), domain(t, from), s, nil); r.OrgDomain.String() != c[1] {
			t.Errorf("%s: %s, want %s", from, r.OrgDomain, c[1])
		}
	}
}

// One check asks each name once, however many signatures there are.
func TestQueriesAreBounded(t *testing.T) {
	s := newServer(t)
	_, signatures := proofs(t, strings.Repeat("dkim:pass:a.b.c.d.e.f.g.h.other.com ", 50))
	from := domain(t, "q.w.e.r.t.y.u.i.o.p.example.com")
	r := dmarc.New(dmarc.Options{Resolver: s.Resolver(t)}).Check(t.Context(), from, spf.Result{}, signatures)
	if r.Value != "fail" || s.Total() > 17 { // two walks and the question whether From exists
		t.Errorf("%s after %d queries", r.Value, s.Total())
	}
	if n := s.Queries("_dmarc.com", "TXT"); n != 1 {
		t.Errorf("_dmarc.com was asked %d times", n)
	}
}

// np= was applied to a name that exists as an alias, because the target of the
// alias does not exist.
func TestAliasOfNothingExists(t *testing.T) {
	s := newServer(t)
	s.Add(t, `dangling.example.com. 60 IN CNAME gone.test.`)
	checker := dmarc.New(dmarc.Options{Resolver: s.ResolverWith(t, dnsx.Options{})})
	for from, want := range map[string]string{"dangling.example.com": "sp", "gone.example.com": "np"} {
		if r := checker.Check(t.Context(), domain(t, from), spf.Result{}, nil); r.Tag != want || r.Value != "fail" {
			t.Errorf("%s: %+v", from, r)
		}
	}
}

// A stranger who signed with a domain of his own whose servers are in trouble
// left it open whether the author passed: a forgery was deferred, and with
// temperror: accept taken in.
func TestTroubleOfAStrangersDomainIsNone(t *testing.T) {
	s := newServer(t)
	checker := dmarc.New(dmarc.Options{Resolver: s.Resolver(t)})
	for _, name := range []string{"evil.com", "a.b.evil.com", "notexample.com"} {
		s.Fail("_dmarc."+name, "TXT", dnstest.ServFail)
		s.Fail("_dmarc.b."+name, "TXT", dnstest.ServFail)
		for _, list := range []string{"dkim:pass:" + name, "spf:pass:" + name, "dkim:temperror:" + name + " spf:temperror:" + name} {
			sender, signatures := proofs(t, list)
			if r := checker.Check(t.Context(), domain(t, "example.com"), sender, signatures); r.Value != "fail" {
				t.Errorf("%s: %+v", list, r)
			}
		}
		if n := s.Queries("_dmarc."+name, "TXT"); n != 0 {
			t.Errorf("%d questions about %s", n, name)
		}
	}
}

// Ten signatures in slow zones, each with a walk of eight names, kept a session
// busy for minutes.
func TestTimeLimit(t *testing.T) {
	s := newServer(t)
	var list string
	for i := range 10 {
		name := fmt.Sprintf("a.b.c.d.e.f.g.slow%d.example.com", i)
		s.Fail("_dmarc."+name, "TXT", dnstest.Timeout)
		list += " dkim:pass:" + name
	}
	resolver := s.ResolverWith(t, dnsx.Options{TryTimeout: 2 * time.Second, Timeout: 2 * time.Second})
	checker := dmarc.New(dmarc.Options{Resolver: resolver, TimeLimit: 100 * time.Millisecond})
	start := time.Now()
	_, d := proofs(t, list)
	if r := checker.Check(t.Context(), domain(t, "example.com"), spf.Result{}, d); r.Value != "temperror" || r.Policy != "reject" || time.Since(start) > 5*time.Second {
		t.Errorf("%+v after %s", r, time.Since(start))
	}
	_, d = proofs(t, list+" dkim:pass:example.com")
	if r := checker.Check(t.Context(), domain(t, "example.com"), spf.Result{}, d); r.Value != "pass" {
		t.Errorf("a signature of the author behind them: %+v", r)
	}
}
