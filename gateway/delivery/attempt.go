package delivery

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gatepost/gateway/delivery/smtpc"
	"gatepost/mail"
)

// attempt is one Deliver under way: which recipients have their result, and
// which still wait for a target that takes them.
type attempt struct {
	d       *Deliverer
	job     *Job
	started time.Time
	utf8    bool // sender or header need SMTPUTF8
	forms   map[string]*form
	results []Result
	pending []int // indexes of recipients, in order

	trouble *failure // of the target that says most about the rest
	at      *target
}

func newAttempt(d *Deliverer, job *Job) *attempt {
	a := &attempt{d: d, job: job, started: d.options.Now(), utf8: needsUTF8(job.Message), forms: map[string]*form{}}
	a.results = make([]Result, len(job.Recipients))
	a.pending = make([]int, len(job.Recipients))
	for i := range a.pending {
		a.pending[i] = i
	}
	return a
}

// visit goes to one target, and tells whether no other is to be tried.
func (a *attempt) visit(ctx context.Context, t *target) (done bool) {
	f := a.try(ctx, t)
	if f != nil {
		a.d.note(ctx, f, t, a.job.Message.ID)
	}
	switch {
	case f == nil || len(a.pending) == 0:
		return true
	case f.decide(t.hop.name != labelMX).next:
		if a.trouble == nil || f.temporary() {
			a.trouble, a.at = f, t
		}
		return false
	}
	a.settlePending(f, t)
	return true
}

// try hands the message to one target until every recipient has a result
// (nil) or there is trouble with the rest. When a connection that carried mail
// before refuses MAIL or is dead, that is no trouble: the server grew tired of
// waiting, or takes only so much in one session. A new one decides.
func (a *attempt) try(ctx context.Context, t *target) *failure {
	fresh := a.job.Probe
	for len(a.pending) > 0 {
		l, f := a.link(ctx, t, fresh)
		if f != nil {
			return f
		}
		f = a.session(ctx, l)
		a.release(l, f)
		switch {
		case f == nil, f.stage == smtpc.StageFinal: // the rest, if any, on another connection
		case l.reused() && f.untouched():
			if f.cause == causeLost {
				a.d.pool.flush(t.key())
			}
			fresh = true
		default:
			return f
		}
	}
	return nil
}

// untouched tells whether the server accepted nothing of a transaction.
func (f *failure) untouched() bool {
	return (f.cause == causeLost || f.cause == causeReply) && (f.stage == smtpc.StageReset || f.stage == smtpc.StageMail)
}

// release keeps a connection that can carry more.
func (a *attempt) release(l *link, f *failure) {
	switch {
	case f != nil || !l.Usable():
		a.d.pool.drop(l)
	case l.messages >= a.d.options.Messages:
		a.d.pool.quit(l)
	default:
		a.d.pool.put(l)
	}
}

// link takes a kept connection or opens one.
func (a *attempt) link(ctx context.Context, t *target, fresh bool) (*link, *failure) {
	if ctx.Err() != nil {
		return nil, &failure{cause: causeInterrupted, err: context.Cause(ctx)}
	}
	for !fresh {
		l := a.d.pool.take(t.key())
		if l == nil {
			break
		}
		if l.Alive() {
			a.d.options.Observer.Reused(t.hop.name)
			return l, nil
		}
		a.d.pool.drop(l)
	}
	return a.d.connect(ctx, t)
}

// session runs transactions on one connection, until all recipients are
// settled or the connection has carried enough (nil).
func (a *attempt) session(ctx context.Context, l *link) *failure {
	f, trouble := a.prepare(ctx, l.target.hop, l.Extensions())
	if trouble != nil {
		a.d.note(ctx, trouble, l.target, a.job.Message.ID)
		a.settlePending(trouble, l.target)
		return nil
	}
	if !l.Extensions().SMTPUTF8 {
		a.settleUTF8(l.target)
	}
	for len(a.pending) > 0 && l.messages < a.d.options.Messages {
		l.messages++
		batch := a.pending[:min(len(a.pending), a.d.options.Recipients)]
		if trouble := a.transaction(ctx, l, f, slices.Clone(batch)); trouble != nil {
			return trouble
		}
	}
	return nil
}

// transaction is one MAIL, RCPT, DATA. What it returns is trouble with the
// connection, and the recipients without an answer are still pending.
func (a *attempt) transaction(ctx context.Context, l *link, f *form, batch []int) *failure {
	if err := a.lease(ctx); err != nil {
		return &failure{cause: causeInterrupted, err: err}
	}
	answers, err := l.Begin(ctx, a.envelope(f, batch))
	if answers.Mail.Code/100 != 2 && answers.Mail.Code != 421 && answers.Mail.Code != 0 {
		return a.refused(smtpc.StageMail, answers.Mail, batch, l)
	}
	accepted := a.settleRefused(batch, answers, l)
	switch {
	case err != nil:
		return classify(ctx, err)
	case len(accepted) == 0:
		return nil
	case !answers.Ready():
		return a.refused(smtpc.StageData, answers.Data, accepted, l)
	}
	return a.content(ctx, l, f, accepted)
}

// refused settles recipients with a reply that refuses all of them, unless
// another target or a new connection should be asked.
func (a *attempt) refused(stage smtpc.Stage, reply mail.Reply, recipients []int, l *link) *failure {
	f := &failure{cause: causeReply, stage: stage, reply: reply}
	if f.decide(l.target.hop.name != labelMX).next || l.reused() && f.untouched() {
		return f
	}
	a.settleAll(recipients, f, l)
	return nil
}

// envelope is the transaction for a batch of recipients.
func (a *attempt) envelope(f *form, batch []int) *smtpc.Transaction {
	e := &a.job.Message.Envelope
	t := &smtpc.Transaction{From: e.From, Size: f.size, EightBit: a.isEightBit(f), UTF8: a.utf8, Return: e.Return, EnvID: e.EnvID,
		Recipients: make([]mail.Recipient, len(batch))}
	for i, n := range batch {
		t.Recipients[i] = a.job.Recipients[n]
		t.UTF8 = t.UTF8 || !t.Recipients[i].Address.IsASCII()
	}
	return t
}

// content sends the message to the recipients that the server accepted.
func (a *attempt) content(ctx context.Context, l *link, f *form, accepted []int) *failure {
	r, err := f.reader(ctx)
	if err != nil {
		return classifyForm(ctx, err, causeSource)
	}
	defer r.Close()
	replies, err := l.Content(ctx, r, len(accepted), a.lease)
	for i, reply := range replies {
		of := accepted[i : i+1]
		if len(replies) == 1 && !l.target.lmtp {
			of = accepted
		}
		a.settleFinal(of, reply, f, l)
	}
	if err == nil {
		return nil
	}
	trouble := classify(ctx, err)
	if trouble.cause == causeLostAtEnd {
		a.d.options.Observer.LostAfterDot(l.target.hop.name)
	}
	if rest := a.unsettled(accepted); trouble.stage == smtpc.StageFinal || !trouble.decide(l.target.hop.name != labelMX).next {
		a.settleAll(rest, trouble, l)
	}
	return trouble
}

// lease asks the queue whether the message is still ours.
func (a *attempt) lease(ctx context.Context) error {
	if a.job.Lease == nil {
		return nil
	}
	if err := a.job.Lease(ctx); err != nil {
		return fmt.Errorf("%w: %w", errLease, err)
	}
	return nil
}
