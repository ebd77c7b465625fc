package policy

import (
	"strings"
	"testing"

	"gatepost/auth/arc"
	"gatepost/auth/authres"
	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
	"gatepost/mail"
)

const sealedText = "ARC-Seal: i=1\r\nFrom: a@author.example\r\nTo: bob@example.com\r\nMessage-ID: <1@author.example>\r\n"

// chain is a chain that passes; each set is "sealer findings".
func chain(t testing.TB, sets ...string) arc.Result {
	t.Helper()
	r := arc.Result{Value: arc.Pass, FromSigned: true}
	for i, s := range sets {
		sealer, findings, _ := strings.Cut(s, " ")
		_, methods, err := authres.Read("mx; " + findings)
		if err != nil {
			t.Fatal(err)
		}
		d := domain(t, sealer)
		r.Sets = append(r.Sets, arc.Set{Instance: i + 1, Sealer: d, Signer: d, Findings: methods})
	}
	return r
}

// judgeSealed judges a message of author.example, which fails DMARC, with one
// trusted sealer, list.example.
func judgeSealed(t *testing.T, r arc.Result, change ...func(*Options, *proofs)) (Facts, Verdict) {
	t.Helper()
	p := &proofs{spf: spfResult(t, "fail", "author.example"), dmarc: policyOf("reject"), arc: r}
	o := options(t, p)
	o.TrustedSealers = []string{"list.example", "LIST2.example"}
	for _, c := range change {
		c(&o, p)
	}
	h := header(t, sealedText)
	facts, v, _ := engine(t, o).Content(t.Context(), stranger(), mail.Envelope{}, h, mail.MemoryBody([]byte(sealedText+"\r\n")))
	sameAgain(t, o, stranger(), facts, v)
	return facts, v
}

func TestTrustedSealer(t *testing.T) {
	const passed = "dmarc=pass header.from=author.example"
	for _, c := range []struct {
		name   string
		sets   []string
		relied string // sealer, empty where the policy stays
	}{
		{"trusted", []string{"list.example " + passed}, "list.example"},
		{"two trusted", []string{"list.example " + passed, "list2.example dmarc=fail header.from=author.example; arc=pass"}, "list.example"},
		{"trusted behind a stranger", []string{"evil.example none", "list.example " + passed}, "list.example"},
		{"stranger behind the trusted", []string{"list.example " + passed, "evil.example none"}, ""},
		{"stranger between", []string{"list.example " + passed, "evil.example none", "list.example arc=pass"}, ""},
		{"stranger alone", []string{"evil.example " + passed}, ""},
		{"subdomain of the trusted", []string{"a.list.example " + passed}, ""},
		{"another author", []string{"list.example dmarc=pass header.from=other.example"}, ""},
		{"subdomain of the author", []string{"list.example dmarc=pass header.from=sub.author.example"}, ""},
		{"no author", []string{"list.example dmarc=pass"}, ""},
		{"two authors", []string{"list.example dmarc=pass header.from=author.example header.from=other.example"}, ""},
		{"it failed", []string{"list.example dmarc=fail header.from=author.example; spf=pass smtp.mailfrom=a@author.example"}, ""},
		{"it failed and passed", []string{"list.example " + passed + "; dmarc=fail header.from=author.example"}, ""},
		{"aligned SPF", []string{"list.example spf=pass smtp.mailfrom=a@author.example"}, "list.example"},
		{"aligned SPF, no record", []string{"list.example dmarc=none; spf=pass smtp.mailfrom=author.example"}, "list.example"},
		{"two SPF results", []string{"list.example spf=pass smtp.mailfrom=a@author.example; spf=fail smtp.mailfrom=a@author.example"}, ""},
		{"HELO", []string{"list.example spf=pass smtp.helo=author.example"}, ""},
		{"SPF of another", []string{"list.example spf=pass smtp.mailfrom=a@other.example"}, ""},
		{"SPF failed", []string{"list.example spf=fail smtp.mailfrom=a@author.example"}, ""},
		{"aligned DKIM", []string{"list.example dkim=fail header.d=other.example; dkim=pass header.d=author.example"}, "list.example"},
		{"aligned DKIM by i=", []string{"list.example dkim=pass header.i=@author.example"}, "list.example"},
		{"DKIM of another", []string{"list.example dkim=pass header.d=other.example header.i=@author.example"}, ""},
		{"DKIM failed", []string{"list.example dkim=fail header.d=author.example"}, ""},
		{"a quoted lie", []string{`list.example dmarc=fail reason="dmarc=pass header.from=author.example" header.from=author.example`}, ""},
		{"the property of another method", []string{"list.example spf=pass header.from=author.example; dkim=pass smtp.mailfrom=author.example"}, ""},
	} {
		facts, v := judgeSealed(t, chain(t, c.sets...))
		d := facts.Disposition
		if c.relied == "" {
			if v.Action != Reject || v.Rule != "dmarc" || d.Override != "" || !d.Sealer.IsZero() {
				t.Errorf("%s: %+v, %+v", c.name, v, d)
			}
			continue
		}
		if v.Action != Accept || d.Override != "trusted_forwarder" || d.Applied != "none" || d.Requested != "reject" || d.Sealer.String() != c.relied {
			t.Errorf("%s: %+v, %+v", c.name, v, d)
		}
	}
}

// TestChainMustHold: what the sealers claim counts for nothing in a chain that
// does not pass, or that leaves From open.
func TestChainMustHold(t *testing.T) {
	good := chain(t, "list.example dmarc=pass header.from=author.example")
	for name, spoil := range map[string]func(*arc.Result){
		"fail":     func(r *arc.Result) { r.Value = arc.Fail },
		"none":     func(r *arc.Result) { r.Value = arc.None },
		"From":     func(r *arc.Result) { r.FromSigned = false },
		"signer":   func(r *arc.Result) { r.Sets[0].Signer = domain(t, "evil.example") },
		"sealer":   func(r *arc.Result) { r.Sets[0].Sealer = domain(t, "evil.example") },
		"no sets":  func(r *arc.Result) { r.Sets = nil },
		"findings": func(r *arc.Result) { r.Sets[0].Findings = nil },
	} {
		r := good
		r.Sets = append([]arc.Set(nil), good.Sets...)
		spoil(&r)
		if facts, v := judgeSealed(t, r); v.Action != Reject || facts.Disposition.Override != "" {
			t.Errorf("%s: %+v, %+v", name, v, facts.Disposition)
		}
	}
	untrusting := func(o *Options, _ *proofs) { o.TrustedSealers = nil }
	if facts, v := judgeSealed(t, good, untrusting); v.Action != Reject || facts.ARC.Value != arc.Pass {
		t.Errorf("without trusted_sealers: %+v, %+v", v, facts.ARC)
	}
}

// TestSealedFacts: what was found stands in the field, in the steps and in the
// facts.
func TestSealedFacts(t *testing.T) {
	facts, _ := judgeSealed(t, chain(t, "list.example dmarc=pass header.from=author.example"))
	field := strings.ReplaceAll(string(facts.AuthenticationResults("mx.example.com")), "\r\n", "")
	for _, want := range []string{"arc=pass header.oldest-pass=0;", "dmarc=fail reason=\"policy reject, trusted_forwarder\"", "policy.dmarc=none"} {
		if !strings.Contains(field, want) {
			t.Errorf("no %s in %s", want, field)
		}
	}
	steps := ""
	for _, s := range facts.Steps {
		steps += s.Rule + ": " + s.Reason + "\n"
	}
	for _, want := range []string{"arc=pass(list.example)", "arc: list.example, trusted sealer of ARC set 1, saw author.example pass: policy reject is not applied"} {
		if !strings.Contains(steps, want) {
			t.Errorf("no %s in %s", want, steps)
		}
	}
	failed := arc.Result{Value: arc.Fail, Reason: "no key; dmarc=pass"}
	facts, _ = judgeSealed(t, failed)
	if field := string(facts.AuthenticationResults("mx")); !strings.Contains(field, `arc=fail reason="no key, dmarc:pass"`) {
		t.Errorf("failed chain: %s", field)
	}
}

// TestARCIsAskedOnlyWithFields: no field, no cost.
func TestARCIsAskedOnlyWithFields(t *testing.T) {
	asked := false
	p := &proofs{dmarc: policyOf("none"), wait: func(who string) {
		if who == "arc" {
			asked = true
		}
	}}
	o := options(t, p)
	judge := func(text string) Facts {
		facts, _, _ := engine(t, o).Content(t.Context(), stranger(), mail.Envelope{}, header(t, text), mail.MemoryBody([]byte(text+"\r\n")))
		return facts
	}
	if f := judge("From: a@author.example\r\n"); asked || f.ARC.Value != "" || strings.Contains(string(f.AuthenticationResults("mx")), " arc=") {
		t.Errorf("without fields: asked %v, %+v", asked, f.ARC)
	}
	o.TrustedSealers = []string{"list.example"}
	if f := judge("From: a@author.example\r\n"); asked || f.ARC.Value != arc.None || !strings.Contains(string(f.AuthenticationResults("mx")), " arc=none") {
		t.Errorf("with a trusted sealer: asked %v, %+v", asked, f.ARC)
	}
	if judge(sealedText); !asked {
		t.Error("not asked about a sealed message")
	}
}

// TestSealedTemporaryTrouble: a key that DNS leaves open defers only where the
// chain could save the message.
func TestSealedTemporaryTrouble(t *testing.T) {
	open := func(sets ...string) arc.Result {
		r := chain(t, sets...)
		r.Value, r.Temporary, r.Reason = arc.Fail, true, "key could not be looked up"
		return r
	}
	const passed = " dmarc=pass header.from=author.example"
	for _, c := range []struct {
		name string
		arc  arc.Result
		spf  spf.Result
		want Action
	}{
		{"could pass", open("list.example" + passed), spfResult(t, "fail", "author.example"), Defer},
		{"not trusted", open("evil.example" + passed), spfResult(t, "fail", "author.example"), Reject},
		{"SPF passes", open("list.example" + passed), spfResult(t, "pass", "author.example"), Accept},
		{"SPF is open, the chain passes", chain(t, "list.example"+passed), spfResult(t, "temperror", "author.example"), Accept},
		{"both are open", open("list.example" + passed), spfResult(t, "temperror", "author.example"), Defer},
	} {
		_, v := judgeSealed(t, c.arc, func(_ *Options, p *proofs) { p.spf = c.spf })
		if v.Action != c.want {
			t.Errorf("%s: %+v, want %s", c.name, v, c.want)
		}
	}
}

// TestSealedByAnotherPolicy: a stored chain is judged by another list of
// sealers, as far as its facts go.
func TestSealedByAnotherPolicy(t *testing.T) {
	const passed, aligned = " dmarc=pass header.from=author.example", " spf=pass smtp.mailfrom=a@author.example"
	untrusting := func(o *Options, _ *proofs) { o.TrustedSealers = nil }
	for _, c := range []struct {
		name      string
		sets      []string
		sealers   []string
		want      Action
		undecided bool
	}{
		{"DMARC passed", []string{"list.example" + passed}, []string{"list.example"}, Accept, false},
		{"still not trusted", []string{"list.example" + passed}, []string{"other.example"}, Reject, false},
		{"SPF passed", []string{"list.example" + aligned}, []string{"list.example"}, Reject, true},
		{"SPF passed, still not trusted", []string{"list.example" + aligned}, []string{"other.example"}, Reject, false},
		{"nothing passed", []string{"list.example spf=fail smtp.mailfrom=a@author.example"}, []string{"list.example"}, Reject, false},
		{"DMARC passed behind SPF", []string{"list.example" + aligned, "list.example" + passed}, []string{"list.example"}, Accept, false},
		{"SPF passed behind DMARC", []string{"list.example" + passed, "list.example" + aligned}, []string{"list.example"}, Accept, false},
		{"SPF passed behind a stranger", []string{"list.example" + aligned, "evil.example none"}, []string{"list.example"}, Reject, false},
	} {
		facts, v := judgeSealed(t, chain(t, c.sets...), untrusting)
		if v.Action != Reject || facts.Disposition.Override != "" {
			t.Errorf("%s, trusting nobody: %+v", c.name, v)
		}
		o := options(t, &proofs{})
		o.TrustedSealers, o.Proofs = c.sealers, Proofs{}
		d := engine(t, o).Decide(stranger(), facts)
		if d.Verdict.Action != c.want || d.Undecided != c.undecided {
			t.Errorf("%s: %+v, undecided %v", c.name, d.Verdict, d.Undecided)
		}
		o.TrustedSealers = nil // and back again
		if d := engine(t, o).Decide(stranger(), d.Facts); d.Verdict.Action != Reject || d.Undecided || !d.Facts.Disposition.Sealer.IsZero() {
			t.Errorf("%s, back again: %+v", c.name, d)
		}
	}
}

// TestSealedByAnotherPolicyInTrouble: where DNS left DMARC open, what a sealer
// that was not trusted saw may decide, and was not asked.
func TestSealedByAnotherPolicyInTrouble(t *testing.T) {
	for results, undecided := range map[string]bool{" spf=pass smtp.mailfrom=a@author.example": true, " spf=fail smtp.mailfrom=a@author.example": false} {
		facts, v := judgeSealed(t, chain(t, "list.example"+results), func(o *Options, p *proofs) {
			o.TrustedSealers, p.dmarc = nil, dmarc.Result{Value: "temperror"}
		})
		o := options(t, &proofs{})
		o.TrustedSealers, o.Proofs = []string{"list.example"}, Proofs{}
		if d := engine(t, o).Decide(stranger(), facts); v.Action != Defer || d.Undecided != undecided {
			t.Errorf("%s: %+v, then %+v", results, v, d)
		}
	}
}

// TestSealedAndOverrides: a seal sets DMARC's policy aside before overrides are
// asked, which stand for what is left; it proves nothing to domains[].spoofed.
func TestSealedAndOverrides(t *testing.T) {
	good := chain(t, "list.example dmarc=pass header.from=author.example")
	open := good
	open.Value, open.Temporary = arc.Fail, true
	override := func(action string) func(*Options, *proofs) {
		return func(o *Options, p *proofs) {
			x := exception(t, Forwarder{Client: "lists.example"})
			x.Action = action
			o.Overrides, o.Now, p.names = []Override{x}, fixed, []string{"lists.example"}
		}
	}
	spfRejects := func(o *Options, _ *proofs) { o.SPF.Fail = "reject" }
	ours := func(o *Options, _ *proofs) {
		o.Domains = append(o.Domains, Domain{Name: domain(t, "author.example"), AcceptAll: true, Spoofed: "quarantine"})
	}
	for _, c := range []struct {
		name   string
		arc    arc.Result
		change []func(*Options, *proofs)
		want   Action
		rule   string
		how    string // Disposition.Override
	}{
		{"nothing is left for the override", good, []func(*Options, *proofs){override("quarantine")}, Accept, "", trustedForwarder},
		{"SPF is left", good, []func(*Options, *proofs){spfRejects}, Reject, "spf", trustedForwarder},
		{"the override stands for SPF", good, []func(*Options, *proofs){override("tag"), spfRejects}, Tag, "override", "policy_override"},
		{"spoofed is left", good, []func(*Options, *proofs){ours}, Quarantine, "spoofed", trustedForwarder},
		{"the override stands for spoofed", good, []func(*Options, *proofs){ours, override("accept")}, Accept, "override", "policy_override"},
		{"the chain is open, SPF rejects all the same", open, []func(*Options, *proofs){spfRejects}, Reject, "spf", ""},
		{"the chain is open, the override accepts all the same", open, []func(*Options, *proofs){override("accept")}, Accept, "override", "policy_override"},
		{"the chain is open, the override tags", open, []func(*Options, *proofs){override("tag")}, Defer, "temperror", ""},
	} {
		f, v := judgeSealed(t, c.arc, c.change...)
		if v.Action != c.want || v.Rule != c.rule || c.how != "" && f.Disposition.Override != c.how {
			t.Errorf("%s: %+v, %+v\n%+v", c.name, v, f.Disposition, f.Steps)
		}
	}
}

func TestTrustedSealersAreDomains(t *testing.T) {
	o := options(t, &proofs{})
	o.TrustedSealers = []string{"list.example", "*.example", "[192.0.2.1]", ""}
	_, err := New(o)
	for _, path := range []string{"trusted_sealers[1]", "trusted_sealers[2]", "trusted_sealers[3]"} {
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("no error about %s: %v", path, err)
		}
	}
	if strings.Contains(err.Error(), "trusted_sealers[0]") {
		t.Error(err)
	}
}
