package outgoing

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
	"gatepost/mail"
	"gatepost/policy"
	"gatepost/report/aggregate"
	"gatepost/report/extract"
	"gatepost/report/suppress"
	"gatepost/report/tally"
	"gatepost/store"
	"gatepost/store/storetest"
)

// yesterday is the day that most reports here are about.
func yesterday() time.Time { return time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC) }

func address(t testing.TB, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s, false)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func domain(t testing.TB, s string) mail.Domain {
	t.Helper()
	d, err := mail.ParseDomain(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// zone is what DNS says: the record of each domain. Addresses at "stranger"
// have not agreed.
type zone struct {
	t       testing.TB
	mu      sync.Mutex
	records map[string]string
	trouble map[string]bool
	doubt   error     // about some destination
	asked   int       // about records
	until   time.Time // when it was to answer, the last time
}

func (z *zone) Check(ctx context.Context, from mail.Domain, _ spf.Result, _ []dkim.Result) dmarc.Result {
	z.mu.Lock()
	z.asked++
	z.until, _ = ctx.Deadline()
	z.mu.Unlock()
	if z.trouble[from.String()] {
		return dmarc.Result{Value: dmarc.TempError, Reason: "SERVFAIL"}
	}
	at, text := from, z.records[from.String()]
	if above, ok := strings.CutPrefix(text, "above "); ok {
		at, text = domain(z.t, "example"), above
	}
	if text == "" {
		return dmarc.Result{Value: dmarc.None}
	}
	record, err := dmarc.ParseRecord(text)
	if err != nil {
		z.t.Fatal(err)
	}
	return dmarc.Result{Value: dmarc.Fail, PolicyDomain: at, Record: record}
}

func (z *zone) Destinations(_ context.Context, _ mail.Domain, uris []dmarc.ReportURI) (ok []dmarc.Destination, refused []dmarc.RefusedDestination, err error) {
	for _, u := range uris {
		a := address(z.t, strings.TrimPrefix(u.URI, "mailto:"))
		if strings.HasPrefix(a.Domain().String(), "stranger") {
			refused = append(refused, dmarc.RefusedDestination{URI: u.URI, Reason: "it has not agreed"})
			continue
		}
		ok = append(ok, dmarc.Destination{Address: a, MaxSize: u.MaxSize})
	}
	return ok, refused, z.doubt
}

// door is a queue: what it accepts is in the store with the rows.
type door struct {
	store *store.Store
	err   error
	mu    sync.Mutex
	got   []*mail.Message
}

func (d *door) Accept(ctx context.Context, m *mail.Message, with []store.Statement) error {
	if d.err != nil {
		return d.err
	}
	if _, err := d.store.Submit(ctx, with...); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.got = append(d.got, m)
	return nil
}

type rig struct {
	t        testing.TB
	now      time.Time
	store    *store.Store
	tally    *tally.Tally
	suppress *suppress.List
	zone     *zone
	door     *door
	settings Settings
	log      bytes.Buffer
	counted  map[string]int
	*Sender
}

func newRig(t testing.TB, s *store.Store) *rig {
	r := &rig{t: t, now: yesterday(), store: s, counted: map[string]int{}, door: &door{store: s}}
	clock := func() time.Time { return r.now }
	r.zone = &zone{t: t, records: map[string]string{}, trouble: map[string]bool{}}
	r.settings = Settings{Enabled: true, From: address(t, "out@us.example"), Org: "Us", Submitter: domain(t, "mx.us.example"), Format: aggregate.RFC9990,
		Discovery: "treewalk", DNS: r.zone, MaxReports: 100, PerDestination: 100, MaxRecords: 1000, MaxSize: 1 << 20, Window: 4 * time.Hour}
	var err error
	if r.tally, err = tally.New(tally.Options{Store: s, Now: clock}); err != nil {
		t.Fatal(err)
	}
	if r.suppress, err = suppress.New(suppress.Options{Store: s, Now: clock}); err != nil {
		t.Fatal(err)
	}
	r.Sender = r.node()
	return r
}

// node is another sender on the same store, as after a restart or on another
// machine.
func (r *rig) node() *Sender {
	r.t.Helper()
	clock := func() time.Time { return r.now }
	ids, err := mail.NewIDSource(clock, rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	x, err := New(Options{Store: r.store, Tally: r.tally, Suppress: r.suppress, Acceptor: r.door, IDs: ids, Now: clock,
		Logger: slog.New(slog.NewTextHandler(&r.log, nil)), Count: func(result, reason string) { r.counted[strings.TrimSpace(result+" "+reason)]++ }})
	if err != nil {
		r.t.Fatal(err)
	}
	return x
}

func each(t *testing.T, test func(r *rig)) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		test(newRig(t, open(Schema, tally.Schema, suppress.Schema)))
	})
}

// saw counts n messages that claim to be from a domain, and publishes its
// record where there is none.
func (r *rig) saw(name, client string, n int, change ...func(*tally.Message)) {
	r.t.Helper()
	if _, ok := r.zone.records[name]; !ok {
		r.zone.records[name] = "v=DMARC1; p=none; rua=mailto:d@" + name
	}
	record, err := dmarc.ParseRecord("v=DMARC1; p=none; rua=mailto:d@" + name)
	if err != nil {
		r.t.Fatal(err)
	}
	d := domain(r.t, name)
	m := tally.Message{At: r.now, Client: netip.MustParseAddr(client), Envelope: &mail.Envelope{From: address(r.t, "b@"+name)},
		Verdict: &policy.Verdict{Action: policy.Accept},
		Facts: &policy.Facts{Proved: true, From: address(r.t, "a@"+name), SPF: spf.Result{Value: "fail", Domain: d, Identity: "mailfrom"},
			DMARC: dmarc.Result{Value: "fail", From: d, PolicyDomain: d, Policy: "none", Record: record}}}
	for _, c := range change {
		c(&m)
	}
	for range n {
		r.tally.Add(m)
	}
	if err := r.tally.Flush(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func refused(m *tally.Message) { m.Verdict = &policy.Verdict{Action: policy.Reject, Rule: "dmarc"} }

// at moves the clock and does a round.
func (r *rig) at(t time.Time) {
	r.t.Helper()
	r.now = t
	r.Round(r.t.Context(), r.settings)
}

// nextMorning is when all reports about yesterday are due.
func (r *rig) nextMorning() time.Time {
	return tally.DayOf(r.now).Begin().Add(24*time.Hour + Settle + r.settings.Window)
}

// sent is the reports that the queue got, read as their receivers read them.
func (r *rig) sent() (out []*aggregate.Report) {
	r.t.Helper()
	for _, m := range r.door.got {
		in, err := m.Content.Open(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		found, err := extract.Message(in, extract.Limits{})
		if err != nil || len(found.Documents) != 1 {
			r.t.Fatalf("%d documents, %v", len(found.Documents), err)
		}
		report, err := aggregate.Parse(found.Documents[0].Data, aggregate.Limits{})
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, report)
	}
	return out
}

// subjects are the domains of what was sent, in order.
func (r *rig) subjects() string {
	var out []string
	for _, s := range r.sent() {
		out = append(out, s.Domain.String())
	}
	return strings.Join(out, " ")
}

// why is what the list says of the only report.
func (r *rig) why() (out []string) {
	r.t.Helper()
	list, err := r.List(r.t.Context(), time.Unix(0, 0), 100)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range list {
		line := fmt.Sprintf("%s %s %s", e.Domain, e.State, e.Reason)
		for _, x := range e.Refused {
			line += " " + x.URI + ": " + x.Reason
		}
		out = append(out, line)
	}
	return out
}

func (r *rig) wants(what, got, want string) {
	r.t.Helper()
	if got != want {
		r.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

var errAway = errors.New("the store is away")

// watch lets the list hear of what the queue tells; stop ends it.
func (r *rig) watch(done chan<- error) (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	go func() { done <- r.suppress.Run(ctx) }()
	return cancel
}
