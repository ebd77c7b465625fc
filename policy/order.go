package policy

import (
	"context"

	"gatepost/mail"
)

// rule is one step of the judgement of a message.
type rule struct {
	name string
	// judges marks a rule that judges mail of strangers: in monitor mode it
	// never acts. The others keep the gateway safe and always act.
	judges bool
	ask    func(context.Context, *judgement) finding
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
		{"internal", false, e.internal},          // our own notices are not judged
		{"exempt", false, e.exempted},            // nor are clients of policy.exempt
		{"header-limits", false, e.headerLimits}, // a header that costs too much to judge
		{"from-shape", true, e.fromShape},        // exactly one From with exactly one address
		{"send-as", false, e.headerFromOfRelay},  // relay sessions: may the client use this From? They end here
		{"proofs", false, e.gather},              // SPF, DKIM, reverse DNS at once, then DMARC
		{"temperror", true, e.temporaryTrouble},  // DNS trouble that could change the outcome
		{"spf", true, e.spfAlone},                // what an SPF result alone does
		{"dmarc", true, e.dmarcPolicy},           // what the author's domain asks for
	}
}

// judgement is one message on its way through the list.
type judgement struct {
	session Session
	env     mail.Envelope
	header  mail.Header
	content mail.Body
	facts   Facts
	vouched mail.Domain
}

// Content judges a message. The domain is that of the header From which the
// gateway vouches for; it is zero unless the session is a relay session whose
// client may use it.
func (e *Engine) Content(ctx context.Context, s Session, env mail.Envelope, header mail.Header, content mail.Body) (Facts, Verdict, mail.Domain) {
	j := &judgement{session: s, env: env, header: header, content: content}
	v := accepted()
	settled := false // a rule that may not act has ended the list for those like it
	for _, r := range e.contentRules() {
		f := r.ask(ctx, j)
		j.note(r.name, f)
		silent := e.silent(r, s)
		if f.action != "" && !(settled && silent) {
			v = weigh(v, r.name, f, j, silent)
		}
		if f.final && !silent {
			break
		}
		settled = settled || f.final
	}
	j.facts.Disposition.override(v)
	return j.facts, v, j.vouched
}

// silent tells whether r only says what it would do: monitor mode learns about
// strangers, it does not open the gateway.
func (e *Engine) silent(r rule, s Session) bool {
	return e.monitor && r.judges && s.Role == mail.RoleMX
}

// weigh puts a finding into the verdict unless something as severe is there.
func weigh(v Verdict, name string, f finding, j *judgement, silent bool) Verdict {
	before := v.Action
	if silent && v.Would != "" {
		before = v.Would
	}
	if !f.final && f.action.severity() <= before.severity() {
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
