package tally

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/policy"
	"gatepost/store"
	"gatepost/store/storetest"
)

func newTally(t testing.TB, s Store, change func(*Options)) *Tally {
	t.Helper()
	o := Options{Store: s, Now: noon}
	if change != nil {
		change(&o)
	}
	x, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func from(t testing.TB, client string) Message {
	t.Helper()
	m := failing(t)
	m.Client = netip.MustParseAddr(client)
	return m
}

func flush(t testing.TB, all ...*Tally) {
	t.Helper()
	for _, x := range all {
		if err := x.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// shown is the rows of a domain and day in the store.
func shown(t testing.TB, x *Tally, on Day, name string) (out []string) {
	t.Helper()
	rows, err := x.Rows(t.Context(), on, domain(t, name), 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		out = append(out, fmt.Sprintf("%s %s %d", r.Source, r.Disposition, r.Messages))
	}
	return out
}

func equal(t testing.TB, what string, got any, want string) {
	t.Helper()
	if fmt.Sprint(got) != want {
		t.Errorf("%s: %v, want %s", what, got, want)
	}
}

// TestNodesAddUp: two nodes count into the same rows.
func TestNodesAddUp(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		s := open(Schema)
		one, two := newTally(t, s, nil), newTally(t, s, nil)
		refused := from(t, "192.0.2.9")
		refused.Verdict = &policy.Verdict{Action: policy.Reject, Rule: "dmarc"}
		for range 3 {
			one.Add(from(t, "192.0.2.1"))
			two.Add(from(t, "192.0.2.1"))
			two.Add(refused)
		}
		flush(t, one, two)
		late := from(t, "192.0.2.1")
		late.At = late.At.Add(1)
		one.Add(late)
		flush(t, one, two, one)
		on := DayOf(noon())
		equal(t, "rows", shown(t, one, on, "example.com"), "[192.0.2.1 none 7 192.0.2.9 reject 3]")
		sums, err := one.Sums(t.Context(), on, on+1)
		if err != nil || len(sums) != 1 || sums[0] != (Sum{on, domain(t, "example.com"), 2, 10, 7}) {
			t.Errorf("sums %+v, %v", sums, err)
		}
		for _, none := range []Day{on - 1, on + 1} {
			if s, err := one.Sum(t.Context(), none, domain(t, "example.com")); err != nil || s.Messages != 0 {
				t.Errorf("day %s: %+v, %v", none, s, err)
			}
		}
		if err := one.Expire(t.Context(), on); err != nil {
			t.Fatal(err)
		}
		equal(t, "kept", len(shown(t, one, on, "example.com")), "2")
		if err := one.Expire(t.Context(), on+1); err != nil {
			t.Fatal(err)
		}
		equal(t, "expired", len(shown(t, one, on, "example.com")), "0")
	})
}

// TestNodesAtOnce: commits of several nodes that touch the same rows in any
// order lose nothing.
func TestNodesAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		s := open(Schema)
		var all sync.WaitGroup
		for node := range 4 {
			x := newTally(t, s, nil)
			messages := make([]Message, 30)
			for i := range messages {
				messages[i] = from(t, fmt.Sprintf("192.0.2.%d", (i*7+node)%30+1))
			}
			all.Go(func() {
				for range 5 {
					for _, m := range messages {
						x.Add(m)
					}
					if err := x.Flush(context.WithoutCancel(t.Context())); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		sum, err := newTally(t, s, nil).Sum(t.Context(), DayOf(noon()), domain(t, "example.com"))
		if err != nil || sum.Rows != 30 || sum.Messages != 4*5*30 {
			t.Errorf("%+v, %v", sum, err)
		}
	})
}

// TestLatest: of several policies of a day the last one can be told.
func TestLatest(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		x := newTally(t, open(Schema), nil)
		late := failing(t)
		late.Facts.DMARC.Record.Policy = "none"
		late.At = late.At.Add(3600e9)
		x.Add(late)
		x.Add(failing(t))
		x.Add(failing(t))
		flush(t, x)
		rows, err := x.Rows(t.Context(), DayOf(noon()), domain(t, "example.com"), 10)
		if err != nil || len(rows) != 2 || rows[0].Policy.P != "reject" || !rows[1].Seen.After(rows[0].Seen) {
			t.Errorf("%+v, %v", rows, err)
		}
	})
}

// memory is a store that remembers what it was given.
type memory struct {
	Store
	mu   sync.Mutex
	sent []store.Statement
	read int // how often it was asked
	err  error
}

func (m *memory) Submit(_ context.Context, s ...store.Statement) ([]int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.sent = append(m.sent, s...)
	}
	return nil, m.err
}

func (m *memory) Select(context.Context, func(func(...any) error) error, string, ...any) error {
	m.read++
	return nil
}

func (m *memory) messages() (n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.sent {
		if s.SQL == update {
			n += s.Args[0].(int64)
		} else {
			n += s.Args[3].(int64)
		}
	}
	return n
}

// TestTrouble: what was not written is written later, and once; where nobody
// knows, not again.
func TestTrouble(t *testing.T) {
	s := &memory{err: store.ErrUnavailable}
	x := newTally(t, s, nil)
	for i := range rowsAtOnce + 10 {
		x.Add(from(t, fmt.Sprintf("10.0.%d.%d", i/200, i%200)))
	}
	for range 3 {
		if err := x.Flush(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	x.Add(from(t, "10.0.0.0"))
	s.err = nil
	flush(t, x, x)
	equal(t, "messages written", s.messages(), fmt.Sprint(rowsAtOnce+11))
	s.err = store.ErrUnknown
	x.Add(from(t, "10.0.0.0"))
	if err := x.Flush(t.Context()); err == nil {
		t.Error("nobody heard of it")
	}
	s.err = nil
	flush(t, x)
	equal(t, "after an unknown commit", s.messages(), fmt.Sprint(rowsAtOnce+11))
}

// TestBounds: what strangers can make it grow to.
func TestBounds(t *testing.T) {
	dropped := 0
	s := &memory{}
	x := newTally(t, s, func(o *Options) {
		o.RowsPerDomain, o.Domains, o.Rows, o.Dropped = 2, 2, 4, func() { dropped++ }
	})
	add := func(client, name string, want int) {
		t.Helper()
		m := from(t, client)
		m.Facts.DMARC.PolicyDomain = domain(t, name)
		x.Add(m)
		if dropped != want {
			t.Errorf("%s of %s: %d dropped, want %d", client, name, dropped, want)
		}
	}
	add("192.0.2.1", "a.example", 0)
	add("192.0.2.2", "a.example", 0)
	add("192.0.2.3", "a.example", 1)     // rows of the domain
	add("192.0.2.3", "sub.a.example", 2) // a name below it is no way out
	add("192.0.2.1", "a.example", 2)
	add("192.0.2.1", "b.example", 2)
	add("192.0.2.1", "c.example", 3) // domains
	x.o.Domains, x.o.RowsPerDomain, x.o.Rows = 9, 9, 3
	add("192.0.2.2", "b.example", 4) // rows of the day
	flush(t, x)
	add("192.0.2.4", "a.example", 5) // written rows count too
	equal(t, "messages", s.messages(), "4")
	tomorrow := from(t, "192.0.2.7")
	tomorrow.At = tomorrow.At.AddDate(0, 0, 1)
	x.Add(tomorrow)
	equal(t, "dropped of the next day", dropped, "5")
	x.o.Now = func() time.Time { return noon().AddDate(0, 0, 1) }
	flush(t, x)
	equal(t, "days in memory", len(x.days), "1")
}

// TestRestart: a restart makes no room for as many rows again, and rows of
// before it go on.
func TestRestart(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		s := open(Schema)
		dropped := 0
		bounds := func(o *Options) { o.RowsPerDomain, o.Dropped = 2, func() { dropped++ } }
		before := newTally(t, s, bounds)
		before.Add(from(t, "192.0.2.1"))
		before.Add(from(t, "192.0.2.2"))
		flush(t, before)
		after := newTally(t, s, bounds)
		after.Add(from(t, "192.0.2.2")) // before the rows are known
		after.load(t.Context())
		after.Add(from(t, "192.0.2.1"))
		after.Add(from(t, "192.0.2.2"))
		equal(t, "dropped", dropped, "0")
		after.Add(from(t, "192.0.2.3"))
		equal(t, "dropped", dropped, "1")
		flush(t, after)
		equal(t, "rows", shown(t, after, DayOf(noon()), "example.com"), "[192.0.2.2 none 3 192.0.2.1 none 2]")
	})
}

// TestRun: written every ten seconds, and at the end.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &memory{}
		x := newTally(t, s, nil)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- x.Run(ctx) }()
		x.Add(failing(t))
		time.Sleep(DefaultFlush - 1) // of synctest's clock
		synctest.Wait()
		equal(t, "too early", s.messages(), "0")
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		equal(t, "after ten seconds", s.messages(), "1")
		x.Add(failing(t))
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		equal(t, "at the end", s.messages(), "2")
		equal(t, "what was there before the start is read", s.read, "1")
	})
}

// BenchmarkAdd is what counting costs a message.
func BenchmarkAdd(b *testing.B) {
	x := newTally(b, &memory{}, nil)
	m := failing(b)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			x.Add(m)
		}
	})
}

// BenchmarkFlush is what writing costs, per row of a commit of 500.
func BenchmarkFlush(b *testing.B) {
	s := storetest.Open(b, store.Options{URL: "sqlite", Dir: b.TempDir(), Schemas: []store.Schema{Schema}})
	x := newTally(b, s, nil)
	messages := make([]Message, rowsAtOnce)
	for i := range messages {
		messages[i] = from(b, fmt.Sprintf("10.0.%d.%d", i/200, i%200))
	}
	for b.Loop() {
		for _, m := range messages {
			x.Add(m)
		}
		flush(b, x)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rowsAtOnce), "ns/row")
}
