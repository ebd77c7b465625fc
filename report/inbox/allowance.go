package inbox

import (
	"context"
	"fmt"
	"time"

	"gatepost/report/extract"
	"gatepost/store"
)

// Allowance is how much may be read on one day (UTC). Anyone who knows the
// address can send reports: without it a stranger with a hundred messages
// takes all the room that there is, and processor time with it.
type Allowance struct {
	Reports int64
	Records int64
	Octets  int64 // of messages, and of what their archives become
}

// The shares of the tables that come from Options.Reports and Records: of one
// sender, and of all together; of one at least what one message may hold, and of
// all what five senders have.
const (
	shareOfSender   = 50
	shareOfAll      = 10
	octetsPerRecord = 2 << 10
	leastReports    = 10
	leastRecords    = 20_000
	leastOctets     = extract.DefaultUncompressed + extract.DefaultMessage
)

// share fills in what a does not say.
func (a Allowance) share(reports, records int64, part int) Allowance {
	senders := int64(shareOfSender / part)
	out := Allowance{
		Reports: max(reports/int64(part), senders*leastReports),
		Records: max(records/int64(part), senders*leastRecords),
		Octets:  max(records/int64(part)*octetsPerRecord, senders*leastOctets),
	}
	for _, f := range []struct{ given, into *int64 }{{&a.Reports, &out.Reports}, {&a.Records, &out.Records}, {&a.Octets, &out.Octets}} {
		if *f.given > 0 {
			*f.into = *f.given
		}
	}
	return out
}

// exhausted names what is used up.
func (a Allowance) exhausted(used Allowance) string {
	switch {
	case used.Reports >= a.Reports:
		return fmt.Sprintf("%d reports", a.Reports)
	case used.Records >= a.Records:
		return fmt.Sprintf("%d records", a.Records)
	case used.Octets >= a.Octets:
		return fmt.Sprintf("%d MiB", a.Octets>>20)
	}
	return ""
}

// everybody stands for all senders where their common allowance is used up:
// each would be a row.
const everybody = "*"

// usage is what one sender and all together have used today.
type usage struct {
	own, all          Allowance
	refused, everyone int64 // messages refused for the sender, and for everybody
}

// dayOf counts days (UTC).
func dayOf(t time.Time) int64 { return t.Unix() / (24 * 60 * 60) }

func (x *Inbox) usage(ctx context.Context, sender string) (usage, error) {
	var u usage
	sum := func(column string) string { return "CAST(COALESCE(SUM(" + column + "), 0) AS BIGINT)" }
	of := func(column string) string { return sum("CASE WHEN sender = ? THEN " + column + " ELSE 0 END") }
	err := x.o.Store.Get(ctx, "SELECT "+sum("reports")+", "+sum("records")+", "+sum("octets")+", "+
		of("reports")+", "+of("records")+", "+of("octets")+", "+of("refused")+", "+of("refused")+" FROM report_in_day WHERE day = ?",
		[]any{sender, sender, sender, sender, everybody, dayOf(x.o.Now())},
		&u.all.Reports, &u.all.Records, &u.all.Octets, &u.own.Reports, &u.own.Records, &u.own.Octets, &u.refused, &u.everyone)
	if err != nil {
		return u, fmt.Errorf("count the reports of today: %w", err)
	}
	return u, nil
}

// admit tells why a message is not even opened; "" where it is.
func (x *Inbox) admit(ctx context.Context, sender string) (reason string, err error) {
	u, err := x.usage(ctx, sender)
	if err != nil {
		return "", err
	}
	row, before := sender, u.refused
	what := x.o.Sender.exhausted(u.own)
	reason = fmt.Sprintf("%s sent %s today, more is not read (report.max_reports, max_records)", named(sender), what)
	if what == "" {
		row, before = everybody, u.everyone
		what = x.o.Daily.exhausted(u.all)
		reason = fmt.Sprintf("all senders together sent %s today, more is not read (report.max_reports, max_records)", what)
	}
	if what == "" {
		return "", nil
	}
	if before == 0 { // once a day
		x.o.Logger.Warn("reports are refused until midnight UTC", "reason", reason)
	}
	return reason, x.count(ctx, row, Allowance{}, 1)
}

// named words a sender for people.
func named(sender string) string {
	if sender == "" {
		return "mail that proves no sender"
	}
	return sender
}

// count adds to what a sender has used today.
func (x *Inbox) count(ctx context.Context, sender string, used Allowance, refused int64) error {
	_, err := x.o.Store.Submit(ctx, store.Statement{
		SQL: "INSERT INTO report_in_day (day, sender, reports, records, octets, refused) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (day, sender) DO UPDATE SET" +
			" reports = report_in_day.reports + excluded.reports, records = report_in_day.records + excluded.records," +
			" octets = report_in_day.octets + excluded.octets, refused = report_in_day.refused + excluded.refused",
		Args: []any{dayOf(x.o.Now()), sender, used.Reports, used.Records, used.Octets, refused}})
	if err != nil {
		return fmt.Errorf("count the reports of today: %w", err)
	}
	return nil
}

// Refusal is mail that was not read because its sender had sent enough.
type Refusal struct {
	Day      string `json:"day"`    // UTC
	Sender   string `json:"sender"` // "*": all together had; empty: mail that proves no sender
	Messages int64  `json:"messages"`
}

// refusalDays is how long the counters are kept.
const refusalDays = 30

// Refusals lists them, the latest first.
func (x *Inbox) Refusals(ctx context.Context, since time.Time, limit int) ([]Refusal, error) {
	var out []Refusal
	err := x.o.Store.Select(ctx, func(scan func(...any) error) error {
		var r Refusal
		var day int64
		err := scan(&day, &r.Sender, &r.Messages)
		r.Day = time.Unix(day*24*60*60, 0).UTC().Format(time.DateOnly)
		out = append(out, r)
		return err
	}, "SELECT day, sender, refused FROM report_in_day WHERE refused > 0 AND day >= ? ORDER BY day DESC, refused DESC, sender LIMIT ?", dayOf(since), limit)
	if err != nil {
		return nil, fmt.Errorf("list refused reports: %w", err)
	}
	return out, nil
}
