package policy

import (
	"context"

	"gatepost/mail"
)

// rule is one step of the judgement of a message. It asks facts and nothing
// else, so that a message can be judged again when it is gone.
type rule struct {
	name string
	// judges marks a rule that judges mail of strangers: in monitor mode it
	// never acts. The others keep the gateway safe and always act.
	judges bool
	// proved marks a rule that needs the proofs.
	proved bool
	ask    func(*judgement) finding
}

// finding is what a rule says. An empty action: nothing, go on.
type finding struct {
	action Action
	final  bool // no later rule is asked
	reason string
	domain mail.Domain
	reply  mail.Reply
}

// contentRules is the order in which a message is judged: the ONE list.
//
// Reject, defer and a final accept end it. Tag and quarantine do not: of
// several the severest stays.
func (e *Engine) contentRules() []rule {
	return []rule{
		{"internal", false, false, e.internal},          // our own notices are not judged
		{"exempt", false, false, e.exempted},            // nor are clients of policy.exempt
		{"header-limits", false, false, e.headerLimits}, // a header that costs too much to judge
		{"from-shape", true, false, e.fromShape},        // exactly one From with exactly one address
		{"send-as", false, false, e.headerFromOfRelay},  // relay sessions: may the client use this From? They end here
		{"proofs", false, true, e.proofsAtHand},         // SPF, DKIM, ARC, reverse DNS at once, then DMARC (gather)
		{"arc", true, true, e.sealed},                   // what trusted forwarders saw sets DMARC's policy aside
		{"temperror", true, true, e.temporaryTrouble},   // DNS trouble that could change the outcome
		{"override", true, true, e.overridden},          // what policy.overrides puts in the place of the rules below
		{"spf", true, true, e.spfAlone},                 // what an SPF result alone does
		{"spoofed", true, true, e.spoofedAs},            // a From of ours that nothing proves
		{"dmarc", true, true, e.dmarcPolicy},            // what the author's domain asks for
	}
}

// judgement is one message on its way through the list.
type judgement struct {
	session Session
	facts   Facts
	vouched mail.Domain
}

// Decision is what the list comes to.
type Decision struct {
	Facts   Facts   `json:"facts"`
	Verdict Verdict `json:"verdict"`
	// Vouched is the domain of the header From which the gateway vouches for;
	// it is zero unless the session is a relay session whose client may use it.
	Vouched mail.Domain `json:"vouched,omitzero"`
	// Undecided: the verdict hangs on proofs that the facts do not hold,
	// because the policy of that time did not ask for them.
	Undecided bool `json:"undecided,omitempty"`
}

// Content judges a message: what can be found out about it first, then Decide.
// The domain is Decision.Vouched.
func (e *Engine) Content(ctx context.Context, s Session, env mail.Envelope, header mail.Header, content mail.Body) (Facts, Verdict, mail.Domain) {
	f := e.read(s, header)
	if e.wantsProofs(s, f) {
		e.gather(ctx, &inquiry{s, env, header, content}, &f)
	}
	d := e.Decide(s, f)
	return d.Facts, d.Verdict, d.Vouched
}

// Decide runs the list over facts alone: no DNS, no content. It forgets what
// an earlier decision wrote into them.
//
// Where the facts were gathered by other settings than this engine's, it tries
// what they may be by these: where that changes the verdict, it is undecided.
func (e *Engine) Decide(s Session, f Facts) Decision {
	if !e.dmarc.enabled {
		f.forgetDMARC()
	}
	list, open := e.supposed(s, f)
	d := e.decide(s, list[0])
	for _, other := range list[1:] {
		o := e.decide(s, other)
		open = open || o.Undecided || o.Verdict.Action != d.Verdict.Action || o.Verdict.Would != d.Verdict.Would
	}
	d.Undecided = d.Undecided || open
	return d
}

func (e *Engine) decide(s Session, f Facts) Decision {
	f.Steps, f.Disposition = nil, e.disposition(f)
	j := &judgement{session: s, facts: f}
	v := accepted()
	settled, undecided := false, false // settled: a rule that may not act has ended the list for those like it
	for _, r := range e.contentRules() {
		if r.proved && !settled && !e.hasProofs(f) {
			undecided = true
		}
		found := r.ask(j)
		j.note(r.name, found)
		silent := e.silent(r, s)
		if found.action != "" && !(settled && silent) {
			v = weigh(v, r.name, found, j, silent)
		}
		if found.final && !silent {
			break
		}
		settled = settled || found.final
	}
	j.facts.Disposition.override(v)
	return Decision{Facts: j.facts, Verdict: v, Vouched: j.vouched, Undecided: undecided}
}

// wantsProofs tells whether the list gets as far as the rules that need proofs.
func (e *Engine) wantsProofs(s Session, f Facts) bool {
	j := &judgement{session: s, facts: f}
	for _, r := range e.contentRules() {
		if r.proved {
			return true
		}
		if found := r.ask(j); found.final && !e.silent(r, s) {
			return false
		}
	}
	return false
}

// hasProofs tells whether f holds what the rules of this engine ask.
func (e *Engine) hasProofs(f Facts) bool {
	return f.Proved && (!e.dmarc.enabled || f.DMARC.Value != "" || f.From.IsNull()) && e.hasSeals(f)
}

// silent tells whether r only says what it would do: monitor mode learns about
// strangers, it does not open the gateway.
func (e *Engine) silent(r rule, s Session) bool {
	return e.monitor && r.judges && s.Role == mail.RoleMX
}

// weigh puts a finding into the verdict unless something as severe is there. A
// final one takes the place of its like, but not of what is more severe.
func weigh(v Verdict, name string, f finding, j *judgement, silent bool) Verdict {
	before := v.Action
	if silent && v.Would != "" {
		before = v.Would
	}
	if by := f.action.severity() - before.severity(); by < 0 || by == 0 && !f.final {
		return v
	}
	next := Verdict{Action: f.action, Rule: name, Reason: f.reason}
	if f.action == Reject || f.action == Defer {
		next = j.session.refuse(name, f.reason, f.reply)
	}
	next.Domain = f.domain
	if silent && f.action != Accept {
		next.Action, next.Would, next.Reply = Accept, f.action, mail.Reply{}
	}
	return next
}

func (j *judgement) note(name string, f finding) {
	step := Step{Rule: name, Result: "next", Reason: f.reason}
	if f.action != "" {
		step.Result = string(f.action)
	}
	j.facts.Steps = append(j.facts.Steps, step)
}
