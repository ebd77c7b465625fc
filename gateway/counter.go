package gateway

import (
	"slices"
	"time"

	"gatepost/gateway/intake"
	"gatepost/mail"
	"gatepost/policy"
	"gatepost/report/tally"
)

// counter gives judged mail to the tally that reports are made of.
type counter struct {
	live  *live
	tally *tally.Tally
}

// add counts a message of the mx role. What comes to the addresses of ours
// that take or send reports is not counted, nor are reports: two gateways would
// report to each other about their reports for ever.
func (c *counter) add(at time.Time, s *intake.Session, e *mail.Envelope, f *policy.Facts, v *policy.Verdict) {
	if s.Role != mail.RoleMX || !c.live.countsFor(e) {
		return
	}
	c.tally.Add(tally.Message{At: at, Client: s.Addr, Envelope: e, Facts: f, Verdict: v})
}

// countsFor tells whether a message with this envelope is counted.
func (l *live) countsFor(e *mail.Envelope) bool {
	p, done := l.take()
	defer done()
	return p.counts && !p.aboutReports(e)
}

// aboutReports tells whether a message goes to an address of ours that takes
// or sends reports.
func (p *parts) aboutReports(e *mail.Envelope) bool {
	return slices.ContainsFunc(e.Recipients, func(r mail.Recipient) bool {
		return slices.ContainsFunc(p.reporters, r.Address.EqualFold) || slices.ContainsFunc(p.inboxes, r.Address.EqualFold)
	})
}
