package policy

import (
	"errors"
	"fmt"

	"gatepost/mail"
)

// maxHeaderFields bounds what a header may cost: proofs look at every field,
// DKIM at every field for every name a signature covers. Real mail has fewer
// than 200.
const maxHeaderFields = 1000

// read finds what the header alone says.
func (e *Engine) read(s Session, h mail.Header) Facts {
	f := Facts{Fields: len(h.Fields), Report: isReport(h), Upstream: e.upstreamOf(s, h)}
	if s.Role == mail.RoleMX {
		f.Made = e.made
	}
	from, err := mail.HeaderFrom(h)
	if err == nil {
		f.From = from
		return f
	}
	reason := mail.ReasonSyntax
	if bad := (*mail.FromError)(nil); errors.As(err, &bad) {
		reason = bad.Reason
	}
	f.FromError = string(reason)
	return f
}

func (e *Engine) internal(j *judgement) finding {
	if j.session.Role != mail.RoleInternal {
		return finding{}
	}
	if !j.facts.From.IsNull() {
		j.vouched = j.facts.From.Domain()
	}
	return finding{action: Accept, final: true, reason: "our own message"}
}

func (e *Engine) exempted(j *judgement) finding {
	client := j.session.Addr
	if j.facts.Upstream.Addr.IsValid() {
		client = j.facts.Upstream.Addr
	}
	if j.session.Role != mail.RoleMX || !containsAddr(e.exempt, client) {
		return finding{}
	}
	return finding{action: Accept, final: true, reason: fmt.Sprintf("client %s is exempt", client)}
}

func (e *Engine) headerLimits(j *judgement) finding {
	n := j.facts.Fields
	if n <= maxHeaderFields {
		return finding{}
	}
	return finding{action: Reject, final: true, reason: fmt.Sprintf("%d header fields, at most %d are judged", n, maxHeaderFields),
		reply: mail.ReplyHeaderTooBig.WithText(fmt.Sprintf("Message header has more than %d fields", maxHeaderFields))}
}

// fromShape wants one author: two From fields, or two addresses, let the
// recipient see another author than the one that was judged (RFC 5322 section
// 3.6.2 allows several addresses; RFC 9989 section 11.5 warns of them). A relay
// client is always refused: nobody can vouch for such a field.
func (e *Engine) fromShape(j *judgement) finding {
	reason := j.facts.FromError
	if reason == "" {
		return finding{}
	}
	action := Reject
	if j.session.Role == mail.RoleMX {
		action = e.badFrom
	}
	return finding{action: action, final: action == Reject, reason: "header From: " + reason,
		reply: mail.ReplyBadFrom.WithText(fmt.Sprintf("From field must hold exactly one address, but there is %s", reason))}
}

// headerFromOfRelay ends the judgement of a relay session: its client is
// trusted, as long as it keeps to its own addresses. What it may send as is
// vouched for, and so gets signed.
func (e *Engine) headerFromOfRelay(j *judgement) finding {
	if j.session.Role != mail.RoleRelay {
		return finding{}
	}
	who, v := e.relayIdentity(j.session)
	if who == nil {
		return finding{action: Reject, final: true, reason: v.Reason, reply: mail.ReplyRelayDenied}
	}
	from := j.facts.From
	switch {
	case who.maySendAs(from):
		j.vouched = from.Domain()
		return finding{action: Accept, final: true, reason: fmt.Sprintf("%s may send as %s", who, from.Path())}
	case who.unsigned:
		return finding{action: Accept, final: true, reason: fmt.Sprintf("%s is not in send_as of %s: accepted unsigned", from.Path(), who)}
	}
	return finding{action: Reject, final: true, reason: fmt.Sprintf("header From %s is not in send_as of %s", from.Path(), who),
		reply: mail.ReplySendAs.WithText(sendAsText("The header From", from, who))}
}
