package outgoing

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/auth/dmarc"
	"gatepost/mail"
	"gatepost/policy"
	"gatepost/queue"
	"gatepost/report/aggregate"
	"gatepost/report/tally"
	"gatepost/trace"
)

// TestOnceADay: one report after the day, about the whole of it, whatever is
// asked again.
func TestOnceADay(t *testing.T) {
	each(t, func(r *rig) {
		r.saw("a.example", "192.0.2.1", 3)
		r.saw("a.example", "192.0.2.2", 2, refused)
		r.at(yesterday().Add(time.Hour))
		r.wants("while the day lasts", r.subjects(), "")
		due := Due(tally.DayOf(yesterday()), domain(r.t, "a.example"), r.settings.Window)
		r.at(due.Add(-time.Second))
		r.wants("before its time", r.subjects(), "")
		r.at(due)
		r.at(due.Add(planEvery))
		r.Sender = r.node() // a restart
		r.at(due.Add(time.Hour))
		r.wants("after it", r.subjects(), "a.example")
		s := r.sent()[0]
		if s.Begin != time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC) || s.End.Sub(s.Begin) != 24*time.Hour-time.Second || s.Org != "Us" || s.Email != "out@us.example" {
			r.t.Errorf("%+v", s)
		}
		if len(s.Records) != 2 || s.Records[0].Count != 3 || s.Records[0].Disposition != "none" || s.Records[1].Disposition != "reject" || s.Policy.P != "none" || s.Policy.Discovery != "treewalk" {
			r.t.Errorf("%+v", s)
		}
		m := r.door.got[0]
		if m.Origin.Role != mail.RoleInternal || m.Origin.From != domain(r.t, "us.example") || m.Envelope.From != address(r.t, "out@us.example") ||
			len(m.Envelope.Recipients) != 1 || m.Envelope.Recipients[0].Notify != mail.NotifyNever || m.Envelope.Recipients[0].Address != address(r.t, "d@a.example") {
			r.t.Errorf("%+v", m)
		}
		list, err := r.List(r.t.Context(), yesterday(), 10)
		if err != nil || len(list) != 1 || list[0].ReportID != s.ID || list[0].Message != m.ID || list[0].Messages != 5 || list[0].Copies[0].Address != "d@a.example" {
			r.t.Errorf("%+v, %v", list, err)
		}
	})
}

// TestOff: nothing leaves unless it is switched on.
func TestOff(t *testing.T) {
	each(t, func(r *rig) {
		r.saw("a.example", "192.0.2.1", 3)
		r.settings.Enabled = false
		r.at(r.nextMorning())
		r.wants("sent", r.subjects(), "")
		if d, err := r.Draft(r.t.Context(), r.settings, tally.DayOf(yesterday()), domain(r.t, "a.example")); err != nil || d.Code != "" || len(d.To) != 1 {
			r.t.Errorf("it can be looked at: %+v, %v", d, err)
		}
	})
}

// TestForger: whoever is always refused makes us write to nobody.
func TestForger(t *testing.T) {
	each(t, func(r *rig) {
		r.saw("victim.example", "192.0.2.1", 1000, refused)
		r.saw("a.example", "192.0.2.1", 1)
		r.at(r.nextMorning())
		r.wants("sent", r.subjects(), "a.example")
		r.wants("listed", strings.Join(r.why(), "\n"), "a.example sent ") // forgers do not fill the list
		d, id, err := r.Now(r.t.Context(), r.settings, tally.DayOf(yesterday()), domain(r.t, "victim.example"))
		if err != nil || d.Code != NotAccepted || id != 0 {
			r.t.Errorf("by hand: %+v, %v", d, err)
		}
	})
}

// TestNodes: of several nodes that try at the same time one sends.
func TestNodes(t *testing.T) {
	each(t, func(r *rig) {
		r.saw("a.example", "192.0.2.1", 3)
		other := r.node()
		r.now = r.nextMorning()
		for _, x := range []*Sender{other, r.Sender} { // both have planned before either sends
			if err := x.look(r.t.Context(), r.settings); err != nil {
				r.t.Fatal(err)
			}
			x.planned = r.now
		}
		r.Round(r.t.Context(), r.settings)
		other.Round(r.t.Context(), r.settings)
		r.wants("sent", r.subjects(), "a.example")
		if _, _, err := other.Now(r.t.Context(), r.settings, tally.DayOf(yesterday()), domain(r.t, "a.example")); !errors.Is(err, ErrSent) {
			r.t.Errorf("by hand: %v", err)
		}
	})
}

// TestNodesAtOnce: truly at the same moment, too.
func TestNodesAtOnce(t *testing.T) {
	each(t, func(r *rig) {
		const domains = 12
		for i := range domains {
			r.saw(fmt.Sprintf("a%d.example", i), "192.0.2.1", 1)
		}
		r.now = r.nextMorning()
		var all sync.WaitGroup
		for range 4 {
			x := r.node()
			x.o.Count, x.o.Logger = func(string, string) {}, slog.New(slog.DiscardHandler)
			all.Go(func() { x.Round(r.t.Context(), r.settings) })
		}
		all.Wait()
		if n := len(r.sent()); n != domains {
			r.t.Errorf("%d reports about %d domains", n, domains)
		}
	})
}

// TestTrouble: what could not be handed over is tried again, the same report.
func TestTrouble(t *testing.T) {
	each(t, func(r *rig) {
		r.saw("a.example", "192.0.2.1", 3)
		morning := r.nextMorning()
		r.door.err = errAway
		r.at(morning)
		r.door.err, r.zone.trouble["a.example"] = nil, true
		r.at(morning.Add(again - time.Second))
		r.wants("too early", fmt.Sprint(r.counted), "map[deferred trouble:1]")
		r.at(morning.Add(again))
		r.wants("DNS trouble", fmt.Sprint(r.counted), "map[deferred trouble:2]")
		r.zone.trouble["a.example"] = false
		r.at(morning.Add(3*again - time.Second))
		r.wants("sooner than twice the time", fmt.Sprint(r.counted), "map[deferred trouble:2]")
		r.at(morning.Add(3 * again))
		r.wants("sent", r.subjects(), "a.example")
		d, err := r.Draft(r.t.Context(), r.settings, tally.DayOf(yesterday()), domain(r.t, "a.example"))
		if err != nil || d.Report.ID != r.sent()[0].ID {
			r.t.Errorf("another id: %+v, %v", d.Report, err)
		}
	})
}

// TestDoubtfulDestination: one address that DNS says nothing about keeps the
// others waiting for a day, not for ever.
func TestDoubtfulDestination(t *testing.T) {
	each(t, func(r *rig) {
		r.saw("a.example", "192.0.2.1", 3)
		r.zone.doubt = errors.New("SERVFAIL for b.example")
		end := tally.DayOf(yesterday()).Begin().Add(24 * time.Hour)
		r.at(end.Add(23 * time.Hour))
		r.wants("at first", r.subjects(), "")
		r.at(end.Add(25 * time.Hour))
		r.wants("a day later", r.subjects(), "a.example")
		r.wants("said", r.why()[0], "a.example sent  : SERVFAIL for b.example")
	})
}

// TestDestinations: who of the record gets the report.
func TestDestinations(t *testing.T) {
	for record, want := range map[string]string{
		"": "a.example skipped there is no DMARC record at a.example any more",
		"above v=DMARC1; p=none; rua=mailto:d@example": "a.example skipped there is no DMARC record at a.example any more",
		"v=DMARC1; p=none": "a.example skipped the DMARC record of a.example asks for no reports any more",
		"v=DMARC1; p=none; rua=mailto:x@stranger.example":                       "a.example skipped no address of its record may get the report mailto:x@stranger.example: it has not agreed",
		"v=DMARC1; p=none; rua=mailto:x@stranger.example,mailto:d@a.example":    "a.example sent  mailto:x@stranger.example: it has not agreed",
		"v=DMARC1; p=none; rua=mailto:OUT@us.example":                           "a.example skipped no address of its record may get the report mailto:OUT@us.example: it is the sender of our reports",
		"v=DMARC1; p=none; rua=mailto:small@a.example!1k,mailto:d@a.example!1m": "a.example sent  mailto:small@a.example: it takes 1024 octets at most, and the report has ",
		"v=DMARC1; p=none; rua=mailto:small@a.example!1k":                       "a.example skipped no address of its record may get the report mailto:small@a.example: it takes 1024 octets",
	} {
		each(t, func(r *rig) {
			r.zone.records["a.example"] = record
			r.saw("a.example", "192.0.2.1", 3)
			r.at(r.nextMorning())
			if got := r.why(); len(got) != 1 || !strings.HasPrefix(got[0], want) {
				r.t.Errorf("%q:\n got %q\nwant %q", record, got, want)
			}
			for _, m := range r.door.got {
				if len(m.Envelope.Recipients) != 1 || m.Envelope.Recipients[0].Address != address(r.t, "d@a.example") {
					r.t.Errorf("%q: sent to %+v", record, m.Envelope.Recipients)
				}
			}
		})
	}
}

// TestLimits: reports a day and copies for an address.
func TestLimits(t *testing.T) {
	each(t, func(r *rig) {
		r.settings.MaxReports, r.settings.PerDestination = 4, 2
		for i := range 6 {
			name := fmt.Sprintf("%c.example", 'a'+i)
			r.zone.records[name] = "v=DMARC1; p=none; rua=mailto:d@service.example"
			if i > 2 {
				r.zone.records[name] += ",mailto:own@" + name
			}
			r.saw(name, "192.0.2.1", 1)
		}
		r.at(r.nextMorning())
		copies, sent := 0, 0
		for _, m := range r.door.got {
			sent++
			for _, to := range m.Envelope.Recipients {
				if to.Address == address(r.t, "d@service.example") {
					copies++
				}
			}
		}
		list := strings.Join(r.why(), "\n")
		if sent > 4 || copies != 2 || !strings.Contains(list, "it got 2 reports today already") {
			r.t.Errorf("%d reports, %d to one address\n%s", sent, copies, list)
		}
		if n := len(r.why()); n != 6 {
			r.t.Errorf("%d reports are listed, of 6\n%s", n, list)
		}
	})
	each(t, func(r *rig) { // what is skipped does not count
		r.settings.MaxReports = 2
		r.zone.records["none.example"] = "v=DMARC1; p=none"
		r.saw("none.example", "192.0.2.1", 1)
		r.at(r.nextMorning())
		r.now = yesterday()
		for i := range 2 {
			r.saw(fmt.Sprintf("%c.example", 'a'+i), "192.0.2.1", 1)
		}
		r.at(r.nextMorning().Add(planEvery))
		r.wants("skipped and sent", fmt.Sprint(r.counted), "map[sent:2 skipped no_address:1]")
	})
	each(t, func(r *rig) {
		r.settings.MaxReports = 2
		for i := range 4 {
			r.saw(fmt.Sprintf("%c.example", 'a'+i), "192.0.2.1", 1)
		}
		r.at(r.nextMorning())
		if len(r.door.got) != 2 || strings.Count(r.log.String(), "no more DMARC reports today") != 1 || r.counted["skipped limit"] != 2 {
			r.t.Errorf("%d reports; %v\n%s", len(r.door.got), r.counted, r.log.String())
		}
	})
}

// TestNamesBelow: who owns a domain cannot use up all reports by names below it.
func TestNamesBelow(t *testing.T) {
	each(t, func(r *rig) {
		for i := range perOrganization + 3 {
			r.saw(fmt.Sprintf("a%d.evil.example", i), "192.0.2.1", 1)
		}
		r.saw("good.example", "192.0.2.1", 1)
		r.now = r.nextMorning()
		for range 5 {
			r.at(r.now.Add(time.Minute))
		}
		if n := strings.Count(r.subjects(), "evil.example"); n != perOrganization || !strings.Contains(r.subjects(), "good.example") {
			r.t.Errorf("%d reports about one organization", n)
		}
		if r.zone.asked != perOrganization+1 || len(r.why()) != perOrganization+1 || strings.Count(r.log.String(), "organization=\"2026-11-01 evil.example\"") != 1 {
			r.t.Errorf("DNS was asked about %d names, %d are listed\n%s", r.zone.asked, len(r.why()), r.log.String())
		}
	})
}

// TestSuffixOwnerPaysForItsNames: a public suffix with a policy of its own is
// not the organization of the names that others registered below it.
func TestSuffixOwnerPaysForItsNames(t *testing.T) {
	each(t, func(r *rig) {
		for i := range perOrganization {
			r.saw(fmt.Sprintf("town%d.gov.uk", i), "192.0.2.1", 1)
		}
		r.now = r.nextMorning()
		for range 5 {
			r.at(r.now.Add(time.Minute))
		}
		sent, late := len(r.door.got), r.now
		r.now = yesterday()
		r.saw("gov.uk", "192.0.2.1", 1)
		r.at(late.Add(planEvery))
		if sent != perOrganization || len(r.door.got) != sent+1 {
			r.t.Errorf("%d reports, then %d; %s", sent, len(r.door.got)-sent, r.why()[0])
		}
	})
}

// TestSlowNamesHoldUpOthers: whoever answers DNS slowly, or never, comes behind
// those that were not asked yet, and may take so long only.
func TestSlowNamesHoldUpOthers(t *testing.T) {
	now := yesterday()
	plan := []candidate{{subject{0, domain(t, "late.example")}, now.Add(time.Second), 0}, {subject{0, domain(t, "new.example")}, now, 0},
		{subject{0, domain(t, "slow.example")}, now.Add(-time.Hour), 3}, {subject{0, domain(t, "slower.example")}, now.Add(-2 * time.Hour), 4}}
	do, rest := due(plan, now, 2)
	if len(do) != 2 || do[0].domain != domain(t, "new.example") || do[1].domain != domain(t, "slow.example") || len(rest) != 2 {
		t.Errorf("%v, then %v", do, rest)
	}
	each(t, func(r *rig) {
		r.saw("a.example", "192.0.2.1", 1)
		begin := time.Now()
		r.at(r.nextMorning())
		if d := r.zone.until; d.Before(begin.Add(dnsWait-time.Second)) || d.After(time.Now().Add(dnsWait)) {
			r.t.Errorf("DNS has until %s, at %s", d, begin)
		}
	})
}

// TestMostUsedNamesGetReports: not the first by the alphabet.
func TestMostUsedNamesGetReports(t *testing.T) {
	each(t, func(r *rig) {
		for i := range perOrganization + 2 {
			r.saw(fmt.Sprintf("a%d.example.com", i), "192.0.2.1", 1)
		}
		r.saw("z.example.com", "192.0.2.1", 2)
		r.now = r.nextMorning()
		for range 5 {
			r.at(r.now.Add(planEvery))
		}
		if n := strings.Count(r.subjects(), "example.com"); n != perOrganization || !strings.Contains(r.subjects(), "z.example.com") {
			r.t.Errorf("%d: %s", n, r.subjects())
		}
	})
}

// TestLargeReport: the sources with the most messages, and how much is left out.
func TestLargeReport(t *testing.T) {
	each(t, func(r *rig) {
		for i := range 40 {
			r.saw("a.example", fmt.Sprintf("192.0.2.%d", i+1), i+1)
		}
		r.settings.MaxRecords = 30
		morning := r.nextMorning()
		d, err := r.Draft(r.t.Context(), r.settings, tally.DayOf(yesterday()), domain(r.t, "a.example"))
		if err != nil {
			r.t.Fatal(err)
		}
		r.settings.MaxSize = int64(len(d.content)) - 1
		r.at(morning)
		s := r.sent()[0]
		if len(s.Records) != 15 || s.Records[0].Count != 40 || s.Records[14].Count != 26 ||
			fmt.Sprint(s.Errors) != "[25 records with the fewest messages, 325 messages in all, are left out]" {
			r.t.Errorf("%d records, %q", len(s.Records), s.Errors)
		}
		r.settings.MaxSize = 100
		if d, err := r.Draft(r.t.Context(), r.settings, tally.DayOf(yesterday()), domain(r.t, "a.example")); err != nil || d.Code != Limit {
			r.t.Errorf("%+v, %v", d.Code, err)
		}
	})
}

// TestChangedPolicy: the last one stands in the report, which says so.
func TestChangedPolicy(t *testing.T) {
	each(t, func(r *rig) {
		r.saw("a.example", "192.0.2.1", 5)
		r.now = r.now.Add(time.Hour)
		r.saw("a.example", "192.0.2.1", 1, func(m *tally.Message) {
			changed := *m.Facts.DMARC.Record
			changed.Policy, changed.DKIMStrict = "reject", true
			m.Facts.DMARC.Record, m.Facts.DMARC.Policy = &changed, "reject"
		})
		r.at(r.nextMorning())
		s := r.sent()[0]
		if s.Policy.P != "reject" || s.Policy.ADKIM != "s" || len(s.Records) != 2 || !strings.Contains(fmt.Sprint(s.Errors), "changed during this day") {
			r.t.Errorf("%+v", s)
		}
	})
}

// TestBounce: a destination that bounced gets nothing until the pause is over.
func TestBounce(t *testing.T) {
	each(t, func(r *rig) {
		ctx := r.t.Context()
		send := func() {
			r.saw("a.example", "192.0.2.1", 1)
			r.at(r.nextMorning())
			r.now = tally.DayOf(r.now).Begin().Add(12 * time.Hour)
		}
		send()
		r.wants("the first", r.subjects(), "a.example")
		done := make(chan error)
		stop := r.watch(done)
		r.suppress.Observe(queue.Event{Kind: trace.KindFailed, Message: r.door.got[0], Recipient: address(r.t, "d@a.example"), Status: mail.Status{Code: 550, Text: "no such user"}})
		for paused := false; !paused; {
			_, paused, _ = r.suppress.Paused(ctx, address(r.t, "d@a.example"))
		}
		stop()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
		send()
		r.wants("paused", r.subjects(), "a.example")
		if got := r.why()[0]; !strings.Contains(got, "paused until 2026-11-09T") || !strings.Contains(got, "550") {
			r.t.Errorf("%q", got)
		}
		for range 7 {
			send()
		}
		r.wants("afterwards", r.subjects(), "a.example a.example")
	})
}

// TestMissedDays: what was missed is sent later, and not too late.
func TestMissedDays(t *testing.T) {
	each(t, func(r *rig) {
		for range 5 {
			r.saw("a.example", "192.0.2.1", 1)
			r.now = r.now.Add(24 * time.Hour)
		}
		r.at(r.now.Add(6 * time.Hour)) // the 6th, 18:00
		var days []string
		for _, s := range r.sent() {
			days = append(days, s.Begin.Format("2"))
		}
		r.wants("days", strings.Join(days, " "), "3 4 5")
		r.wants("too late", fmt.Sprint(r.counted["skipped too_late"]), "1")
		if _, _, err := r.Now(r.t.Context(), r.settings, tally.DayOf(r.now), domain(r.t, "a.example")); !errors.Is(err, ErrDay) {
			r.t.Errorf("today: %v", err)
		}
		if _, _, err := r.Now(r.t.Context(), r.settings, tally.DayOf(yesterday()), domain(r.t, "a.example")); !errors.Is(err, ErrDay) {
			r.t.Errorf("long ago: %v", err)
		}
	})
}

// TestRoundIsBounded: many at once go out over several rounds.
func TestRoundIsBounded(t *testing.T) {
	each(t, func(r *rig) {
		for i := range perRound + 5 {
			r.saw(fmt.Sprintf("a%d.example", i), "192.0.2.1", 1)
		}
		r.at(r.nextMorning())
		r.wants("the first round", fmt.Sprint(len(r.door.got)), fmt.Sprint(perRound))
		r.at(r.now.Add(time.Minute))
		r.wants("the second", fmt.Sprint(len(r.door.got)), fmt.Sprint(perRound+5))
	})
}

// TestByHand: an administrator may send what was skipped, once.
func TestByHand(t *testing.T) {
	each(t, func(r *rig) {
		r.zone.records["a.example"] = "v=DMARC1; p=none"
		r.saw("a.example", "192.0.2.1", 1)
		r.at(r.nextMorning())
		r.wants("skipped", r.subjects(), "")
		r.zone.records["a.example"] = "v=DMARC1; p=none; rua=mailto:d@a.example"
		d, id, err := r.Now(r.t.Context(), r.settings, tally.DayOf(yesterday()), domain(r.t, "a.example"))
		if err != nil || id == 0 || d.Code != "" {
			r.t.Fatal(d.Why, err)
		}
		if _, _, err := r.Now(r.t.Context(), r.settings, tally.DayOf(yesterday()), domain(r.t, "a.example")); !errors.Is(err, ErrSent) {
			r.t.Errorf("twice: %v", err)
		}
		r.settings.MaxReports = 1
		r.now = yesterday()
		r.saw("b.example", "192.0.2.1", 1)
		r.now = r.nextMorning()
		if d, _, err := r.Now(r.t.Context(), r.settings, tally.DayOf(yesterday()), domain(r.t, "b.example")); err != nil || d.Code != Limit {
			r.t.Errorf("beyond the limit: %s, %v", d.Code, err)
		}
		if d, _, err := r.Now(r.t.Context(), r.settings, tally.DayOf(yesterday()), domain(r.t, "c.example")); err != nil || d.Code != NothingCounted {
			r.t.Errorf("nothing counted: %s, %v", d.Code, err)
		}
	})
}

// TestDue: the same on all nodes, spread over the window.
func TestDue(t *testing.T) {
	day, window := tally.DayOf(yesterday()), 4*time.Hour
	first, last := time.Duration(1<<62), time.Duration(0)
	for i := range 200 {
		d := domain(t, fmt.Sprintf("a%d.example", i))
		after := Due(day, d, window).Sub((day + 1).Begin())
		first, last = min(first, after), max(last, after)
		if Due(day, d, 0) != (day + 1).Begin().Add(Settle) {
			t.Error("without a window it is not at once")
		}
	}
	if first < Settle || first > Settle+15*time.Minute || last > Settle+window || last < Settle+window-15*time.Minute {
		t.Errorf("from %s to %s", first, last)
	}
	if at := Due(day, domain(t, "a.example"), window).Format(time.RFC3339); at != "2026-11-02T00:10:10Z" {
		t.Errorf("%s on this node", at) // on all nodes and in all versions the same
	}
	if Due(day, domain(t, "a.example"), window).Add(24*time.Hour) == Due(day+1, domain(t, "a.example"), window) {
		t.Error("it is the same time every day")
	}
}

func TestExpire(t *testing.T) {
	each(t, func(r *rig) {
		r.saw("a.example", "192.0.2.1", 1)
		r.at(r.nextMorning())
		for _, c := range []struct{ days, facts, list int64 }{{3, 1, 1}, {8, 0, 1}, {70, 0, 0}} {
			r.now = yesterday().AddDate(0, 0, int(c.days))
			if err := r.Expire(r.t.Context()); err != nil {
				r.t.Fatal(err)
			}
			var facts, list, copies int64
			if err := r.store.Get(r.t.Context(), "SELECT (SELECT COUNT(*) FROM report_tally), (SELECT COUNT(*) FROM report_out), (SELECT COUNT(*) FROM report_copy)", nil, &facts, &list, &copies); err != nil {
				r.t.Fatal(err)
			}
			if facts != c.facts || list != c.list || copies != c.list {
				r.t.Errorf("after %d days: %d facts, %d reports, %d copies", c.days, facts, list, copies)
			}
		}
	})
}

// TestReasons: both formats have their words for why.
func TestReasons(t *testing.T) {
	each(t, func(r *rig) {
		r.saw("a.example", "192.0.2.1", 1, func(m *tally.Message) {
			m.Facts.DMARC.Value, m.Facts.DMARC.SPFAligned = dmarc.Pass, true
		})
		r.saw("a.example", "192.0.2.2", 1, func(m *tally.Message) {
			m.Verdict = &policy.Verdict{Action: policy.Quarantine, Rule: "spf"}
		})
		day := tally.DayOf(yesterday())
		r.now = r.nextMorning()
		for format, want := range map[string]string{"rfc9990": "pass [] quarantine [{local_policy spf}]", "rfc7489": "none [] quarantine [{local_policy spf}]"} {
			r.settings.Format = aggregate.Format(format)
			d, err := r.Draft(r.t.Context(), r.settings, day, domain(r.t, "a.example"))
			if err != nil {
				r.t.Fatal(err)
			}
			r.door.got = []*mail.Message{{Content: mail.MemoryBody(d.content)}}
			got := map[string]string{}
			for _, x := range r.sent()[0].Records {
				got[x.Source.String()] = fmt.Sprintf("%s %v", x.Disposition, x.Reasons)
			}
			r.wants(format, got["192.0.2.1"]+" "+got["192.0.2.2"], want)
		}
	})
}
