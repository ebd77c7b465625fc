package tally

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/auth/dmarc"
	"gatepost/mail"
	"gatepost/policy"
	"gatepost/store"
)

// Store is what the tally needs of *store.Store.
type Store interface {
	Submit(ctx context.Context, statements ...store.Statement) ([]int64, error)
	Select(ctx context.Context, each func(scan func(dest ...any) error) error, sql string, args ...any) error
}

// Options is everything that the tally is told. Zero values mean the defaults.
type Options struct {
	Store   Store // opened with Schema
	Now     func() time.Time
	Logger  *slog.Logger
	Dropped func()        // told of each message that found no room; may be nil
	Flush   time.Duration // how often Run writes: what a crash loses at most

	Rows          int // of a day
	RowsPerDomain int // of a day and organizational domain: subdomains cost nothing
	Domains       int // of a day, likewise
}

// Defaults of Options.
const (
	DefaultFlush         = 10 * time.Second
	DefaultRows          = 50_000
	DefaultRowsPerDomain = 5_000
	DefaultDomains       = 10_000
)

// Tally counts. It is safe for concurrent use.
type Tally struct {
	o        Options
	dropped  atomic.Int64 // since the last line in the log
	flushing sync.Mutex
	mu       sync.Mutex // never held while the store is asked
	days     map[Day]*day
	dirty    []*row
}

// day is the rows of one day, which stay in memory until it is over, so that
// the bounds hold for the whole of it.
type day struct {
	rows    map[identity]*row
	domains map[string]int // rows by organizational domain
	total   int
	stored  map[string]bool // rows of before the start, counted already
}

// identity is a hash of what append writes.
type identity [16]byte

func (i identity) String() string { return hex.EncodeToString(i[:]) }

// row is small, whatever strangers wrote: it stays for a day.
type row struct {
	day     Day
	domain  mail.Domain
	id      identity
	detail  []byte // the evaluation as JSON, until it is in the store
	pending figures
	queued  bool // is in dirty
}

// figures are what a row grows by.
type figures struct{ messages, accepted, seen int64 }

// New makes a tally.
func New(o Options) (*Tally, error) {
	if o.Store == nil {
		return nil, errors.New("tally: Store is required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Dropped == nil {
		o.Dropped = func() {}
	}
	if o.Flush == 0 {
		o.Flush = DefaultFlush
	}
	for _, f := range []struct {
		field *int
		value int
	}{{&o.Rows, DefaultRows}, {&o.RowsPerDomain, DefaultRowsPerDomain}, {&o.Domains, DefaultDomains}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return &Tally{o: o, days: map[Day]*day{}}, nil
}

// Add counts a message where a report would tell of it.
func (t *Tally) Add(m Message) {
	if !m.counts() {
		return
	}
	var room [768]byte
	sum := sha256.Sum256(m.append(room[:0]))
	id, on := identity(sum[:16]), DayOf(m.At)
	t.mu.Lock()
	r := t.day(on).rows[id]
	if r == nil {
		r = t.insert(on, id, &m)
	}
	if r != nil {
		t.grow(r, figures{1, accepted(m.Verdict), m.At.UnixMilli()})
	}
	t.mu.Unlock()
	if r == nil {
		t.dropped.Add(1)
		t.o.Dropped()
	}
}

func accepted(v *policy.Verdict) int64 {
	if v.Refused() {
		return 0
	}
	return 1
}

func (t *Tally) day(on Day) *day {
	d := t.days[on]
	if d == nil {
		d = &day{rows: map[identity]*row{}, domains: map[string]int{}}
		t.days[on] = d
	}
	return d
}

// insert makes a row, nil where there is no room.
func (t *Tally) insert(on Day, id identity, m *Message) *row {
	d, name := t.day(on), id.String()
	r := &row{day: on, domain: m.Facts.DMARC.PolicyDomain, id: id}
	if d.stored[name] {
		delete(d.stored, name)
	} else if !d.enter(r.domain, &t.o) {
		return nil
	}
	r.detail, _ = json.Marshal(m.evaluate()) // nothing in it can fail
	d.rows[id] = r
	return r
}

// enter counts a new row of a domain where there is room for it.
func (d *day) enter(domain mail.Domain, o *Options) bool {
	org := dmarc.Registered(domain.String())
	n, known := d.domains[org]
	if d.total >= o.Rows || n >= o.RowsPerDomain || !known && len(d.domains) >= o.Domains {
		return false
	}
	d.domains[org] = n + 1
	d.total++
	return true
}

func (t *Tally) grow(r *row, by figures) {
	r.pending.messages += by.messages
	r.pending.accepted += by.accepted
	r.pending.seen = max(r.pending.seen, by.seen)
	if !r.queued {
		r.queued = true
		t.dirty = append(t.dirty, r)
	}
}
