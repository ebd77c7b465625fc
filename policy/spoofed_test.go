package policy

import (
	"testing"

	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/mail"
)

func TestSpoofed(t *testing.T) {
	none := dmarc.Result{Value: "none"}
	spfOf := func(value, d string) func(*Options, *proofs) {
		return func(_ *Options, p *proofs) { p.spf = spfResult(t, value, d) }
	}
	dkimOf := func(value, d string) func(*Options, *proofs) {
		return func(_ *Options, p *proofs) { p.dkim = []dkim.Result{dkimResult(t, value, d)} }
	}
	record := func(level string) func(*Options, *proofs) {
		return func(_ *Options, p *proofs) { p.dmarc = policyOf(level) }
	}
	all := func(changes ...func(*Options, *proofs)) func(*Options, *proofs) {
		return func(o *Options, p *proofs) {
			for _, c := range changes {
				c(o, p)
			}
		}
	}
	asked := func(action string) func(*Options, *proofs) {
		return func(o *Options, _ *proofs) { o.Domains[0].Spoofed = action }
	}
	for _, c := range []struct {
		name, from string
		change     func(*Options, *proofs)
		want       Action
		rule       string
	}{
		{"ours, unproven", "a@example.com", asked("reject"), Reject, "spoofed"},
		{"quarantine", "a@example.com", asked("quarantine"), Quarantine, "spoofed"},
		{"tag", "a@example.com", asked("tag"), Tag, "spoofed"},
		{"the default", "a@example.com", asked(""), Accept, ""},
		{"a subdomain", "a@x.example.com", asked("reject"), Reject, "spoofed"},
		{"a subdomain that is a domain of its own", "a@y.example.com", asked("reject"), Accept, ""},
		{"below a domain of its own", "a@z.y.example.com", asked("reject"), Accept, ""},
		{"another domain", "a@badexample.com", asked("reject"), Accept, ""},
		{"a parent", "a@com", asked("reject"), Accept, ""},
		{"SPF passes", "a@example.com", all(asked("reject"), spfOf("pass", "example.com")), Accept, ""},
		{"SPF passes below", "a@example.com", all(asked("reject"), spfOf("pass", "news.example.com")), Accept, ""},
		{"SPF passes for another", "a@example.com", all(asked("reject"), spfOf("pass", "evil.example")), Reject, "spoofed"},
		{"SPF softfails", "a@example.com", all(asked("reject"), spfOf("softfail", "example.com")), Reject, "spoofed"},
		{"DKIM passes", "a@x.example.com", all(asked("reject"), dkimOf("pass", "example.com")), Accept, ""},
		{"DKIM fails", "a@example.com", all(asked("reject"), dkimOf("fail", "example.com")), Reject, "spoofed"},
		{"DKIM of another", "a@example.com", all(asked("reject"), dkimOf("pass", "evil-example.com")), Reject, "spoofed"},
		{"DMARC fails with p=none", "a@example.com", all(asked("reject"), record("none")), Reject, "spoofed"},
		{"DMARC is strict", "a@example.com", all(asked("reject"), record("none"), spfOf("pass", "news.example.com")), Reject, "spoofed"},
		{"DMARC passes", "a@example.com", all(asked("reject"), record("none"), spfOf("pass", "example.com")), Accept, ""},
		{"DMARC asks for more", "a@example.com", all(asked("tag"), record("reject")), Reject, "dmarc"},
		{"DMARC is off, SPF passes", "a@example.com", all(asked("reject"), spfOf("pass", "example.com"), func(o *Options, _ *proofs) { o.DMARC.Enabled = false }), Accept, ""},
		{"SPF may still pass", "a@example.com", all(asked("reject"), spfOf("temperror", "example.com")), Defer, "temperror"},
		{"an override for it", "a@example.com", all(asked("reject"), func(o *Options, p *proofs) {
			x := exception(t, Forwarder{Client: "lists.example"})
			x.From = domain(t, "example.com")
			o.Overrides, p.names = []Override{x}, []string{"lists.example"}
		}), Accept, "override"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &proofs{dmarc: none}
			o := options(t, p)
			o.Now = fixed
			o.Domains = append(o.Domains, Domain{Name: domain(t, "y.example.com"), AcceptAll: true})
			c.change(&o, p)
			h, env := header(t, "From: "+c.from+"\r\n"), mail.Envelope{From: address(t, "a@author.example")}
			f, v, _ := engine(t, o).Content(t.Context(), stranger(), env, h, mail.MemoryBody(nil))
			if v.Action != c.want || v.Rule != c.rule {
				t.Errorf("got %+v\n%+v", v, f.Steps)
			}
			// Relay sessions are trusted by their address or password.
			if _, v, _ := engine(t, o).Content(t.Context(), client("exchange"), env, h, mail.MemoryBody(nil)); v.Action != Accept {
				t.Errorf("relay: got %+v", v)
			}
		})
	}
}
