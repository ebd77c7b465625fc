package delivery

import (
	"slices"

	"gatepost/gateway/delivery/smtpc"
	"gatepost/mail"
)

// settle gives a recipient its result; the first one stays.
func (a *attempt) settle(n int, status mail.Status, l *link) {
	at, found := slices.BinarySearch(a.pending, n)
	if !found {
		return
	}
	a.pending = slices.Delete(a.pending, at, at+1)
	status.Took = a.d.options.Now().Sub(a.started)
	if l != nil {
		status.Remote, status.TLS = l.target.remote(), l.TLS()
	}
	a.results[n].Status = status
}

// settleAll gives recipients the same bad news, told on a connection.
func (a *attempt) settleAll(recipients []int, f *failure, l *link) {
	status := f.status(l.target)
	for _, n := range recipients {
		a.settle(n, status, l)
	}
}

// settlePending gives all that wait the same bad news; t is nil when there
// was no target.
func (a *attempt) settlePending(f *failure, t *target) {
	status := f.status(t)
	for _, n := range slices.Clone(a.pending) {
		a.settle(n, status, nil)
	}
}

// settleRest ends the attempt when no target is left.
func (a *attempt) settleRest() {
	if len(a.pending) == 0 {
		return
	}
	if a.trouble == nil {
		a.trouble = &failure{cause: causeUnknown}
	}
	a.settlePending(a.trouble, a.at)
}

// settleUTF8 refuses the recipients whose address a server cannot take (RFC
// 6531 section 3.5).
func (a *attempt) settleUTF8(t *target) {
	f := &failure{cause: causeUTF8}
	for _, n := range slices.Clone(a.pending) {
		if !a.job.Recipients[n].Address.IsASCII() {
			status := f.status(t)
			status.Scope = mail.ScopeRecipient
			a.settle(n, status, nil)
		}
	}
}

// settleRefused settles whom the server refused at RCPT and gives the others.
// Whom it refused only because others came first keeps waiting, for the next
// transaction (RFC 5321 section 4.5.3.1.10).
func (a *attempt) settleRefused(batch []int, answers *smtpc.Answers, l *link) (accepted []int) {
	for i, n := range batch {
		reply := answers.Recipients[i]
		switch {
		case reply.Code == 0 || reply.Code == 421: // not answered, or no answer about the recipient
		case reply.Code/100 == 2:
			accepted = append(accepted, n)
		case len(accepted) > 0 && isTooMany(reply):
		default:
			f := &failure{cause: causeReply, stage: smtpc.StageRcpt, reply: reply}
			a.settle(n, f.status(l.target), l)
		}
	}
	return accepted
}

// settleFinal records the reply to the final dot.
func (a *attempt) settleFinal(recipients []int, reply mail.Reply, f *form, l *link) {
	if reply.Code/100 != 2 {
		bad := &failure{cause: causeReply, stage: smtpc.StageFinal, reply: reply}
		a.settleAll(recipients, bad, l)
		return
	}
	status := reply.Status("")
	status.Said, status.Signed = true, f.signedBy
	if status.Enhanced == (mail.Enhanced{}) {
		status.Enhanced = mail.ReplyOK.Enhanced
	}
	for _, n := range recipients {
		a.settle(n, status, l)
		a.results[n].LackedDSN = !l.Extensions().DSN
	}
}

// unsettled filters the recipients without a result.
func (a *attempt) unsettled(recipients []int) (rest []int) {
	for _, n := range recipients {
		if _, found := slices.BinarySearch(a.pending, n); found {
			rest = append(rest, n)
		}
	}
	return rest
}
