package inbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"gatepost/mail"
	"gatepost/report/extract"
	"gatepost/store"
)

// Lengths of texts in the tables.
const (
	maxReason = 500
	maxKey    = 255
	maxSender = 300
)

// Inbox reads messages. It is safe for concurrent use.
type Inbox struct{ o Options }

// New makes an inbox.
func New(o Options) (*Inbox, error) {
	if o.Store == nil || o.IDs == nil {
		return nil, errors.New("inbox: Store and IDs are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	for _, f := range []struct {
		field *int64
		value int64
	}{{&o.Reports, DefaultReports}, {&o.Records, DefaultRecords}, {&o.Unread, DefaultUnread}, {&o.Content, DefaultContent}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return &Inbox{o}, nil
}

// Summary is what became of a message.
type Summary struct {
	Stored     int
	Duplicates int
	Unread     []string // reasons
}

// String is the summary in one line.
func (s Summary) String() string {
	line := fmt.Sprintf("report read: %d new, %d known", s.Stored, s.Duplicates)
	if len(s.Unread) > 0 {
		line += fmt.Sprintf(", %d unreadable: %s", len(s.Unread), s.Unread[0])
	}
	return line
}

// Consume reads the reports in a message and stores them. An error is trouble
// of ours, worth another try; whatever a stranger wrote is none. The same
// message may come twice.
func (x *Inbox) Consume(ctx context.Context, m *mail.Message) (Summary, error) {
	found, err := x.extract(ctx, m)
	reason, shown := reasonOf(err)
	if err != nil && !shown {
		return Summary{}, err
	}
	e := envelope{messageID: mail.SafeText(found.MessageID, maxKey), from: mail.SafeText(found.From, maxSender), received: x.o.Now()}
	base := Unread{Message: m.ID, Received: e.received, Sender: e.from, Size: m.Content.Size()}
	if base.Sender == "" {
		base.Sender = m.Envelope.From.String()
	}
	var s Summary
	for i, d := range found.Documents {
		if err := x.document(ctx, m, base, i, d, e, &s); err != nil {
			return s, err
		}
	}
	if err != nil {
		err = x.keep(ctx, m, base, len(found.Documents), reason, &s)
	}
	return s, err
}

func (x *Inbox) extract(ctx context.Context, m *mail.Message) (extract.Found, error) {
	r, err := m.Open(ctx)
	if err != nil {
		return extract.Found{}, fmt.Errorf("read a report: %w", err)
	}
	defer r.Close()
	return extract.Message(r, x.o.Limits)
}

// document reads one file of the message; i is its number there.
func (x *Inbox) document(ctx context.Context, m *mail.Message, base Unread, i int, d extract.Document, e envelope, s *Summary) error {
	base.Kind, base.Name = d.Kind, mail.SafeText(d.Name, maxKey)
	entries, err := read(d, e)
	if err == nil {
		err = x.room(ctx, entries)
	}
	if reason, shown := reasonOf(err); shown {
		return x.keep(ctx, m, base, i, reason, s)
	}
	if err != nil {
		return err
	}
	for _, one := range entries {
		one.Message, one.Received, one.Sender = m.ID, e.received, base.Sender
		stored, err := x.insert(ctx, one)
		if err != nil {
			return err
		}
		if stored {
			s.Stored++
		} else {
			s.Duplicates++
		}
	}
	return nil
}

// room refuses what the tables have no place for. Two at once may both pass;
// the bound is against floods, not exact.
func (x *Inbox) room(ctx context.Context, entries []entry) error {
	var reports, records int64
	if err := x.o.Store.Get(ctx, "SELECT COUNT(*), CAST(COALESCE(SUM(records), 0) AS BIGINT) FROM report_in", nil, &reports, &records); err != nil {
		return fmt.Errorf("count reports: %w", err)
	}
	for _, e := range entries {
		reports, records = reports+1, records+int64(len(e.rows))
	}
	if reports > x.o.Reports || records > x.o.Records {
		return &extract.Error{Reason: fmt.Sprintf("no more room: %d reports with %d records are kept at most (see report.keep)", x.o.Reports, x.o.Records)}
	}
	return nil
}

// keep remembers what could not be read and lets go of the oldest.
func (x *Inbox) keep(ctx context.Context, m *mail.Message, u Unread, part int, reason string, s *Summary) error {
	s.Unread = append(s.Unread, reason)
	r, err := m.Open(ctx)
	if err != nil {
		return fmt.Errorf("keep an unreadable report: %w", err)
	}
	defer r.Close()
	if u.Content, err = io.ReadAll(io.LimitReader(r, x.o.Content)); err != nil {
		return fmt.Errorf("keep an unreadable report: %w", err)
	}
	_, err = x.o.Store.Submit(ctx,
		store.Statement{SQL: "INSERT INTO report_in_unread (id, message, part, kind, received, sender, name, reason, size, content)" +
			" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (message, part) DO NOTHING",
			Args: []any{int64(x.o.IDs.Next()), int64(u.Message), part, string(u.Kind), u.Received.UnixMilli(), u.Sender, u.Name, reason, u.Size, u.Content}},
		store.Statement{SQL: "DELETE FROM report_in_unread WHERE id <= (SELECT id FROM report_in_unread ORDER BY id DESC LIMIT 1 OFFSET ?)", Args: []any{x.o.Unread}})
	if err != nil {
		return fmt.Errorf("keep an unreadable report: %w", err)
	}
	return nil
}
