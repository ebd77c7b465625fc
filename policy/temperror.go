package policy

import (
	"context"
	"fmt"
	"slices"

	"gatepost/auth/dkim"
	"gatepost/auth/spf"
	"gatepost/mail"
)

// temporaryTrouble defers a message whose verdict hangs on DNS that does not
// answer now (RFC 7208 section 8.6, RFC 6376 section 6.1.2). It supposes each
// answer that may still come and asks the later rules: where all lead to the
// same action, waiting would change nothing.
func (e *Engine) temporaryTrouble(ctx context.Context, j *judgement) finding {
	what := j.facts.troubled()
	if len(what) == 0 {
		return finding{}
	}
	actions := e.possibleActions(ctx, j)
	if len(actions) == 1 {
		return finding{reason: fmt.Sprintf("no DNS answer for %s, but every answer would lead to %s", what[0], actions[0])}
	}
	if !e.dmarc.deferTrouble {
		mildest := slices.MinFunc(actions, func(a, b Action) int { return a.severity() - b.severity() })
		return finding{action: mildest, final: true, domain: j.facts.From.Domain(),
			reason: fmt.Sprintf("no DNS answer for %v, temperror: accept takes the mildest of %v", what, actions)}
	}
	reply, domain := mail.ReplyDMARCDefer, j.facts.From.Domain()
	if j.facts.SPF.Value == "temperror" {
		reply, domain = mail.ReplySPFDefer, j.facts.SPF.Domain
	}
	text := fmt.Sprintf("DNS of %s gives no answer now, try again later", domain)
	return finding{action: Defer, final: true, domain: domain, reply: reply.WithText(text),
		reason: fmt.Sprintf("no DNS answer for %v, which could change the outcome: %v", what, actions)}
}

// troubled names the proofs that DNS left open.
func (f *Facts) troubled() []string {
	var what []string
	if f.SPF.Value == "temperror" {
		what = append(what, "spf of "+f.SPF.Domain.String())
	}
	for _, sig := range f.DKIM {
		if sig.Value == "temperror" {
			what = append(what, "dkim key of "+sig.Domain.String())
		}
	}
	if f.DMARC.Value == "temperror" {
		what = append(what, "dmarc policy of "+f.From.Domain().String())
	}
	return what
}

// possibleActions is what the message may still come to, each action once.
func (e *Engine) possibleActions(ctx context.Context, j *judgement) []Action {
	var actions []Action
	for _, s := range supposedSPF(j.facts.SPF) {
		for _, signatures := range supposedDKIM(j.facts.DKIM) {
			supposed := j.facts
			supposed.SPF, supposed.DKIM = s, signatures
			for _, a := range e.actionsOf(ctx, j, supposed) {
				if !slices.Contains(actions, a) {
					actions = append(actions, a)
				}
			}
		}
	}
	return actions
}

// actionsOf asks the later rules about supposed facts. DMARC may still be open
// then, because the policy record or an organizational domain cannot be found:
// the message passes, or the policy applies, and where that is unknown, any.
func (e *Engine) actionsOf(ctx context.Context, j *judgement, f Facts) []Action {
	fromSPF := stronger(e.judgeSPF(f).action, Accept)
	if !e.dmarc.enabled || e.proofs.DMARC == nil || f.From.IsNull() {
		return []Action{fromSPF}
	}
	f.DMARC = e.proofs.DMARC.Check(ctx, f.From.Domain(), f.SPF, f.DKIM)
	open := f.DMARC.Value == "temperror" && !f.passesAsAuthor()
	policies := []string{f.DMARC.Policy}
	if open && f.DMARC.Policy == "" {
		policies = levels
	}
	var actions []Action
	if open {
		actions, f.DMARC.Value = []Action{fromSPF}, "fail"
	}
	for _, level := range policies {
		f.DMARC.Policy = level
		f.Disposition = e.disposition(f.DMARC, j.draw(e.sampleKey))
		actions = append(actions, stronger(fromSPF, e.judgeDMARC(f).action))
	}
	return actions
}

func stronger(a, b Action) Action {
	if a.severity() > b.severity() {
		return a
	}
	return b
}

// passesAsAuthor tells whether SPF or DKIM passes for the very domain of From,
// which is aligned under every record (RFC 9989 section 4.4).
func (f *Facts) passesAsAuthor() bool {
	author := f.From.Domain()
	if f.SPF.Value == "pass" && f.SPF.Domain == author {
		return true
	}
	return slices.ContainsFunc(f.DKIM, func(r dkim.Result) bool { return r.Value == "pass" && r.Domain == author })
}

func supposedSPF(r spf.Result) []spf.Result {
	if r.Value != "temperror" {
		return []spf.Result{r}
	}
	var out []spf.Result
	for _, value := range []string{"pass", "softfail", "fail"} {
		r.Value = value
		out = append(out, r)
	}
	return out
}

func supposedDKIM(signatures []dkim.Result) [][]dkim.Result {
	open := slices.ContainsFunc(signatures, func(r dkim.Result) bool { return r.Value == "temperror" })
	if !open {
		return [][]dkim.Result{signatures}
	}
	var out [][]dkim.Result
	for _, value := range []string{"pass", "fail"} {
		supposed := slices.Clone(signatures)
		for i := range supposed {
			if supposed[i].Value == "temperror" {
				supposed[i].Value = value
			}
		}
		out = append(out, supposed)
	}
	return out
}
