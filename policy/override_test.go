package policy

import (
	"errors"
	"strings"
	"testing"
	"time"

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
