package outgoing

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"gatepost/auth/dmarc"
	"gatepost/mail"
	"gatepost/report/tally"
	"gatepost/telemetry"
)

// candidate is a domain and day about which nothing was sent yet.
type candidate struct {
	subject
	at    time.Time // when it is due, later after trouble
	tries int       // that met trouble
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

// due takes from a plan what is to be done now, the earliest first. What met
// trouble before comes last: who makes DNS slow holds up himself.
func due(plan []candidate, now time.Time, most int) (do, rest []candidate) {
	slices.SortStableFunc(plan, func(a, b candidate) int { return a.at.Compare(b.at) })
	n := 0
	for n < len(plan) && !now.Before(plan[n].at) {
		n++
	}
	slices.SortStableFunc(plan[:n], func(a, b candidate) int { return cmp.Compare(a.tries, b.tries) })
	n = min(n, most)
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
	c.at = x.o.Now().Add(again << min(c.tries, maxDoublings))
	c.tries++
	x.plan = append(x.plan, c)
	x.o.Count("deferred", "trouble")
	x.o.Logger.Warn("DMARC report not sent; it is tried again", "domain", c.domain.String(), "day", c.day.String(),
		"next", c.at.UTC().Format(time.RFC3339), telemetry.KeyError, err.Error())
}

// one sends the report about c, or skips it for good. Nothing is asked of DNS
// where there is no room for a report.
func (x *Sender) one(ctx context.Context, s Settings, c subject) error {
	sum, err := x.o.Tally.Sum(ctx, c.day, c.domain)
	if err != nil {
		return err
	}
	d, err := x.limit(ctx, s, Draft{Sum: sum})
	if err == nil && d.Code == "" {
		d, err = x.Draft(ctx, s, c.day, c.domain)
	}
	if err != nil {
		return err
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
	org := dmarc.Registered(d.Sum.Domain.String())
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
	before := map[subject]candidate{}
	for _, c := range x.plan {
		before[c.subject] = c
	}
	x.plan = nil
	for _, about := range x.chosen(sums, known) {
		c := candidate{subject: about, at: Due(about.day, about.domain, s.Window)}
		if b, ok := before[about]; ok && b.tries > 0 {
			c = b
		}
		x.plan = append(x.plan, c)
	}
	return nil
}

// chosen are the domains and days that get a report and have none yet. Of the
// names of one organization and a day those with the most mail are taken, and
// no more than may get one: the others cost neither DNS nor the store anything.
func (x *Sender) chosen(sums []tally.Sum, known map[subject]bool) (out []subject) {
	count := map[string]int{}
	about := func(on subject) string { return on.day.String() + " " + dmarc.Registered(on.domain.String()) }
	for on := range known {
		count[about(on)]++
	}
	slices.SortStableFunc(sums, func(a, b tally.Sum) int { return cmp.Compare(b.Accepted, a.Accepted) })
	left, last := 0, ""
	for _, sum := range sums {
		on := subject{sum.Day, sum.Domain}
		switch org := about(on); {
		case sum.Accepted == 0 || known[on]:
		case count[org] >= perOrganization:
			left, last = left+1, org
		default:
			count[org]++
			out = append(out, on)
		}
	}
	if today := int64(tally.DayOf(x.o.Now())); left > 0 && x.crowded.Swap(today) != today {
		x.o.Logger.Warn("names get no DMARC report, for too many of one organization were counted", "names", left, "organization", last, "most", perOrganization)
	}
	return out
}
