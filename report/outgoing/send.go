package outgoing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"gatepost/mail"
	"gatepost/report/suppress"
	"gatepost/report/tally"
	"gatepost/store"
	"gatepost/telemetry"
)

// ErrSent tells that the report about a domain and day was sent before, maybe
// by another node at this moment.
var ErrSent = errors.New("outgoing: this report was sent already")

// ErrDay tells that a day is not over, or was too long ago.
var ErrDay = errors.New("outgoing: reports are about days that are over")

// A report that was skipped may still be sent by hand.
const insertReport = "INSERT INTO report_out (day, domain, state, at, report_id, message, records, messages, octets, reason, destinations, refused)" +
	" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)" +
	" ON CONFLICT (day, domain) DO UPDATE SET state = excluded.state, at = excluded.at, report_id = excluded.report_id, message = excluded.message," +
	" records = excluded.records, messages = excluded.messages, octets = excluded.octets, reason = excluded.reason," +
	" destinations = excluded.destinations, refused = excluded.refused WHERE report_out.state = 'skipped'"

// The states of a report.
const (
	Sent    = "sent"
	Skipped = "skipped"
)

// Now sends the report about a domain and day at once, by the wish of an
// administrator. All rules but the time hold. Draft.Code says why nothing was
// sent.
func (x *Sender) Now(ctx context.Context, s Settings, day tally.Day, domain mail.Domain) (Draft, mail.ID, error) {
	if today := tally.DayOf(x.o.Now()); day >= today || day < today-LateDays {
		return Draft{}, 0, ErrDay
	}
	d, err := x.Draft(ctx, s, day, domain)
	if err == nil && d.Code == "" {
		d, err = x.limit(ctx, s, d)
	}
	if err != nil || d.Code != "" {
		return d, 0, err
	}
	id, err := x.send(ctx, s, d)
	if err == nil && id == 0 {
		err = ErrSent
	}
	return d, id, err
}

// send hands the message over, in one commit with the row that says so: of
// several nodes, or tries around a crash, one sends. The id is 0 where it was
// another.
func (x *Sender) send(ctx context.Context, s Settings, d Draft) (mail.ID, error) {
	now := x.o.Now()
	m := &mail.Message{
		ID: x.o.IDs.Next(), Received: now, Content: mail.MemoryBody(d.content),
		Envelope: mail.Envelope{From: s.From},
		Origin:   mail.Origin{Role: mail.RoleInternal, From: s.From.Domain()},
		Shape:    mail.Shape{HeaderSize: int64(bytes.Index(d.content, []byte("\r\n\r\n")) + 4)},
	}
	for _, a := range d.To {
		m.Envelope.Recipients = append(m.Envelope.Recipients, mail.Recipient{Address: a, Notify: mail.NotifyNever})
	}
	row, err := x.row(Sent, d, m.ID)
	if err != nil {
		return 0, err
	}
	row.Must = true
	err = x.o.Acceptor.Accept(ctx, m, append([]store.Statement{row}, x.o.Suppress.Copies(suppress.Aggregate, m)...))
	if errors.Is(err, store.ErrConflict) {
		x.o.Logger.Debug("DMARC report was sent already", "domain", d.Sum.Domain.String(), "day", d.Sum.Day.String())
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("hand the report to the queue: %w", err)
	}
	x.o.Count(Sent, "")
	x.o.Logger.Info("DMARC report sent", "domain", d.Sum.Domain.String(), "day", d.Sum.Day.String(), telemetry.KeyID, m.ID.String(),
		telemetry.KeyTo, addresses(d.To), "report_id", d.Report.ID, "records", len(d.Report.Records), "messages", d.Sum.Messages, "refused", d.Refused)
	return m.ID, nil
}

func addresses(list []mail.Address) []string {
	out := []string{}
	for _, a := range list {
		out = append(out, a.String())
	}
	return out
}

// skip remembers that a report is not sent and why.
func (x *Sender) skip(ctx context.Context, c subject, d Draft) {
	d.Sum.Day, d.Sum.Domain = c.day, c.domain
	row, err := x.row(Skipped, d, 0)
	if err == nil {
		_, err = x.o.Store.Submit(ctx, row)
	}
	if err != nil {
		x.o.Logger.Warn("it was not written that a DMARC report is not sent", "domain", c.domain.String(), telemetry.KeyError, err.Error())
		return
	}
	x.o.Count(Skipped, string(d.Code))
	x.o.Logger.Info("DMARC report not sent", "domain", c.domain.String(), "day", c.day.String(), "reason", d.Why, "refused", d.Refused)
}

func (x *Sender) row(state string, d Draft, id mail.ID) (store.Statement, error) {
	to, err := json.Marshal(addresses(d.To))
	if err != nil {
		return store.Statement{}, fmt.Errorf("encode destinations: %w", err)
	}
	refused, err := json.Marshal(append([]Refused{}, d.Refused...))
	if err != nil {
		return store.Statement{}, fmt.Errorf("encode destinations: %w", err)
	}
	reportID, records := "", 0
	if d.Report != nil {
		reportID, records = d.Report.ID, len(d.Report.Records)
	}
	return store.Statement{SQL: insertReport, Args: []any{int64(d.Sum.Day), d.Sum.Domain.String(), state, x.o.Now().UnixMilli(), reportID,
		int64(id), records, d.Sum.Messages, len(d.content), mail.SafeText(d.Why, 500), to, refused}}, nil
}
