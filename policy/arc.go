package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gatepost/auth/arc"
	"gatepost/auth/authres"
	"gatepost/auth/dkim"
	"gatepost/auth/spf"
	"gatepost/mail"
)

// trustedForwarder is the Override of a policy that a trusted sealer's word set
// aside (the reason of RFC 7489 appendix C).
const trustedForwarder = "trusted_forwarder"

// What a set of a chain says of the author's domain (Facts.Sealed).
const (
	saidPass    = "pass"    // it passed when the sealer saw it
	saidNothing = "nothing" // or that it failed, or what contradicts itself
	saidUnasked = "unasked" // that takes DNS, and the sealer was not trusted
)

// sealed is policy.arc: a message that fails DMARC is treated as if its author
// asked for nothing, where a trusted forwarder saw it pass (RFC 8617 section
// 7.2.1). It never acts; it only changes what the rules behind it go by.
func (e *Engine) sealed(j *judgement) finding {
	return finding{reason: e.relyOnARC(&j.facts)}
}

// asksForChains tells whether chains matter here, so that it is worth saying
// that there is none.
func (e *Engine) asksForChains() bool {
	byARC := func(o override) bool { return !o.sealer.IsZero() }
	return e.sealing || len(e.sealers) > 0 || slices.ContainsFunc(e.overrides, byARC)
}

// relyOnARC changes the disposition where the chain allows it, and says why it
// did or did not; nothing where the question does not arise.
func (e *Engine) relyOnARC(f *Facts) string {
	d := &f.Disposition
	if len(e.sealers) == 0 || d.Applied == "" || d.Applied == "none" || f.ARC.Value == "" || f.ARC.Value == arc.None {
		return ""
	}
	set, why := e.reliedOn(*f)
	if set == nil {
		return why
	}
	why = fmt.Sprintf("%s, trusted sealer of ARC set %d, saw %s pass: policy %s is not applied", set.Sealer, set.Instance, f.From.Domain(), d.Applied)
	d.Applied, d.Override, d.Sealer = "none", trustedForwarder, set.Sealer
	return why
}

// reliedOn finds the newest set whose findings speak for the author's domain,
// with nobody but trusted sealers from there to us: an older one can have been
// given anything by those who came after it. The newest message signature
// covers From, or the author could be another one than the sealers saw.
func (e *Engine) reliedOn(f Facts) (set *arc.Set, why string) {
	switch {
	case f.ARC.Value != arc.Pass:
		return nil, "ARC chain does not pass: " + f.ARC.Reason
	case !f.ARC.FromSigned:
		return nil, "the newest ARC-Message-Signature does not cover From"
	}
	for i := len(f.ARC.Sets) - 1; i >= 0; i-- {
		set := &f.ARC.Sets[i]
		switch {
		case !e.trusts(set):
			return nil, fmt.Sprintf("ARC set %d is sealed by %s, which is not a trusted sealer", set.Instance, set.Sealer)
		case f.said(i) == saidPass:
			return set, ""
		}
	}
	return nil, fmt.Sprintf("no ARC set says that %s passed", f.From.Domain())
}

func (e *Engine) trusts(set *arc.Set) bool { return e.sealers[set.Sealer] && e.sealers[set.Signer] }

// said is what set i says of the author's domain.
func (f *Facts) said(i int) string {
	if i < len(f.Sealed) {
		return f.Sealed[i]
	}
	return saidNothing
}

// hasSeals tells whether f holds what the sealers that this engine trusts say:
// another policy may trust more than the one that the facts were gathered for.
func (e *Engine) hasSeals(f Facts) bool {
	if d := e.disposition(f); f.DMARC.Value != "temperror" && (d.Applied == "" || d.Applied == "none") {
		return true
	}
	unasked := false
	for i := len(f.ARC.Sets) - 1; i >= 0 && e.trusts(&f.ARC.Sets[i]); i-- {
		if f.said(i) == saidPass {
			return true
		}
		unasked = unasked || f.said(i) == saidUnasked
	}
	return !unasked
}

// hearSealers reads what the sets say of the author's domain: all of them, so
// that another list of trusted sealers can be tried on the facts later. Only
// for a trusted sealer it asks DNS, which names of strangers could keep busy.
func (e *Engine) hearSealers(ctx context.Context, f Facts) []string {
	if f.From.IsNull() || !f.ARC.FromSigned || f.ARC.Value != arc.Pass && !f.ARC.Temporary {
		return nil
	}
	out := make([]string, len(f.ARC.Sets))
	for i := range f.ARC.Sets {
		set := &f.ARC.Sets[i]
		heard := hear(f.From.Domain(), set.Findings)
		switch {
		case heard.said == saidUnasked && e.proofs.DMARC == nil:
			heard.said = saidNothing
		case heard.said == saidUnasked && e.trusts(set):
			heard.said = saidNothing
			if e.proofs.DMARC.Check(ctx, f.From.Domain(), heard.spf, heard.signatures).Value == "pass" {
				heard.said = saidPass
			}
		}
		out[i] = heard.said
	}
	return out
}

// heard is what findings say of the author's domain; saidUnasked where that
// hangs on the alignment of spf and signatures by the record of today.
type heard struct {
	said       string
	spf        spf.Result
	signatures []dkim.Result
}

// hear reads findings. They say that DMARC passed for from; or, where they say
// nothing about DMARC, that SPF or DKIM passed for somebody. Findings that
// contradict each other say nothing.
func hear(from mail.Domain, findings []authres.Method) heard {
	h, spfs := heard{said: saidNothing}, []spf.Result(nil)
	for _, m := range findings {
		switch {
		case m.Name == "dmarc" && m.Result != "none":
			author, ok := m.Prop("header", "from")
			if m.Result != "pass" || !ok || domainIn(author) != from {
				return heard{said: saidNothing}
			}
			h.said = saidPass
		case m.Name == "spf":
			sender, _ := m.Prop("smtp", "mailfrom")
			spfs = append(spfs, spf.Result{Value: m.Result, Domain: domainIn(sender), Identity: "mailfrom"})
		case m.Name == "dkim" && m.Result == "pass":
			h.signatures = append(h.signatures, dkim.Result{Value: "pass", Domain: signerIn(m)})
		}
	}
	if len(spfs) == 1 && spfs[0].Value == "pass" {
		h.spf = spfs[0]
	}
	if h.said != saidPass && (h.spf.Value != "" || len(h.signatures) > 0) {
		h.said = saidUnasked
	}
	return h
}

// signerIn is d=, or the domain of i= where that alone was recorded.
func signerIn(m authres.Method) mail.Domain {
	if d, ok := m.Prop("header", "d"); ok {
		return domainIn(d)
	}
	i, _ := m.Prop("header", "i")
	return domainIn(i)
}

// domainIn is the domain of an address or a bare domain, zero without one.
func domainIn(s string) mail.Domain {
	d, err := mail.ParseDomain(s[strings.LastIndexByte(s, '@')+1:])
	if err != nil {
		return mail.Domain{}
	}
	return d
}

// supposedARC is what a chain may still come to whose key DNS left open.
func supposedARC(r arc.Result) []arc.Result {
	if !r.Temporary {
		return []arc.Result{r}
	}
	pass, fail := r, r
	pass.Value, pass.Temporary, fail.Temporary = arc.Pass, false, false
	return []arc.Result{pass, fail}
}

// arcText is the chain in one word for the line of proofs.
func arcText(r arc.Result) string {
	if r.Value == "" {
		return ""
	}
	var sealers []string
	for _, s := range r.Sets[max(0, len(r.Sets)-5):] {
		sealers = append(sealers, s.Sealer.String())
	}
	return fmt.Sprintf(" arc=%s(%s)", r.Value, strings.Join(sealers, ","))
}
