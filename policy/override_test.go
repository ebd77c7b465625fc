package policy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gatepost/auth/arc"
	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/mail"
)

var today = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func fixed() time.Time { return today }

// exception is an override for the author of judge's message.
func exception(t testing.TB, f Forwarder) Override {
	return Override{From: domain(t, "author.example"), Forwarder: f, Action: "accept", Until: today.AddDate(0, 1, 0), Note: "ticket 17"}
}

func TestOverride(t *testing.T) {
	byClient, byDKIM := Forwarder{Client: "lists.example"}, Forwarder{DKIM: "lists.example"}
	signed := func(value, d string) func(*Options, *proofs) {
		return func(_ *Options, p *proofs) { p.dkim = []dkim.Result{dkimResult(t, value, d)} }
	}
	named := func(name string) func(*Options, *proofs) {
		return func(_ *Options, p *proofs) { p.names = []string{name} }
	}
	for _, c := range []struct {
		name   string
		by     Forwarder
		change func(*Options, *proofs)
		want   Action
		rule   string
	}{
		{"signed by the forwarder", byDKIM, signed("pass", "lists.example"), Accept, "override"},
		{"its signature fails", byDKIM, signed("fail", "lists.example"), Reject, "dmarc"},
		{"signed below the forwarder", byDKIM, signed("pass", "x.lists.example"), Reject, "dmarc"},
		{"signed by another", byDKIM, signed("pass", "other.example"), Reject, "dmarc"},
		{"the client's name", byClient, named("lists.example"), Accept, "override"},
		{"below the client's name, fully written", byClient, named("out1.Lists.Example."), Accept, "override"},
		{"not on a label boundary", byClient, named("evillists.example"), Reject, "dmarc"},
		{"another client", byClient, named("lists.example.evil.example"), Reject, "dmarc"},
		{"a client without a confirmed name", byClient, func(*Options, *proofs) {}, Reject, "dmarc"},
		{"another author", byClient, func(o *Options, p *proofs) {
			p.names, o.Overrides[0].From = []string{"lists.example"}, domain(t, "www.author.example")
		}, Reject, "dmarc"},
		{"tag", byClient, func(o *Options, p *proofs) {
			p.names, o.Overrides[0].Action = []string{"lists.example"}, "tag"
		}, Tag, "override"},
		{"expired", byClient, func(o *Options, p *proofs) {
			p.names, o.Overrides[0].Until = []string{"lists.example"}, today
		}, Reject, "dmarc"},
		{"the last moment", byClient, func(o *Options, p *proofs) {
			p.names, o.Overrides[0].Until = []string{"lists.example"}, today.Add(time.Nanosecond)
		}, Accept, "override"},
		{"it stands for what SPF alone does too", byClient, func(o *Options, p *proofs) {
			p.names, o.SPF.Fail, p.dmarc = []string{"lists.example"}, "reject", policyOf("none")
			p.spf = spfResult(t, "fail", "author.example")
		}, Accept, "override"},
		{"proven mail needs none", byClient, func(o *Options, p *proofs) {
			p.names, o.Overrides[0].Action = []string{"lists.example"}, "quarantine"
			p.spf = spfResult(t, "pass", "author.example")
		}, Accept, ""},
		{"trouble that cannot change the outcome", byClient, func(_ *Options, p *proofs) {
			p.names, p.dmarc = []string{"lists.example"}, dmarc.Result{Value: "temperror"}
		}, Accept, ""},
		{"trouble with the key of the forwarder", byDKIM, signed("temperror", "lists.example"), Defer, "temperror"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &proofs{spf: spfResult(t, "softfail", "author.example"), dmarc: policyOf("reject")}
			o := options(t, p)
			o.Overrides, o.Now = []Override{exception(t, c.by)}, fixed
			c.change(&o, p)
			f, v := judge(t, o)
			if v.Action != c.want || v.Rule != c.rule {
				t.Fatalf("got %+v\n%+v", v, f.Steps)
			}
			over := c.rule == "override"
			if (f.Disposition.Override == "policy_override") != over || (f.Disposition.Note == "ticket 17") != over {
				t.Errorf("disposition %+v", f.Disposition)
			}
			if results := string(f.AuthenticationResults("mx.example")); over != strings.Contains(results, "policy_override") {
				t.Errorf("got %s", results)
			}
			o.Mode = ModeMonitor
			if _, v := judge(t, o); v.Action != Accept || c.want == Accept && v.Would != "" {
				t.Errorf("monitor: %+v", v)
			}
		})
	}
}

func TestOverridesAreNarrow(t *testing.T) {
	by := Forwarder{Client: "lists.example"}
	for path, change := range map[string]func(*Override){
		"policy.overrides[0].from":               func(o *Override) { o.From = mail.Domain{} },
		"policy.overrides[0].forwarder":          func(o *Override) { o.Forwarder = Forwarder{} },
		"policy.overrides[0].forwarder ":         func(o *Override) { o.Forwarder.DKIM = "lists.example" },
		"policy.overrides[0].forwarder.client":   func(o *Override) { o.Forwarder.Client = "*.lists.example" },
		"policy.overrides[0].forwarder.client ":  func(o *Override) { o.Forwarder.Client = "co.uk" },
		"policy.overrides[0].forwarder.client  ": func(o *Override) { o.Forwarder.Client = "github.io" },
		"policy.overrides[0].forwarder  ":        func(o *Override) { o.Forwarder.ARC = "lists.example" },
		"policy.overrides[0].forwarder   ":       func(o *Override) { o.Forwarder = Forwarder{ARC: "lists.example", DKIM: "lists.example"} },
		"policy.overrides[0].forwarder.arc":      func(o *Override) { o.Forwarder = Forwarder{ARC: "*.lists.example"} },
		"policy.overrides[0].forwarder.arc ":     func(o *Override) { o.Forwarder = Forwarder{ARC: "co.uk"} },
		"policy.overrides[0].forwarder.arc  ":    func(o *Override) { o.Forwarder = Forwarder{ARC: "[192.0.2.1]"} },
		"policy.overrides[0].forwarder.dkim":     func(o *Override) { o.Forwarder = Forwarder{DKIM: "com"} },
		"policy.overrides[0].action":             func(o *Override) { o.Action = "reject" },
		"policy.overrides[0].until":              func(o *Override) { o.Until = time.Time{} },
		"policy.overrides[0].until ":             func(o *Override) { o.Until = today.AddDate(1, 0, 2) },
		"policy.overrides[0].note":               func(o *Override) { o.Note = " " },
	} {
		o := options(t, &proofs{})
		o.Overrides, o.Now = []Override{exception(t, by)}, fixed
		change(&o.Overrides[0])
		_, err := New(o)
		field := (*FieldError)(nil)
		if !errors.As(err, &field) || field.Path != strings.TrimSpace(path) {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func TestOverrideWantsAConfirmedName(t *testing.T) {
	o := override{from: domain(t, "author.example"), client: domain(t, "lists.example")}
	f := Facts{From: address(t, "a@author.example"), IPRev: IPRev{Value: "pass", Name: "lists.example"}}
	if !o.matches(f) {
		t.Error("a confirmed name does not count")
	}
	f.IPRev.Value = "fail"
	if o.matches(f) {
		t.Error("a name that is not confirmed counts")
	}
}

// TestOverrideByARCSealer: the forwarder is whoever sealed last, in a chain
// that passes and covers From; nobody need be trusted for that.
func TestOverrideByARCSealer(t *testing.T) {
	changed := func(r arc.Result, change func(*arc.Result)) arc.Result {
		change(&r)
		return r
	}
	good := chain(t, "lists.example none")
	for _, c := range []struct {
		name string
		arc  arc.Result
		want Action
		rule string
	}{
		{"sealed by the forwarder", good, Accept, "override"},
		{"behind others", chain(t, "evil.example none", "other.example none", "lists.example dmarc=fail header.from=author.example"), Accept, "override"},
		{"others behind it", chain(t, "lists.example dmarc=pass header.from=author.example", "evil.example none"), Reject, "dmarc"},
		{"sealed below the forwarder", chain(t, "x.lists.example none"), Reject, "dmarc"},
		{"sealed above the forwarder", chain(t, "example none"), Reject, "dmarc"},
		{"the chain fails", changed(good, func(r *arc.Result) { r.Value, r.Reason = arc.Fail, "x" }), Reject, "dmarc"},
		{"From is not signed", changed(good, func(r *arc.Result) { r.FromSigned = false }), Reject, "dmarc"},
		{"signed by another", changed(chain(t, "lists.example none"), func(r *arc.Result) { r.Sets[0].Signer = domain(t, "evil.example") }), Reject, "dmarc"},
		{"sealed by another", changed(chain(t, "lists.example none"), func(r *arc.Result) { r.Sets[0].Sealer = domain(t, "evil.example") }), Reject, "dmarc"},
		{"no chain", arc.Result{Value: arc.None}, Reject, "dmarc"},
		{"a chain without sets", arc.Result{Value: arc.Pass, FromSigned: true}, Reject, "dmarc"},
		{"a key gives no answer", changed(good, func(r *arc.Result) { r.Value, r.Temporary = arc.Fail, true }), Defer, "temperror"},
		{"a key of a chain of others gives no answer", changed(chain(t, "evil.example none"), func(r *arc.Result) { r.Value, r.Temporary = arc.Fail, true }), Reject, "dmarc"},
	} {
		by := func(o *Options, _ *proofs) {
			o.TrustedSealers, o.Now = nil, fixed
			o.Overrides = []Override{exception(t, Forwarder{ARC: "lists.example"})}
		}
		f, v := judgeSealed(t, c.arc, by)
		if v.Action != c.want || v.Rule != c.rule || (f.Disposition.Override == "policy_override") != (c.rule == "override") {
			t.Errorf("%s: %+v, %+v", c.name, v, f.Disposition)
		}
		if c.rule == "override" && !strings.Contains(v.Reason, "by ARC seal of lists.example") {
			t.Errorf("%s: reason %q", c.name, v.Reason)
		}
		// A policy without the override gathers all that it needs.
		f, _ = judgeSealed(t, c.arc, func(o *Options, _ *proofs) { o.TrustedSealers = nil })
		o := options(t, &proofs{})
		by(&o, nil)
		o.Proofs = Proofs{}
		if d := engine(t, o).Decide(stranger(), f); d.Verdict.Action != c.want || d.Undecided {
			t.Errorf("%s, replayed: %+v, undecided %v", c.name, d.Verdict, d.Undecided)
		}
	}
}

// TestChainsAreMentioned: where chains matter, Authentication-Results says that
// there is none.
func TestChainsAreMentioned(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		want   bool
	}{
		"by default":       {func(*Options) {}, false},
		"trusted sealers":  {func(o *Options) { o.TrustedSealers = []string{"list.example"} }, true},
		"sealing":          {func(o *Options) { o.Sealing = true }, true},
		"override by ARC":  {func(o *Options) { o.Overrides = []Override{exception(t, Forwarder{ARC: "lists.example"})} }, true},
		"override by DKIM": {func(o *Options) { o.Overrides = []Override{exception(t, Forwarder{DKIM: "lists.example"})} }, false},
	} {
		o := options(t, &proofs{spf: spfResult(t, "pass", "author.example")})
		o.Now = fixed
		c.change(&o)
		f, _ := judge(t, o)
		if got := strings.Contains(string(f.AuthenticationResults("mx.example")), "arc=none"); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
