package queue

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"gatepost/mail"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func testScheduler(change ...func(*limits)) *scheduler {
	l := limits{running: 100, rows: 1000, perDest: 16, window: 2, dests: 50, known: 20, losses: 3,
		retry: []time.Duration{time.Minute, 5 * time.Minute}, maxSite: 10 * time.Minute}
	for _, c := range change {
		c(&l)
	}
	s := newScheduler(l, func(d time.Duration) time.Duration { return d })
	s.step(epoch, pause{false})
	return s
}

func testParcel(dest string, sender int64, rows int) *parcel {
	return &parcel{id: mail.ID(1), dest: dest, sender: sender, rows: make([]row, rows)}
}

// give offers and hands over a parcel, and gives what is started.
func give(t *testing.T, s *scheduler, p *parcel) []*parcel {
	t.Helper()
	if !s.step(epoch, offered{p.dest, p.sender, 0, len(p.rows)}).admitted {
		t.Fatalf("offer for %s not admitted", p.dest)
	}
	return s.step(epoch, fresh{p}).start
}

func TestWindowBoundsAttemptsAtOnce(t *testing.T) {
	s := testScheduler()
	var started []*parcel
	for range 5 {
		started = append(started, give(t, s, testParcel("a", 1, 1))...)
	}
	if len(started) != 2 {
		t.Fatalf("%d started, the window is 2", len(started))
	}
	if a := s.step(epoch, finished{started[0]}); len(a.start) != 1 {
		t.Errorf("%d started when one had finished", len(a.start))
	}
	if got := give(t, s, testParcel("b", 1, 1)); len(got) != 1 {
		t.Errorf("another destination waits for the first one")
	}
}

func TestRoutesWindowCounts(t *testing.T) {
	s := testScheduler()
	n := 0
	for range 5 {
		if s.step(epoch, offered{"a", 1, 4, 1}).admitted {
			n += len(s.step(epoch, fresh{testParcel("a", 1, 1)}).start)
		}
	}
	if n != 4 {
		t.Errorf("%d started, the route's window is 4", n)
	}
}

func TestSendersTakeTurns(t *testing.T) {
	s := testScheduler(func(l *limits) { l.window = 1 })
	first := give(t, s, testParcel("a", 1, 1))
	for range 6 {
		give(t, s, testParcel("a", 1, 1))
	}
	give(t, s, testParcel("a", 2, 1))
	var order []int64
	for p := first; len(p) > 0; p = s.step(epoch, finished{p[0]}).start {
		order = append(order, p[0].sender)
	}
	if at := slices.Index(order, 2); at < 0 || at > 2 {
		t.Errorf("the letter had to wait for the newsletter: %v", order)
	}
}

func TestDestinationsTakeTurns(t *testing.T) {
	s := testScheduler(func(l *limits) { l.running, l.window = 1, 10 })
	first := give(t, s, testParcel("a", 1, 1))
	for range 6 {
		give(t, s, testParcel("a", 1, 1))
	}
	give(t, s, testParcel("b", 1, 1))
	next := s.step(epoch, finished{first[0]}).start
	next = s.step(epoch, finished{next[0]}).start
	if next[0].dest != "b" {
		t.Errorf("third attempt goes to %s", next[0].dest)
	}
}

func TestOneSenderDoesNotFillADestination(t *testing.T) {
	s := testScheduler(func(l *limits) { l.window = 1 })
	admitted := 0
	for range 40 {
		if s.step(epoch, offered{"a", 1, 0, 1}).admitted {
			s.step(epoch, fresh{testParcel("a", 1, 1)})
			admitted++
		}
	}
	if admitted > 9 { // half of 16 waiting, and one running
		t.Errorf("%d rows of one sender in memory", admitted)
	}
	if !s.step(epoch, offered{"a", 2, 0, 1}).admitted {
		t.Error("no room for another sender")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	s := testScheduler(func(l *limits) { l.rows, l.perDest = 20, 8 })
	for dest := range 10 {
		for sender := range 20 {
			name := fmt.Sprint(dest)
			if s.step(epoch, offered{name, int64(sender), 0, 1}).admitted {
				s.step(epoch, fresh{testParcel(name, int64(sender), 1)})
			}
			s.step(epoch, stored{name})
		}
		if d := s.dests[fmt.Sprint(dest)]; d != nil && d.rows > 8 {
			t.Fatalf("%d rows at one destination", d.rows)
		}
	}
	if s.rows > 20 {
		t.Errorf("%d rows in memory", s.rows)
	}
}

// fail makes a destination fail and gives the actions.
func fail(s *scheduler, now time.Time, p *parcel) actions {
	a := s.step(now, judged{p, siteFailed, 0})
	s.step(now, finished{p})
	return a
}

func TestSiteFailureReleasesSiblingsAndBacksOff(t *testing.T) {
	s := testScheduler(func(l *limits) { l.window = 1 })
	p := give(t, s, testParcel("a", 1, 1))[0]
	give(t, s, testParcel("a", 1, 1))
	give(t, s, testParcel("a", 2, 1))
	a := fail(s, epoch, p)
	if len(a.release) != 2 || !a.waits || len(a.start) != 0 {
		t.Fatalf("released %d, waits %t, started %d", len(a.release), a.waits, len(a.start))
	}
	if a.backoff == nil || a.backoff.fails != 1 || a.backoff.until != epoch.Add(time.Minute) {
		t.Fatalf("back-off: %+v", a.backoff)
	}
	if s.step(epoch, offered{"a", 1, 0, 1}).admitted {
		t.Error("fresh mail for a failing destination")
	}
	if s.rows != 0 || s.running != 0 {
		t.Errorf("%d rows, %d running are left", s.rows, s.running)
	}
}

func TestConnectionsThatFailTogetherAreOneFailure(t *testing.T) {
	s := testScheduler(func(l *limits) { l.window = 3 })
	var started []*parcel
	for range 3 {
		started = append(started, give(t, s, testParcel("a", 1, 1))...)
	}
	for _, p := range started {
		if a := fail(s, epoch, p); a.backoff == nil || a.backoff.fails != 1 || !a.waits {
			t.Fatalf("back-off: %+v", a.backoff)
		}
	}
}

func TestProbe(t *testing.T) {
	s := testScheduler()
	fail(s, epoch, give(t, s, testParcel("a", 1, 1))[0])
	now := epoch.Add(time.Minute)
	a := s.step(now, woken{"a", 1})
	if len(a.refill) != 1 || !a.refill[0].probe {
		t.Fatalf("refill: %+v", a.refill)
	}
	if again := s.step(now, stored{"a"}); len(again.refill) != 0 {
		t.Error("a second refill while one is under way")
	}
	a = s.step(now, loaded{refill: a.refill[0], parcels: []*parcel{testParcel("a", 1, 1), testParcel("a", 2, 1)}, more: true})
	if len(a.start) != 1 || !a.start[0].probe {
		t.Fatalf("%d started: the probe goes alone", len(a.start))
	}
	again := fail(s, now, a.start[0])
	if again.backoff == nil || again.backoff.fails != 2 || again.backoff.until != now.Add(5*time.Minute) || len(again.release) != 1 {
		t.Fatalf("after the probe failed: %+v", again.backoff)
	}
	now = now.Add(5 * time.Minute)
	a = s.step(now, woken{"a", 2})
	a = s.step(now, loaded{refill: a.refill[0], parcels: []*parcel{testParcel("a", 1, 1)}, more: true})
	a = s.step(now, judged{a.start[0], siteAnswered, 0})
	if !a.recovered || a.waits || len(a.refill) != 1 || a.refill[0].probe {
		t.Fatalf("after the probe went well: %+v", a)
	}
	if !s.step(now, offered{"a", 1, 0, 1}).admitted {
		t.Error("fresh mail is not admitted after the recovery")
	}
}

func TestBackOffIsBoundedAndHeedsHints(t *testing.T) {
	s := testScheduler(func(l *limits) { l.maxSite = 2 * time.Minute })
	now := epoch
	p := give(t, s, testParcel("a", 1, 1))[0]
	for want := range []int{0, 1, 2} {
		a := fail(s, now, p)
		wait := []time.Duration{time.Minute, 2 * time.Minute, 2 * time.Minute}[want]
		if a.backoff.until != now.Add(wait) {
			t.Fatalf("failure %d: wait %s", want, a.backoff.until.Sub(now))
		}
		now = a.backoff.until
		woke := s.step(now, woken{"a", want + 1})
		p = s.step(now, loaded{refill: woke.refill[0], parcels: []*parcel{testParcel("a", 1, 1)}, more: true}).start[0]
	}
	if a := s.step(now, judged{p, siteFailed, 30 * time.Second}); a.backoff.until != now.Add(30*time.Second) {
		t.Errorf("with a hint of 30s: wait %s", a.backoff.until.Sub(now))
	}
}

func TestLostSessionsBecomeAFailureOfTheSite(t *testing.T) {
	s := testScheduler(func(l *limits) { l.window = 1 })
	for i := range 3 {
		p := give(t, s, testParcel("a", 1, 1))[0]
		a := s.step(epoch, judged{p, sessionLost, 0})
		if a.waits != (i == 2) {
			t.Fatalf("lost session %d: back-off %t", i+1, a.waits)
		}
		s.step(epoch, finished{p})
	}
}

func TestFreshMailLeavesRoomForStoredMail(t *testing.T) {
	s := testScheduler(func(l *limits) { l.window = 1 })
	give(t, s, testParcel("a", 1, 1))
	s.step(epoch, stored{"a"})
	admitted := 0
	for sender := range int64(30) {
		if s.step(epoch, offered{"a", sender, 0, 1}).admitted {
			admitted++
		}
	}
	if d := s.dests["a"]; d.rows > 16 || !d.refilling {
		t.Errorf("%d rows, refilling %t", d.rows, d.refilling)
	}
	if admitted != 3 { // a quarter of 16, and one is running
		t.Errorf("%d fresh rows admitted while rows wait in the store", admitted)
	}
}

func TestRefillThatFoundNothingEndsTheHunger(t *testing.T) {
	s := testScheduler()
	a := s.step(epoch, stored{"a"})
	if len(a.refill) != 1 {
		t.Fatalf("%d refills", len(a.refill))
	}
	a = s.step(epoch, loaded{refill: a.refill[0]})
	if len(a.refill) != 0 || len(s.dests) != 0 || s.rows != 0 {
		t.Errorf("refills %d, destinations %d, rows %d", len(a.refill), len(s.dests), s.rows)
	}
}

func TestRefillOfADestinationThatFailedMeanwhileIsReleased(t *testing.T) {
	s := testScheduler()
	p := give(t, s, testParcel("a", 1, 1))[0]
	r := s.step(epoch, stored{"a"}).refill[0]
	fail(s, epoch, p)
	a := s.step(epoch, loaded{refill: r, parcels: []*parcel{testParcel("a", 1, 2)}, more: true})
	if len(a.release) != 1 || len(a.start) != 0 || s.rows != 0 {
		t.Errorf("released %d, started %d, rows %d", len(a.release), len(a.start), s.rows)
	}
}

func TestSuspendedDestination(t *testing.T) {
	s := testScheduler(func(l *limits) { l.window = 1 })
	p := give(t, s, testParcel("a", 1, 1))[0]
	give(t, s, testParcel("a", 1, 1))
	if a := s.step(epoch, suspend{"a", true}); len(a.release) != 1 {
		t.Errorf("%d released", len(a.release))
	}
	if s.step(epoch, offered{"a", 1, 0, 1}).admitted {
		t.Error("fresh mail for a suspended destination")
	}
	if a := s.step(epoch, finished{p}); len(a.start)+len(a.refill) != 0 {
		t.Error("a suspended destination goes on")
	}
	if a := s.step(epoch, suspend{"a", false}); len(a.refill) != 1 {
		t.Error("nothing is read when the destination may go on")
	}
}

func TestPauseStartsNothing(t *testing.T) {
	s := testScheduler()
	s.step(epoch, offered{"a", 1, 0, 1})
	s.step(epoch, pause{true})
	if s.step(epoch, offered{"a", 1, 0, 1}).admitted {
		t.Error("offer admitted in a pause")
	}
	if a := s.step(epoch, fresh{testParcel("a", 1, 1)}); len(a.start) != 0 {
		t.Error("started in a pause")
	}
	if a := s.step(epoch, stored{"b"}); len(a.refill) != 0 {
		t.Error("refill in a pause")
	}
	if a := s.step(epoch, pause{false}); len(a.start) != 1 || len(a.refill) != 1 {
		t.Errorf("after the pause: %d started, %d refills", len(a.start), len(a.refill))
	}
}

func TestWithdraw(t *testing.T) {
	s := testScheduler(func(l *limits) { l.window = 1 })
	give(t, s, testParcel("a", 1, 1))
	two, three := testParcel("a", 1, 1), testParcel("a", 1, 1)
	two.id, three.id = 2, 3
	give(t, s, two)
	give(t, s, three)
	a := s.step(epoch, withdraw{func(p *parcel) bool { return p.id == 2 }})
	if len(a.release) != 1 || a.release[0] != two || s.dests["a"].waiting != 1 || s.rows != 2 {
		t.Errorf("released %d, waiting %d, rows %d", len(a.release), s.dests["a"].waiting, s.rows)
	}
}

func TestFailingDestinationsAreForgottenWhenThereAreTooMany(t *testing.T) {
	s := testScheduler()
	for i := range 100 {
		name := fmt.Sprint(i)
		fail(s, epoch, give(t, s, testParcel(name, 1, 1))[0])
	}
	if len(s.dests) > 21 {
		t.Errorf("%d destinations in memory", len(s.dests))
	}
	if s.dests["99"] == nil || s.dests["0"] != nil {
		t.Error("the newest are to be remembered")
	}
}

func TestDeclinedOfferLeavesNothing(t *testing.T) {
	s := testScheduler()
	s.step(epoch, offered{"a", 1, 0, 3})
	s.step(epoch, declined{"a", 3})
	if s.rows != 0 || len(s.dests) != 0 {
		t.Errorf("%d rows, %d destinations", s.rows, len(s.dests))
	}
}

func TestFreshMailOfADestinationThatFailedMeanwhileIsReleased(t *testing.T) {
	s := testScheduler()
	p := give(t, s, testParcel("a", 1, 1))[0]
	late := testParcel("a", 1, 1)
	s.step(epoch, offered{"a", 1, 0, 1})
	fail(s, epoch, p)
	if a := s.step(epoch, fresh{late}); len(a.start) != 0 || len(a.release) != 1 || s.rows != 0 {
		t.Errorf("started %d, released %d, rows %d", len(a.start), len(a.release), s.rows)
	}
}

// A failing destination that stood in line for its rows was forgotten, for
// there were too many of them; then it was its turn, and what it had asked for
// came back to nobody: the queue panicked.
func TestFailingDestinationIsNotForgottenWhileItStandsInLine(t *testing.T) {
	s := testScheduler(func(l *limits) { l.rows = 16 })
	full := give(t, s, testParcel("full", 1, 16))
	for i := range 30 {
		if a := s.step(epoch, woken{fmt.Sprint(i), 1}); len(a.refill) != 0 {
			t.Fatal("memory is not full")
		}
	}
	refills := s.step(epoch, finished{full[0]}).refill
	asked := 0
	for ; len(refills) > 0; asked++ {
		next := s.step(epoch, loaded{refill: refills[0]}).refill
		refills = append(refills[1:], next...)
	}
	if asked != 30 {
		t.Errorf("%d of 30 destinations had their turn", asked)
	}
	if s.rows != 0 {
		t.Errorf("%d rows are counted", s.rows)
	}
}
