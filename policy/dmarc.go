package policy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"gatepost/mail"
)

// levels are the policies of RFC 9989 section 4.7, mild to strict.
var levels = []string{"none", "quarantine", "reject"}

// lower is the next milder policy.
func lower(level string) string {
	return levels[max(slices.Index(levels, level)-1, 0)]
}

// draws is the number of outcomes of draw: hundredths of a percent.
const draws = 10000

// draw gives a message a number below draws that is the same on every try and
// every node, and that a sender cannot choose without the key. It stands on
// what a resent message keeps: author, Message-ID, date, subject. The client
// and the envelope are left out, for the next try may come from another host.
func draw(key []byte, from mail.Domain, h mail.Header) int {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "gatepost sample\x00%s\x00", from)
	for _, name := range []string{"Message-ID", "Date", "Subject", "From", "To"} {
		for _, f := range h.All(name) {
			fmt.Fprintf(mac, "%s\x00%s\x00", name, strings.Join(strings.Fields(f.Value()), " "))
		}
	}
	return int(binary.BigEndian.Uint64(mac.Sum(nil)) % draws)
}

// disposition applies t=, pct and the local ramp to the policy of a failing
// message.
//
// A test (t=y, RFC 9989 section 4.7) is one level milder and makes pct void.
// Without t=, pct (RFC 7489 section 6.6.4) and enforce_percent together are
// the share that gets the full policy; the rest gets one level less: reject
// becomes quarantine, quarantine becomes none.
func (e *Engine) disposition(f Facts) Disposition {
	r := f.DMARC
	if !e.dmarc.enabled || r.Value != "fail" || !slices.Contains(levels, r.Policy) {
		return Disposition{}
	}
	d := Disposition{Requested: r.Policy, Applied: r.Policy, Percent: e.dmarc.percent}
	share := e.dmarc.percent * 100
	switch {
	case r.HasT && r.Testing:
		d.Applied, d.Override = lower(d.Applied), "testing"
	case !r.HasT && e.dmarc.honorPct:
		share = share * r.Pct / 100
		d.Percent = e.dmarc.percent * r.Pct / 100
	}
	if f.Draw >= share && d.Applied != "none" {
		d.Applied = lower(d.Applied)
		d.Override = "sampled_out"
	}
	return d
}

// override records that the verdict went another way than the policy.
func (d *Disposition) override(v Verdict) {
	switch {
	case v.Rule == "override":
		d.Override = "policy_override"
	case d.Applied == "" || d.Applied == "none":
	case v.Would != "":
		d.Override = "monitor"
	case v.Action != Action(d.Applied) && v.Rule == "dmarc":
		d.Override = "local_policy"
	}
}

// dmarcPolicy is policy.dmarc: what the author's domain asks for.
func (e *Engine) dmarcPolicy(j *judgement) finding { return e.judgeDMARC(j.facts) }

func (e *Engine) judgeDMARC(f Facts) finding {
	action := Action("")
	switch f.Disposition.Applied {
	case "reject":
		action = e.dmarc.reject
	case "quarantine":
		action = e.dmarc.quarantine
	default:
		return finding{}
	}
	policyDomain := f.DMARC.PolicyDomain
	if policyDomain.IsZero() {
		policyDomain = f.DMARC.From
	}
	reason := fmt.Sprintf("DMARC fail for %s, policy %s of %s", f.From.Domain(), f.DMARC.Policy, policyDomain)
	if f.Disposition.Override != "" {
		reason += fmt.Sprintf(" applied as %s (%s)", f.Disposition.Applied, f.Disposition.Override)
	}
	text := fmt.Sprintf("Message fails DMARC: neither SPF nor DKIM confirms the author's domain; DMARC policy %s for %s",
		f.Disposition.Applied, f.From.Domain())
	return finding{action: action, final: action == Reject, reason: reason, domain: f.From.Domain(),
		reply: mail.ReplyDMARCReject.WithText(text)}
}
