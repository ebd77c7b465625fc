package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"io"
	"time"

	"gatepost/auth/dmarc"
	"gatepost/config"
	"gatepost/dnsx"
	"gatepost/gateway/intake"
	"gatepost/mail"
	"gatepost/report/failure"
	"gatepost/report/forensic"
	"gatepost/report/suppress"
	"gatepost/store"
)

// failing gives judged mail to the sender of failure reports.
type failing struct {
	live   *live
	sender *forensic.Sender
}

// offer hands over a message of the mx role. What comes to the addresses of
// ours that take or send reports is never reported.
func (f *failing) offer(at time.Time, s *intake.Session, m forensic.Message) {
	if s.Role != mail.RoleMX || f.live.aboutReports(m.Envelope) {
		return
	}
	m.At, m.Client, m.Port, m.Helo = at, s.Addr, s.Port, s.Helo
	f.sender.Offer(m)
}

func (f *failing) refused(r *intake.Refusal) {
	f.offer(r.At, &r.Session, forensic.Message{ID: r.ID, Envelope: &r.Envelope, Facts: &r.Facts, Verdict: &r.Verdict, Header: r.Header})
}

func (f *failing) accepted(a *intake.Acceptance) {
	f.offer(a.Message.Received, &a.Session, forensic.Message{ID: a.Message.ID, Envelope: &a.Message.Envelope, Facts: &a.Facts, Verdict: &a.Verdict, Header: a.Header})
}

// sendFailures makes the sender of failure reports.
func (g *Gateway) sendFailures(ids *mail.IDSource) (err error) {
	g.failures, err = forensic.New(forensic.Options{
		Settings: g.live.failureSettings, Addresses: failureAddresses{g.suppress}, Acceptor: reportDoor{g.queue}, IDs: ids,
		Redactor: failure.Redactor{Key: redactKey(g.base.sealKey)}, Now: g.now, Logger: g.log,
		Count: func(result string) { g.metrics.FailureReports.WithLabelValues(result).Inc() },
	})
	return err
}

// redactKey hides local parts alike on all nodes: they share the seal key.
func redactKey(sealKey []byte) []byte {
	h := hmac.New(sha256.New, sealKey)
	io.WriteString(h, "gatepost failure report")
	return h.Sum(nil)
}

// aboutReports asks the parts of today.
func (l *live) aboutReports(e *mail.Envelope) bool {
	p, done := l.take()
	defer done()
	return p.aboutReports(e)
}

// failureSettings are those of now. DNS is asked through the parts of the
// moment, for a report may wait longer than they live.
func (l *live) failureSettings() forensic.Settings {
	p, done := l.take()
	defer done()
	s := p.failing
	s.DNS = failureDNS{l}
	return s
}

func failureSettings(c *config.Config, version string) forensic.Settings {
	f := c.Report.Failure
	domains := make([]mail.Domain, len(c.Domains))
	for i, d := range c.Domains {
		domains[i] = domainOf(d.Name)
	}
	return forensic.Settings{
		Enabled: f.Enabled, From: addressOf(f.From), Org: f.Org, Submitter: domainOf(c.Hostname), Software: "Gatepost/" + version,
		PerDomain: f.PerDomainPerDay, PerHour: f.PerHour, Ours: func(name mail.Domain) bool {
			for _, d := range domains {
				if name.Within(d) {
					return true
				}
			}
			return false
		},
	}
}

// failureDNS asks by the parts of today.
type failureDNS struct{ live *live }

// FailureDestinations implements forensic.DNS.
func (d failureDNS) FailureDestinations(ctx context.Context, policyDomain mail.Domain, uris []dmarc.ReportURI) ([]dmarc.Destination, []dmarc.RefusedDestination, error) {
	p, done := d.live.take()
	defer done()
	return p.checker().FailureDestinations(ctx, policyDomain, uris)
}

// TXT implements forensic.DNS.
func (d failureDNS) TXT(ctx context.Context, name string) (dnsx.Answer[string], error) {
	p, done := d.live.take()
	defer done()
	return p.resolver.TXT(ctx, name)
}

// failureAddresses is the list of those who get reports.
type failureAddresses struct{ list *suppress.List }

// Paused implements forensic.Addresses.
func (a failureAddresses) Paused(ctx context.Context, to mail.Address) (bool, error) {
	_, paused, err := a.list.Paused(ctx, to)
	return paused, err
}

// Count implements forensic.Addresses.
func (a failureAddresses) Count(ctx context.Context, to mail.Address, since time.Time) (int64, error) {
	return a.list.Count(ctx, suppress.Failure, to, since)
}

// Copies implements forensic.Addresses.
func (a failureAddresses) Copies(m *mail.Message) []store.Statement {
	return a.list.Copies(suppress.Failure, m)
}
