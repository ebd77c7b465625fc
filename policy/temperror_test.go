package policy

import (
	"strings"
	"testing"

	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/mail"
)

func TestTemporaryTroubleDefersOnlyWhereItMatters(t *testing.T) {
	author, other := "author.example", "other.example"
	spfTrouble := func(d string) func(*Options, *proofs) {
		return func(_ *Options, p *proofs) { p.spf, p.dmarc = spfResult(t, "temperror", d), policyOf("reject") }
	}
	recordTrouble := func(_ *Options, p *proofs) { p.dmarc = dmarc.Result{Value: "temperror"} }
	for _, c := range []struct {
		name   string
		change []func(*Options, *proofs)
		defers bool
		accept Action // with temperror: accept
	}{
		{"SPF of the author", []func(*Options, *proofs){spfTrouble(author)}, true, Accept},
		{"SPF of another domain cannot align", []func(*Options, *proofs){spfTrouble(other)}, false, Reject},
		{"SPF, but DKIM passes", []func(*Options, *proofs){spfTrouble(author), func(_ *Options, p *proofs) {
			p.dkim = []dkim.Result{dkimResult(t, "pass", author)}
		}}, false, Accept},
		{"SPF, p=none", []func(*Options, *proofs){spfTrouble(author), func(_ *Options, p *proofs) { p.dmarc = policyOf("none") }}, false, Accept},
		{"SPF, p=none, but SPF alone rejects", []func(*Options, *proofs){spfTrouble(author), func(o *Options, p *proofs) {
			p.dmarc, o.SPF.Fail = policyOf("none"), "reject"
		}}, true, Accept},
		{"SPF, t=y lowers quarantine to none", []func(*Options, *proofs){spfTrouble(author), func(_ *Options, p *proofs) {
			p.dmarc = dmarc.Result{Policy: "quarantine", HasT: true, Testing: true}
		}}, false, Accept},
		{"DKIM key of the author", []func(*Options, *proofs){func(_ *Options, p *proofs) {
			p.dkim, p.dmarc = []dkim.Result{dkimResult(t, "temperror", author)}, policyOf("quarantine")
		}}, true, Accept},
		{"DKIM key, but SPF passes", []func(*Options, *proofs){func(_ *Options, p *proofs) {
			p.dkim, p.dmarc = []dkim.Result{dkimResult(t, "temperror", author)}, policyOf("reject")
			p.spf = spfResult(t, "pass", author)
		}}, false, Accept},
		{"DKIM key of another domain", []func(*Options, *proofs){func(_ *Options, p *proofs) {
			p.dkim, p.dmarc = []dkim.Result{dkimResult(t, "temperror", other)}, policyOf("reject")
		}}, false, Reject},
		{"record, nothing passes", []func(*Options, *proofs){recordTrouble}, true, Accept},
		{"record, the author passes", []func(*Options, *proofs){recordTrouble, func(_ *Options, p *proofs) {
			p.spf = spfResult(t, "pass", author)
		}}, false, Accept},
		{"record, but SPF alone rejects anyway", []func(*Options, *proofs){recordTrouble, func(o *Options, p *proofs) {
			p.spf, o.SPF.Fail = spfResult(t, "fail", author), "reject"
		}}, false, Reject},
		{"record, the ramp is at zero: quarantine at most", []func(*Options, *proofs){recordTrouble, func(o *Options, _ *proofs) {
			o.DMARC.EnforcePercent = 0
		}}, true, Accept},
		{"record, and DMARC is off", []func(*Options, *proofs){recordTrouble, func(o *Options, _ *proofs) { o.DMARC.Enabled = false }}, false, Accept},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &proofs{spf: spfResult(t, "none", author)}
			o := options(t, p)
			for _, change := range c.change {
				change(&o, p)
			}
			f, v := judge(t, o)
			if (v.Action == Defer) != c.defers || c.defers && (v.Rule != "temperror" || v.Reply.Code != 451) {
				t.Errorf("got %+v\n%+v", v, f.Steps)
			}
			if !c.defers && v.Action != c.accept {
				t.Errorf("undeferred: got %s, want %s", v.Action, c.accept)
			}
			o.DMARC.TempError = "accept"
			if f, v := judge(t, o); v.Action != c.accept {
				t.Errorf("temperror: accept: got %+v, want %s\n%+v", v, c.accept, f.Steps)
			}
			o.DMARC.TempError, o.Mode = "", ModeMonitor
			if _, v := judge(t, o); v.Action != Accept || c.defers && v.Would != Defer {
				t.Errorf("monitor: got %+v", v)
			}
		})
	}
}

// While the reverse DNS of a forwarder gave no answer, its override did not
// hold, and mail was refused for good that should have been deferred.
func TestOverrideByClientWithoutReverseDNSDefers(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Options, *proofs)
		want   Action
	}{
		{"the override would hold", func(*Options, *proofs) {}, Defer},
		{"it is of another author", func(o *Options, _ *proofs) { o.Overrides[0].From = domain(t, "other.example") }, Reject},
		{"it is expired", func(o *Options, _ *proofs) { o.Overrides[0].Until = today }, Reject},
		{"it is by DKIM", func(o *Options, _ *proofs) { o.Overrides[0].Forwarder = Forwarder{DKIM: "lists.example"} }, Reject},
		{"there is no name for certain", func(_ *Options, p *proofs) { p.iprev = nil }, Reject},
		{"the message passes", func(_ *Options, p *proofs) { p.spf = spfResult(t, "pass", "author.example") }, Accept},
		{"temperror: accept lets nobody in by trouble of his own", func(o *Options, _ *proofs) { o.DMARC.TempError = "accept" }, Reject},
	} {
		p := &proofs{spf: spfResult(t, "softfail", "author.example"), dmarc: policyOf("reject"), iprev: errDown}
		o := options(t, p)
		o.Overrides, o.Now = []Override{exception(t, Forwarder{Client: "lists.example"})}, fixed
		c.change(&o, p)
		f, v := judge(t, o)
		if v.Action != c.want || v.Action == Defer && (v.Rule != "temperror" || !strings.Contains(v.Reply.Text, "Reverse DNS of the client")) {
			t.Errorf("%s: %+v\n%+v", c.name, v, f.Steps)
		}
	}
}

// A stranger whose own DNS gives no answer got mail with two authors delivered
// that policy.bad_from holds: temperror: accept took the mildest outcome for
// the whole verdict.
func TestDNSTroubleDoesNotLetBadFromIn(t *testing.T) {
	for _, mode := range []string{ModeEnforce, ModeMonitor} {
		p := &proofs{spf: spfResult(t, "temperror", "author.example")}
		o := options(t, p)
		o.Mode, o.BadFrom, o.SPF.Fail, o.DMARC.TempError = mode, "quarantine", "reject", "accept"
		f, v, _ := engine(t, o).Content(t.Context(), stranger(), mail.Envelope{}, header(t, "From: a@author.example, b@author.example\r\n"), mail.MemoryBody(nil))
		action := v.Action
		if mode == ModeMonitor {
			action = v.Would
		}
		if action != Quarantine || v.Rule != "from-shape" {
			t.Errorf("%s: %+v\n%+v", mode, v, f.Steps)
		}
		sameAgain(t, o, stranger(), f, v)
	}
}
