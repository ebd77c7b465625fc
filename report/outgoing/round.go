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
	day    tally.Day
	domain mail.Domain
	after  time.Time // not before, after trouble
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

// due takes from a plan what is to be done at a time, the earliest first.
func due(plan []candidate, now time.Time, window time.Duration, most int) (do, rest []candidate) {
	for _, c := range plan {
		if len(do) < most && !now.Before(Due(c.day, c.domain, window)) && !now.Before(c.after) {
			do = append(do, c)
		} else {
			rest = append(rest, c)
		}
	}
	return do, rest
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
	do, rest := due(x.plan, now, s.Window, perRound)
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
		x.skip(ctx, c, Draft{}.refuse(TooLate, fmt.Sprintf("the day ended more than %d days ago", LateDays)))
		return
	}
	err := x.one(ctx, s, c)
	if err == nil || ctx.Err() != nil {
		return
	}
	c.after = x.o.Now().Add(again)
	x.plan = append(x.plan, c)
	x.o.Count("deferred", "trouble")
	x.o.Logger.Warn("DMARC report not sent; it is tried again", "domain", c.domain.String(), "day", c.day.String(),
		"next", c.after.UTC().Format(time.RFC3339), telemetry.KeyError, err.Error())
}

// one sends the report about c, or skips it for good.
func (x *Sender) one(ctx context.Context, s Settings, c candidate) error {
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

// limit refuses what is beyond the reports of a day.
func (x *Sender) limit(ctx context.Context, s Settings, d Draft) (Draft, error) {
	today := tally.DayOf(x.o.Now())
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
	before := x.plan
	x.plan = nil
	for _, sum := range sums {
		if sum.Accepted == 0 || known[candidate{day: sum.Day, domain: sum.Domain}] {
			continue
		}
		c := candidate{day: sum.Day, domain: sum.Domain}
		if i := slices.IndexFunc(before, func(b candidate) bool { return b.day == c.day && b.domain == c.domain }); i >= 0 {
			c.after = before[i].after
		}
		x.plan = append(x.plan, c)
	}
	slices.SortStableFunc(x.plan, func(a, b candidate) int {
		return Due(a.day, a.domain, s.Window).Compare(Due(b.day, b.domain, s.Window))
	})
	return nil
}
