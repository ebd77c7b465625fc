package gateway

import (
	"context"
	"encoding/json"

	"gatepost/auth/dmarc"
	"gatepost/gateway/intake"
	"gatepost/mail"
	"gatepost/queue"
	"gatepost/report/inbox"
	"gatepost/telemetry"
)

// destReports is the destination of mail to report.inbox. It is ourselves.
const destReports = "report:"

// reportWindow is how many reports are read at once: each may take tens of
// MiB of memory while it is.
const reportWindow = 2

// reportReader is what the parts need of *inbox.Inbox.
type reportReader interface {
	Consume(ctx context.Context, m *mail.Message) (inbox.Summary, error)
}

// consume reads the reports in a message once, for however many addresses of
// report.inbox it was sent to. Whatever a stranger wrote ends the message;
// only trouble of our own is tried again.
func (p *parts) consume(ctx context.Context, job queue.Job) []queue.Result {
	summary, err := p.reports.Consume(ctx, job.Message)
	result := queue.Result{Status: mail.ReplyInternal.Status(mail.ScopeMessage)}
	if err != nil {
		p.log.Error("report not read; it is tried again", telemetry.KeyID, job.Message.ID.String(), telemetry.KeyError, err.Error())
	} else {
		result = queue.Result{Status: mail.Status{Code: 250, Enhanced: mail.Enhanced{2, 0, 0}, Text: mail.SafeText(summary.String(), 300)}, Consumed: true}
	}
	results := make([]queue.Result, len(job.Recipients))
	for i := range results {
		results[i] = result
	}
	return results
}

// reportSender is the domain that mail to report.inbox is proven to come from,
// without what stands below it, for names there cost their owner nothing: the
// author's by DMARC, else of a signature, else of the reverse-path; "" where
// nothing is proven.
func reportSender(m *mail.Message) string {
	var r intake.Record
	if json.Unmarshal(m.Facts, &r) != nil {
		return ""
	}
	f := r.Facts
	sender := mail.Domain{}
	if f.SPF.Value == "pass" {
		sender = f.SPF.Domain
	}
	for _, s := range f.DKIM {
		if s.Value == "pass" {
			sender = s.Domain
			break
		}
	}
	if f.DMARC.Value == "pass" {
		sender = f.From.Domain()
	}
	return dmarc.Registered(sender.String())
}
