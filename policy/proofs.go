package policy

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"gatepost/auth/arc"
	"gatepost/auth/dmarc"
	"gatepost/mail"
)

// inquiry is a message whose proofs are asked for.
type inquiry struct {
	session Session
	env     mail.Envelope
	header  mail.Header
	content mail.Body
}

// gather runs the checks that do not need each other at the same time, then
// DMARC, which needs SPF and DKIM.
func (e *Engine) gather(ctx context.Context, q *inquiry, f *Facts) {
	var (
		running sync.WaitGroup
		readErr error
		arcErr  error
	)
	if e.proofs.SPF != nil {
		running.Go(func() { f.SPF = e.checkSPF(ctx, q, f.Upstream) })
	}
	if e.proofs.DKIM != nil {
		running.Go(func() { f.DKIM, readErr = e.proofs.DKIM.Verify(ctx, q.content) })
	}
	switch {
	case e.proofs.ARC != nil && arc.Present(q.header):
		running.Go(func() { f.ARC, arcErr = e.proofs.ARC.Verify(ctx, q.content) })
	case e.asksForChains():
		f.ARC = arc.Result{Value: arc.None}
	}
	running.Go(func() { f.IPRev = e.checkReverse(ctx, q.session, f.Upstream) })
	running.Wait()
	f.Proved = true
	if readErr = errors.Join(readErr, arcErr); readErr != nil {
		f.Unread = mail.SafeText(fmt.Sprintf("cannot read the message: %v", readErr), 300)
		return
	}
	f.DMARC = e.checkDMARC(ctx, *f)
	f.Sealed = e.hearSealers(ctx, *f)
	f.Draw = draw(e.sampleKey, f.From.Domain(), q.header)
	f.Worlds = e.worlds(ctx, *f)
}

// checkDMARC is empty where DMARC is not asked.
func (e *Engine) checkDMARC(ctx context.Context, f Facts) dmarc.Result {
	if !e.dmarc.enabled || e.proofs.DMARC == nil || f.From.IsNull() {
		return dmarc.Result{}
	}
	return e.proofs.DMARC.Check(ctx, f.From.Domain(), f.SPF, f.DKIM)
}

// proofsAtHand names the proofs; without them nothing is decided.
func (e *Engine) proofsAtHand(j *judgement) finding {
	if j.facts.Unread != "" {
		return finding{action: Defer, final: true, reason: j.facts.Unread, reply: mail.ReplyLocalError}
	}
	return finding{reason: j.facts.summary()}
}

// summary is the results in one line.
func (f *Facts) summary() string {
	line := "spf=" + orNone(f.SPF.Value)
	for _, sig := range f.DKIM {
		line += fmt.Sprintf(" dkim=%s(%s)", sig.Value, sig.Domain)
	}
	if len(f.DKIM) == 0 {
		line += " dkim=none"
	}
	if f.Upstream.Addr.IsValid() {
		line = fmt.Sprintf("client %s behind upstream %s ", f.Upstream.Addr, f.Upstream.By) + line
	}
	return line + arcText(f.ARC) + " iprev=" + orNone(f.IPRev.Value) + " dmarc=" + orNone(f.DMARC.Value)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// spfAlone is policy.spf: what a result of SPF does without DMARC.
func (e *Engine) spfAlone(j *judgement) finding { return e.judgeSPF(j.facts) }

func (e *Engine) judgeSPF(f Facts) finding {
	action := Action("")
	switch f.SPF.Value {
	case "fail":
		action = e.spf.fail
	case "softfail":
		action = e.spf.softFail
	}
	if action == "" {
		return finding{}
	}
	text := fmt.Sprintf("SPF %s: this client is not a permitted sender of %s", f.SPF.Value, f.SPF.Domain)
	if f.SPF.Explanation != "" { // RFC 7208 section 6.2: name whose words they are
		text += fmt.Sprintf("; %s explains: %s", f.SPF.Domain, ascii(mail.SafeText(f.SPF.Explanation, 200)))
	}
	return finding{action: action, final: action == Reject, domain: f.SPF.Domain,
		reason: fmt.Sprintf("SPF %s for %s", f.SPF.Value, f.SPF.Domain), reply: mail.ReplySPFFail.WithText(text)}
}
