package policy

import (
	"context"
	"fmt"
	"slices"

	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/mail"
)

// temporaryTrouble defers a message whose verdict hangs on DNS that does not
// answer now (RFC 7208 section 8.6, RFC 6376 section 6.1.2). It supposes each
// answer that may still come and asks the later rules: where all lead to the
// same action, waiting would change nothing.
func (e *Engine) temporaryTrouble(j *judgement) finding {
	what, reverse := j.facts.troubled(), e.supposedReverse(j.facts)
	if len(reverse) > 1 {
		what = append(what, "the name of the client")
	}
	if len(what) == 0 {
		return finding{}
	}
	actions := e.possibleActions(j.facts)
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
	if len(what) == 1 && len(reverse) > 1 {
		text = "Reverse DNS of the client gives no answer now, try again later"
	}
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
	if f.ARC.Temporary {
		what = append(what, "a key of the ARC chain")
	}
	if f.DMARC.Value == "temperror" {
		what = append(what, "dmarc policy of "+f.From.Domain().String())
	}
	return what
}

// World is one way in which open questions to DNS may yet be answered.
type World struct {
	SPF   string       `json:"spf,omitempty"`  // in the place of temperror
	DKIM  string       `json:"dkim,omitempty"` // likewise
	DMARC dmarc.Result `json:"dmarc,omitzero"` // what DMARC makes of that
}

// worlds supposes each answer that may still come; none where nothing is open.
func (e *Engine) worlds(ctx context.Context, f Facts) []World {
	if len(f.troubled()) == 0 {
		return nil
	}
	spfValues, dkimValues := []string{""}, []string{""}
	if f.SPF.Value == "temperror" {
		spfValues = []string{"pass", "softfail", "fail"}
	}
	if slices.ContainsFunc(f.DKIM, func(r dkim.Result) bool { return r.Value == "temperror" }) {
		dkimValues = []string{"pass", "fail"}
	}
	var out []World
	for _, s := range spfValues {
		for _, d := range dkimValues {
			w := World{SPF: s, DKIM: d, DMARC: f.DMARC}
			w.DMARC = e.checkDMARC(ctx, f.in(w))
			w.DMARC.Record = nil
			out = append(out, w)
		}
	}
	return out
}

// in gives the facts as they are in w.
func (f Facts) in(w World) Facts {
	if w.SPF != "" {
		f.SPF.Value = w.SPF
	}
	if w.DKIM != "" {
		f.DKIM = slices.Clone(f.DKIM)
		for i := range f.DKIM {
			if f.DKIM[i].Value == "temperror" {
				f.DKIM[i].Value = w.DKIM
			}
		}
	}
	f.DMARC = w.DMARC
	return f
}

// possibleActions is what the message may still come to, each action once.
func (e *Engine) possibleActions(f Facts) []Action {
	worlds := f.Worlds
	if len(worlds) == 0 { // all proofs are answered
		worlds = []World{{DMARC: f.DMARC}}
	}
	var actions []Action
	for _, w := range worlds {
		for _, supposed := range supposedDMARC(f.in(w)) {
			for _, named := range e.supposedReverse(supposed) {
				for _, a := range e.outcomes(named) {
					if !slices.Contains(actions, a) {
						actions = append(actions, a)
					}
				}
			}
		}
	}
	return actions
}

// supposedReverse is what the client may yet turn out to be where its reverse
// DNS gives no answer: nobody in particular, or a forwarder that an override
// for this author knows by its name. With temperror: accept it is nobody: the
// reverse zone is the client's own, and trouble there would let him in.
func (e *Engine) supposedReverse(f Facts) []Facts {
	out := []Facts{f}
	if f.IPRev.Value != "temperror" || f.From.IsNull() || !e.dmarc.deferTrouble {
		return out
	}
	now := e.now()
	for _, o := range e.overrides {
		if !o.client.IsZero() && o.from == f.From.Domain() && now.Before(o.until) {
			f.IPRev.Value, f.IPRev.Name = "pass", o.client.String()
			out = append(out, f)
		}
	}
	return out
}

// supposedDMARC settles a DMARC that is still open, because the policy record
// or an organizational domain cannot be found: the message passes, or the
// policy applies, and where that is unknown, any.
func supposedDMARC(f Facts) []Facts {
	if f.DMARC.Value != "temperror" || f.passesAsAuthor() {
		return []Facts{f}
	}
	policies := []string{f.DMARC.Policy}
	if f.DMARC.Policy == "" {
		policies = levels
	}
	f.DMARC.Value = "pass"
	out := []Facts{f}
	for _, level := range policies {
		f.DMARC.Value, f.DMARC.Policy = "fail", level
		out = append(out, f)
	}
	return out
}

// outcomes is what the message may come to by its ARC chain.
func (e *Engine) outcomes(f Facts) []Action {
	var actions []Action
	for _, f.ARC = range supposedARC(f.ARC) {
		actions = append(actions, e.outcome(f))
	}
	return actions
}

// outcome is what the rules behind temperror come to.
func (e *Engine) outcome(f Facts) Action {
	f.Disposition = e.disposition(f)
	e.relyOnARC(&f)
	if o := e.overrideOf(f); o != nil {
		return o.action
	}
	return e.unproven(f)
}

// unproven is the severest that the rules about proofs ask for.
func (e *Engine) unproven(f Facts) Action {
	action := Accept
	for _, one := range []finding{e.judgeSPF(f), e.judgeSpoofed(f), e.judgeDMARC(f)} {
		action = stronger(one.action, action)
	}
	return action
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
