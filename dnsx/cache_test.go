package dnsx_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/dnsx"
	"gatepost/dnsx/dnstest"
)

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_800_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const cacheZone = `
$ORIGIN c.test.
@      300  IN SOA ns hostmaster 1 2 3 4 60
ok     120  IN A 192.0.2.1
long   9999999 IN A 192.0.2.2
zero   0    IN A 192.0.2.3
alias  10   IN CNAME ok
`

func TestCacheKeepsAnswersForTheirTime(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault dnstest.Fault
		o     dnsx.Options
		keeps time.Duration // zero: not kept at all
	}{
		{"ok", "", dnsx.Options{}, 2 * time.Minute},
		{"OK", "", dnsx.Options{}, 2 * time.Minute},
		{"alias", "", dnsx.Options{}, 10 * time.Second},
		{"long", "", dnsx.Options{}, dnsx.DefaultMaxTTL},
		{"zero", "", dnsx.Options{}, 0},
		{"zero", "", dnsx.Options{MinTTL: 5 * time.Second}, 5 * time.Second},
		{"missing", "", dnsx.Options{}, time.Minute}, // the SOA's MINIMUM
		{"missing", "", dnsx.Options{MaxNegativeTTL: 7 * time.Second}, 7 * time.Second},
		{"@", "", dnsx.Options{}, time.Minute},
		{"ok", dnstest.ServFail, dnsx.Options{}, dnsx.DefaultFailureTTL},
		{"ok", dnstest.ServFail, dnsx.Options{FailureTTL: -1}, 0},
		{"ok", dnstest.OtherOwner, dnsx.Options{}, 0}, // nothing found, and no SOA
		{"ok", dnstest.OtherOwner, dnsx.Options{MinTTL: 5 * time.Second}, 0},
		{"ok", "", dnsx.Options{CacheEntries: -1}, 0},
	} {
		t.Run(fmt.Sprint(c.name, c.fault, c.o.MinTTL, c.keeps), func(t *testing.T) {
			s, now := dnstest.New(t, cacheZone), newClock()
			name := strings.TrimPrefix(c.name+".c.test", "@.")
			s.Fail(name, "A", c.fault)
			c.o.Now = now.Now
			r := s.ResolverWith(t, c.o)
			ask := func() int {
				_, _ = r.A(t.Context(), name)
				return s.Queries(name, "A")
			}
			first := ask()
			if c.keeps > 0 {
				now.advance(c.keeps - time.Millisecond)
				if n := ask(); n != first {
					t.Errorf("asked again before %v", c.keeps)
				}
				now.advance(time.Millisecond)
			}
			if n := ask(); n != first+1 {
				t.Errorf("%d queries after %v, want %d", n, c.keeps, first+1)
			}
		})
	}
}

func TestCacheCountsDownTheTTL(t *testing.T) {
	s, now := dnstest.New(t, cacheZone), newClock()
	r := s.ResolverWith(t, dnsx.Options{Now: now.Now})
	for _, left := range []time.Duration{120 * time.Second, 70 * time.Second} {
		got, err := r.A(t.Context(), "ok.c.test")
		if err != nil || got.TTL != left {
			t.Errorf("TTL %v, want %v (%v)", got.TTL, left, err)
		}
		now.advance(50 * time.Second)
	}
}

func TestCacheIsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	s := dnstest.New(t, "*.many.test. 300 IN A 192.0.2.1\n*.big.test. 300 IN TXT "+strings.Repeat(` "`+strings.Repeat("x", 250)+`"`, 40))
	r := s.ResolverWith(t, dnsx.Options{CacheEntries: 10, CacheBytes: 100_000})
	for i := range 50 {
		_, _ = r.A(t.Context(), "used.many.test")
		_, _ = r.A(t.Context(), fmt.Sprintf("n%d.many.test", i))
	}
	if n := s.Queries("used.many.test", "A"); n != 1 {
		t.Errorf("the name in use was asked %d times", n)
	}
	_, _ = r.A(t.Context(), "n0.many.test")
	if n := s.Queries("n0.many.test", "A"); n != 2 {
		t.Errorf("the oldest name was asked %d times, want 2", n)
	}
	r = s.ResolverWith(t, dnsx.Options{CacheEntries: 1000, CacheBytes: 30_000}) // room for two of 10 KB
	for _, name := range []string{"a.big.test", "b.big.test", "c.big.test", "a.big.test"} {
		_, _ = r.TXT(t.Context(), name)
	}
	if n := s.Queries("a.big.test", "TXT"); n != 4 { // twice, over UDP and TCP
		t.Errorf("a was asked %d times, want 4", n)
	}
}

type countingObserver struct {
	mu     sync.Mutex
	events []string
}

func (o *countingObserver) Exchanged(_, outcome string, _ time.Duration) {
	o.add("exchange " + outcome)
}

func (o *countingObserver) LookedUp(recordType, outcome string, cached bool) {
	o.add(fmt.Sprintf("%s %s cached=%v", recordType, outcome, cached))
}

func (o *countingObserver) add(event string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, event)
}

func TestObserverSeesExchangesAndLookUps(t *testing.T) {
	s, o := dnstest.New(t, cacheZone), &countingObserver{}
	r := s.ResolverWith(t, dnsx.Options{Observer: o, FailureTTL: -1})
	s.Fail("bad.c.test", "A", dnstest.ServFail)
	for _, name := range []string{"ok.c.test", "ok.c.test", "missing.c.test", "bad.c.test"} {
		_, _ = r.A(t.Context(), name)
	}
	s.Fail("bad.c.test", "A", dnstest.Timeout)
	_, _ = r.A(t.Context(), "bad.c.test")
	want(t, nil, o.events, []string{
		"exchange ok", "A ok cached=false", "A ok cached=true", "exchange nxdomain", "A nxdomain cached=false",
		"exchange servfail", "A temporary cached=false", "exchange timeout", "A temporary cached=false",
	})
}
