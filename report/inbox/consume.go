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

// unreadShare is the part of Options.Unread that one sender may have.
const unreadShare = 4

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
	if o.Proven == nil {
		o.Proven = func(*mail.Message) string { return "" }
	}
	o.Sender = o.Sender.share(o.Reports, o.Records, shareOfSender)
	o.Daily = o.Daily.share(o.Reports, o.Records, shareOfAll)
	return &Inbox{o}, nil
}

// Summary is what became of a message.
type Summary struct {
	Stored     int
	Duplicates int
	Unread     []string // reasons
	Refused    string   // why the message was not opened
	used       Allowance
}

// String is the summary in one line.
func (s Summary) String() string {
	if s.Refused != "" {
		return "report refused: " + s.Refused
	}
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
	sender := mail.SafeText(x.o.Proven(m), maxKey)
	if reason, err := x.admit(ctx, sender); reason != "" || err != nil {
		return Summary{Refused: reason}, err
	}
	found, err := x.extract(ctx, m)
	reason, shown := reasonOf(err)
	if err != nil && !shown {
		return Summary{}, err
	}
	r := x.reading(m, found, sender)
	err = r.documents(ctx, found.Documents, reason)
	return r.sum, errors.Join(err, x.count(ctx, sender, r.sum.used, 0))
}

// reading is a message on its way into the tables.
type reading struct {
	*Inbox
	message *mail.Message
	from    envelope
	base    Unread // what is the same of all its files
	sum     Summary
}

func (x *Inbox) reading(m *mail.Message, found extract.Found, sender string) *reading {
	r := &reading{Inbox: x, message: m, sum: Summary{used: Allowance{Octets: m.Content.Size() + found.Unpacked}},
		from: envelope{messageID: mail.SafeText(found.MessageID, maxKey), from: mail.SafeText(found.From, maxSender), received: x.o.Now()}}
	r.base = Unread{Message: m.ID, Received: r.from.received, Sender: r.from.from, Size: m.Content.Size(), Proven: sender}
	if r.base.Sender == "" {
		r.base.Sender = m.Envelope.From.String()
	}
	return r
}

// documents reads the files of the message; reason is why it has no more of
// them.
func (r *reading) documents(ctx context.Context, files []extract.Document, reason string) error {
	for i, d := range files {
		if err := r.document(ctx, i, d); err != nil {
			return err
		}
	}
	if reason != "" {
		return r.keep(ctx, r.base, len(files), reason)
	}
	return nil
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
func (r *reading) document(ctx context.Context, i int, d extract.Document) error {
	entries, err := read(d, r.from)
	if err == nil {
		err = r.room(ctx, entries)
	}
	if reason, shown := reasonOf(err); shown {
		u := r.base
		u.Kind, u.Name = d.Kind, mail.SafeText(d.Name, maxKey)
		return r.keep(ctx, u, i, reason)
	}
	if err != nil {
		return err
	}
	for _, one := range entries {
		one.Message, one.Received, one.Sender, one.Proven = r.message.ID, r.from.received, r.base.Sender, r.base.Proven
		stored, err := r.insert(ctx, one)
		if err != nil {
			return err
		}
		r.sum.used.Reports, r.sum.used.Records = r.sum.used.Reports+1, r.sum.used.Records+int64(len(one.rows))
		if stored {
			r.sum.Stored++
		} else {
			r.sum.Duplicates++
		}
	}
	return nil
}

// room refuses what the tables, or the sender's share of them, have no place
// for. Two at once may both pass; the bound is against floods, not exact.
func (r *reading) room(ctx context.Context, entries []entry) error {
	var reports, records int64
	if err := r.o.Store.Get(ctx, "SELECT COUNT(*), CAST(COALESCE(SUM(records), 0) AS BIGINT) FROM report_in", nil, &reports, &records); err != nil {
		return fmt.Errorf("count reports: %w", err)
	}
	more := int64(0)
	for _, e := range entries {
		more += int64(len(e.rows))
	}
	reports, records = reports+int64(len(entries)), records+more
	u, err := r.usage(ctx, r.base.Proven)
	if err != nil {
		return err
	}
	if rows := r.sum.used.Records + more; u.own.Records+rows > r.o.Sender.Records || u.all.Records+rows > r.o.Daily.Records {
		return &extract.Error{Reason: fmt.Sprintf("%d more records than %s may send today (report.max_records)", more, named(r.base.Proven))}
	}
	if reports > r.o.Reports || records > r.o.Records {
		return &extract.Error{Reason: fmt.Sprintf("no more room: %d reports with %d records are kept at most (report.max_reports, max_records, keep)", r.o.Reports, r.o.Records)}
	}
	return nil
}

// keep remembers what could not be read and lets go of the oldest.
func (r *reading) keep(ctx context.Context, u Unread, part int, reason string) error {
	r.sum.Unread = append(r.sum.Unread, reason)
	r.sum.used.Reports++
	content, err := r.message.Open(ctx)
	if err != nil {
		return fmt.Errorf("keep an unreadable report: %w", err)
	}
	defer content.Close()
	if u.Content, err = io.ReadAll(io.LimitReader(content, r.o.Content)); err != nil {
		return fmt.Errorf("keep an unreadable report: %w", err)
	}
	_, err = r.o.Store.Submit(ctx,
		store.Statement{SQL: "INSERT INTO report_in_unread (id, message, part, kind, received, sender, name, reason, size, proven, content)" +
			" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (message, part) DO NOTHING",
			Args: []any{int64(r.o.IDs.Next()), int64(u.Message), part, string(u.Kind), u.Received.UnixMilli(), u.Sender, u.Name, reason, u.Size, u.Proven, u.Content}},
		// One sender cannot push out what others sent.
		store.Statement{SQL: "DELETE FROM report_in_unread WHERE proven = ? AND id <= (SELECT id FROM report_in_unread WHERE proven = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
			Args: []any{u.Proven, u.Proven, max(r.o.Unread/unreadShare, 1)}},
		store.Statement{SQL: "DELETE FROM report_in_unread WHERE id <= (SELECT id FROM report_in_unread ORDER BY id DESC LIMIT 1 OFFSET ?)", Args: []any{r.o.Unread}})
	if err != nil {
		return fmt.Errorf("keep an unreadable report: %w", err)
	}
	return nil
}
