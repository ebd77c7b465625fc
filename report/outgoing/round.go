package outgoing

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"gatepost/mail"
	"gatepost/report/tally"
	"gatepost/telemetry"
)

// candidate is a domain and day about which nothing was sent yet.
type candidate struct {
	subject
	at time.Time // when it is due, later after trouble
}

// subject is what a report is about.
type subject struct {
	day    tally.Day
	domain mail.Domain
}

// Due is when the report about a day is sent: at a time within the window
// after the day that nobody chose and all nodes know.
func Due(day tally.Day, domain mail.Domain, window time.Duration) time.Time {
	at := (day + 1).Begin().Add(Settle)
	if window < time.Second {
		return at
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "gatepost report %s %s", day, domain))
	seconds := binary.BigEndian.Uint64(sum[:8]) % uint64(window/time.Second)
	return at.Add(time.Duration(seconds) * time.Second)
}

// due takes from a plan what is to be done now, the earliest first.
func due(plan []candidate, now time.Time, most int) (do, rest []candidate) {
	slices.SortStableFunc(plan, func(a, b candidate) int { return a.at.Compare(b.at) })
	n := 0
	for n < len(plan) && n < most && !now.Before(plan[n].at) {
		n++
	}
	return plan[:n:n], plan[n:]
}

// Round sends what is due.
func (x *Sender) Round(ctx context.Context, s Settings) {
	if !s.Enabled {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.o.Now()
	if now.Sub(x.planned) >= planEvery || now.Before(x.planned) {
		if err := x.look(ctx, s); err != nil {
			x.o.Logger.Warn("it was not found out which DMARC reports are to be sent; it is tried again", telemetry.KeyError, err.Error())
			return
		}
		x.planned = now
	}
	do, rest := due(x.plan, now, perRound)
	x.plan = rest
	for _, c := range do {
		if ctx.Err() != nil {
			return
		}
		x.attempt(ctx, s, c)
	}
}

// attempt sends one report, or remembers when to try again.
func (x *Sender) attempt(ctx context.Context, s Settings, c candidate) {
	if c.day < tally.DayOf(x.o.Now())-LateDays {
		x.skip(ctx, c.subject, Draft{}.refuse(TooLate, fmt.Sprintf("the day ended more than %d days ago", LateDays)))
		return
	}
	err := x.one(ctx, s, c.subject)
	if err == nil || ctx.Err() != nil {
		return
	}
	c.at = x.o.Now().Add(again)
	x.plan = append(x.plan, c)
	x.o.Count("deferred", "trouble")
	x.o.Logger.Warn("DMARC report not sent; it is tried again", "domain", c.domain.String(), "day", c.day.String(),
		"next", c.at.UTC().Format(time.RFC3339), telemetry.KeyError, err.Error())
}

// one sends the report about c, or skips it for good.
func (x *Sender) one(ctx context.Context, s Settings, c subject) error {
	d, err := x.Draft(ctx, s, c.day, c.domain)
	if err != nil {
		return err
	}
	if d.Code == "" {
		if d, err = x.limit(ctx, s, d); err != nil {
			return err
		}
	}
	if d.Code != "" {
		x.skip(ctx, c, d)
		return nil
	}
	_, err = x.send(ctx, s, d)
	return err
}

// limit refuses what is beyond the reports of a day, and of a day about the
// names of one organization: who owns a domain has any number of names below.
func (x *Sender) limit(ctx context.Context, s Settings, d Draft) (Draft, error) {
	today := tally.DayOf(x.o.Now())
	org := tally.Organization(d.Sum.Domain)
	if n, err := x.sentAbout(ctx, today.Begin(), org); err != nil {
		return d, err
	} else if n >= perOrganization {
		return d.refuse(Limit, fmt.Sprintf("%d reports about %s and names below it were sent on %s already", n, org, today)), nil
	}
	n, err := x.sentSince(ctx, today.Begin())
	if err != nil || n < int64(s.MaxReports) {
		return d, err
	}
	if x.limited.Swap(int64(today)) != int64(today) {
		x.o.Logger.Warn("no more DMARC reports today: report.dmarc_aggregate.max_reports is reached", "max_reports", s.MaxReports)
	}
	return d.refuse(Limit, fmt.Sprintf("%d reports were sent on %s already (max_reports)", n, today)), nil
}

// look finds out what is to be sent. The times at which trouble is over stay.
func (x *Sender) look(ctx context.Context, s Settings) error {
	today := tally.DayOf(x.o.Now())
	sums, err := x.o.Tally.Sums(ctx, today-LateDays-1, today)
	if err != nil {
		return err
	}
	known, err := x.known(ctx, today-LateDays-1)
	if err != nil {
		return err
	}
	later := map[subject]time.Time{}
	for _, c := range x.plan {
		later[c.subject] = c.at
	}
	x.plan = nil
	for _, sum := range sums {
		c := candidate{subject: subject{sum.Day, sum.Domain}}
		if sum.Accepted == 0 || known[c.subject] {
			continue
		}
		if c.at = Due(c.day, c.domain, s.Window); later[c.subject].After(c.at) {
			c.at = later[c.subject]
		}
		x.plan = append(x.plan, c)
	}
	return nil
}
