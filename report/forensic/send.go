package forensic

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"gatepost/auth/dmarc"
	"gatepost/mail"
	"gatepost/report/compose"
	"gatepost/telemetry"
)

// dnsWait bounds the questions about one report.
const dnsWait = time.Minute

// send sends one report and says what became of it. What fails is not tried
// again: the next failure of the kind is as good.
func (x *Sender) send(ctx context.Context, j job) string {
	s := x.o.Settings()
	if !s.Enabled {
		return Dropped
	}
	asking, cancel := context.WithTimeout(ctx, dnsWait)
	defer cancel()
	found, refused, err := s.DNS.FailureDestinations(asking, j.policyDomain, j.uris)
	log := x.o.Logger.With("domain", j.policyDomain.String(), "about", j.incident.ID.String())
	if len(found) == 0 {
		log.Debug("failure report not sent: no destination", "refused", refused, telemetry.KeyError, fmt.Sprint(err))
		return NoDestination
	}
	to, result, err := x.open(ctx, found, s)
	if err != nil {
		log.Warn("failure report not sent", telemetry.KeyError, err.Error())
		return Failed
	}
	if len(to) == 0 {
		return result
	}
	x.tellRecord(asking, &j, s)
	id, err := x.accept(ctx, j, to, s)
	if err != nil {
		log.Warn("failure report not sent", telemetry.KeyError, err.Error())
		return Failed
	}
	if id == 0 {
		return NoDestination
	}
	log.Info("failure report sent", telemetry.KeyID, id.String())
	return Sent
}

// open are the destinations that may have a report now; result says why there
// is none.
func (x *Sender) open(ctx context.Context, found []dmarc.Destination, s Settings) (to []dmarc.Destination, result string, err error) {
	for _, d := range found {
		paused, err := x.o.Addresses.Paused(ctx, d.Address)
		if err != nil {
			return nil, "", err
		}
		if paused {
			result = Paused
			continue
		}
		n, err := x.o.Addresses.Count(ctx, d.Address, x.o.Now().Add(-24*time.Hour))
		if err != nil {
			return nil, "", err
		}
		if n >= int64(s.PerDomain) {
			result = Limited
			continue
		}
		to = append(to, d)
	}
	return to, result, nil
}

// tellRecord finds the SPF record of the domain that was checked, for SPF-DNS.
func (x *Sender) tellRecord(ctx context.Context, j *job, s Settings) {
	if j.spf.IsZero() {
		return
	}
	answer, err := s.DNS.TXT(ctx, j.spf.String())
	if err != nil {
		return // it is told where it is there
	}
	for _, txt := range answer.Records {
		if lower := strings.ToLower(txt); lower == "v=spf1" || strings.HasPrefix(lower, "v=spf1 ") {
			j.incident.SPFDomain, j.incident.SPFRecord = j.spf, txt
			return
		}
	}
}

// accept composes the report for those who take one of its size, and hands it
// over; the id is 0 where nobody does.
func (x *Sender) accept(ctx context.Context, j job, found []dmarc.Destination, s Settings) (mail.ID, error) {
	now := x.o.Now()
	m := &mail.Message{ID: x.o.IDs.Next(), Received: now, Envelope: mail.Envelope{From: s.From}, Origin: mail.Origin{Role: mail.RoleInternal, From: s.From.Domain()}}
	o := compose.Options{From: s.From, Org: s.Org, Submitter: s.Submitter, Now: now, MessageID: m.ID.String() + "@" + s.Submitter.String()}
	var to []mail.Address
	for _, d := range found {
		content, err := compose.Failure(&j.incident, x.o.Redactor, append(to[:len(to):len(to)], d.Address), o)
		if err != nil {
			return 0, err
		}
		if d.MaxSize > 0 && uint64(len(content)) > d.MaxSize {
			continue
		}
		to = append(to, d.Address)
		m.Envelope.Recipients = append(m.Envelope.Recipients, mail.Recipient{Address: d.Address, Notify: mail.NotifyNever})
		m.Content = mail.MemoryBody(content)
		m.Shape = mail.Shape{HeaderSize: int64(bytes.Index(content, []byte("\r\n\r\n")) + 4)}
	}
	if len(to) == 0 {
		return 0, nil
	}
	if err := x.o.Acceptor.Accept(ctx, m, x.o.Addresses.Copies(m)); err != nil {
		return 0, fmt.Errorf("hand the report to the queue: %w", err)
	}
	return m.ID, nil
}
