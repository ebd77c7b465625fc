package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/mail"
	"gatepost/queue/dsn"
	"gatepost/store"
	"gatepost/store/storetest"
	"gatepost/trace"
)

// rig is a store with queues on it, in a bubble of fake time.
type rig struct {
	t         testing.TB
	store     *store.Store
	faults    *faults
	ids       *mail.IDSource
	deliverer *fakeDeliverer
	router    *fakeRouter
	observer  *recorder
	options   Options
	queues    []*running
}

type running struct {
	*Queue
	cancel context.CancelFunc
	done   chan struct{}
}

// each runs test on both engines.
func each(t *testing.T, test func(t *testing.T, r *rig)) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, open(Schema, trace.Schema))
			defer r.close()
			test(t, r)
		})
	})
}

// onSQLite runs test on SQLite only, for what does not depend on the engine.
func onSQLite(t *testing.T, test func(t *testing.T, r *rig)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, storetest.Open(t, store.Options{URL: "sqlite", Dir: dir, Schemas: []store.Schema{Schema, trace.Schema}}))
		defer r.close()
		test(t, r)
	})
}

// clock is the time of the gateway: bubbles begin in 2000, before the first
// message id.
func clock() time.Time { return time.Now().AddDate(27, 0, 0) }

func newRig(t testing.TB, s *store.Store) *rig {
	ids, err := mail.NewIDSource(clock, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, store: s, faults: &faults{Store: s}, ids: ids, deliverer: &fakeDeliverer{}, router: &fakeRouter{}, observer: &recorder{}}
	r.deliverer.answer = func(Job, Pending) Result { return ok() }
	r.options = Options{
		Store: r.faults, Router: r.router, Deliverer: r.deliverer, Observer: r.observer, IDs: ids, Now: clock,
		Notices: dsn.Options{Hostname: "mx.example", Postmaster: address("postmaster@example.com")},
		Logger:  slog.New(slog.NewTextHandler(testWriter{t}, nil)),
		Random:  mathrand.New(mathrand.NewPCG(1, 2)),
		Lease:   time.Hour, // fewer renewals while a test lets days pass
	}
	return r
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// slowly is for tests that let days pass.
func slowly(o *Options) { o.Lease, o.Poll = 24*time.Hour, 5*time.Minute }

// start makes a queue and runs it.
func (r *rig) start(change ...func(*Options)) *running {
	r.t.Helper()
	q := r.make(change...)
	r.run(q)
	return q
}

func (r *rig) make(change ...func(*Options)) *running {
	r.t.Helper()
	o := r.options
	for _, c := range change {
		c(&o)
	}
	q, err := New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	return &running{Queue: q, done: make(chan struct{})}
}

func (r *rig) run(q *running) {
	ctx, cancel := context.WithCancel(context.Background())
	q.cancel = cancel
	r.queues = append(r.queues, q)
	go func() {
		defer close(q.done)
		if err := q.Run(ctx); err != nil {
			r.t.Logf("Run: %v", err)
		}
	}()
	synctest.Wait()
}

// crash stops a queue without letting it write another word.
func (r *rig) crash(q *running) {
	r.faults.kill()
	q.cancel()
	<-q.done
	r.faults.revive()
}

func (r *rig) close() {
	for _, q := range r.queues {
		q.cancel()
		<-q.done
	}
	if err := r.store.Close(); err != nil {
		r.t.Error(err)
	}
}

func address(s string) mail.Address {
	a, err := mail.ParseAddress(s, true)
	if err != nil {
		panic(err)
	}
	return a
}

// message is confirmed mail of a relay session.
func (r *rig) message(to ...string) *mail.Message {
	content := []byte("From: alice@example.com\r\nSubject: Hello\r\nMessage-ID: <one@example.com>\r\n\r\nText.\r\n")
	m := &mail.Message{
		ID: r.ids.Next(), Received: clock(), Content: mail.MemoryBody(content), Prefix: []byte("Received: from somewhere\r\n"),
		Envelope: mail.Envelope{From: address("alice@example.com")},
		Origin:   mail.Origin{Role: mail.RoleRelay, Client: "exchange", Confirmed: true},
		Shape:    mail.Shape{HeaderSize: 78},
		Facts:    []byte(`{"verdict":"accept"}`),
	}
	for _, a := range to {
		m.Envelope.Recipients = append(m.Envelope.Recipients, mail.Recipient{Address: address(a)})
	}
	return m
}

func (r *rig) accept(q *running, m *mail.Message, o ...AcceptOptions) mail.ID {
	r.t.Helper()
	if err := q.Accept(context.Background(), m, o...); err != nil {
		r.t.Fatalf("accept: %v", err)
	}
	return m.ID
}

// count reads a number from the store.
func (r *rig) count(sql string, args ...any) int {
	r.t.Helper()
	var n int64
	if err := r.store.Get(context.Background(), sql, args, &n); err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
	return int(n)
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	if _, err := r.store.Submit(context.Background(), store.Statement{SQL: sql, Args: args}); err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
}

// empty checks that nothing is left of any message.
func (r *rig) empty() {
	r.t.Helper()
	for _, table := range []string{"message", "body", "recipient"} {
		if n := r.count("SELECT COUNT(*) FROM " + table); n != 0 {
			r.t.Errorf("%d rows left in %s", n, table)
		}
	}
}

// dump logs what is left.
func (r *rig) dump() {
	for table, columns := range map[string]string{"recipient": "message || ' ' || n || ' ' || dest || ' state ' || state || ' not_before ' || not_before || ' owner ' || owner || ' due ' || due",
		"destination": "dest || ' wake ' || wake_at || ' fails ' || fails", "node": "incarnation || ' until ' || until"} {
		err := r.store.Select(context.Background(), func(scan func(...any) error) error {
			var line string
			err := scan(&line)
			r.t.Logf("%s: %s", table, line)
			return err
		}, "SELECT "+columns+" FROM "+table)
		if err != nil {
			r.t.Log(err)
		}
	}
	r.t.Logf("now %d", millis(clock()))
}

// balance checks that every accepted recipient is somewhere.
func (r *rig) balance(queues ...*running) {
	r.t.Helper()
	var sum Accounting
	for _, q := range queues {
		a, err := q.Accounting(context.Background())
		if err != nil {
			r.t.Fatal(err)
		}
		sum.Accepted += a.Accepted
		sum.Delivered += a.Delivered
		sum.Bounced += a.Bounced
		sum.Failed += a.Failed
		sum.Deleted += a.Deleted
		sum.Consumed += a.Consumed
		sum.Queued, sum.Held = a.Queued, a.Held
	}
	if sum.Accepted != sum.Delivered+sum.Bounced+sum.Failed+sum.Deleted+sum.Consumed+sum.Queued+sum.Held {
		r.t.Errorf("the accounts do not balance: %+v", sum)
	}
	account := r.account()
	if len(account.Faults) > 0 {
		r.t.Errorf("the trace contradicts itself: %v", account.Faults)
	}
}

func (r *rig) account() trace.Account {
	r.t.Helper()
	account, err := trace.New(r.store, nil).Account(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return account
}

func (r *rig) life(id mail.ID) []trace.Event {
	r.t.Helper()
	life, err := trace.New(r.store, nil).Life(context.Background(), id)
	if err != nil && !errors.Is(err, trace.ErrUnknown) {
		r.t.Fatal(err)
	}
	return life.Events
}

func (r *rig) kinds(id mail.ID) string {
	r.t.Helper()
	var out []string
	for _, e := range r.life(id) {
		out = append(out, string(e.Kind))
	}
	return strings.Join(out, " ")
}

// settle lets everything happen that needs no time.
func settle() { synctest.Wait() }

// pass lets time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// fakeDeliverer answers as told, and remembers.
type fakeDeliverer struct {
	mu     sync.Mutex
	answer func(Job, Pending) Result
	wait   func(ctx context.Context, job Job) // before the answer
	jobs   []Job
	times  []time.Time
	now    int
	most   int            // at once
	mostOf map[string]int // at once, by destination
	nowOf  map[string]int
}

func (d *fakeDeliverer) Deliver(ctx context.Context, job Job) []Result {
	d.mu.Lock()
	if d.nowOf == nil {
		d.nowOf, d.mostOf = map[string]int{}, map[string]int{}
	}
	d.jobs = append(d.jobs, job)
	d.times = append(d.times, clock())
	d.now++
	d.nowOf[job.Dest]++
	d.most = max(d.most, d.now)
	d.mostOf[job.Dest] = max(d.mostOf[job.Dest], d.nowOf[job.Dest])
	wait, answer := d.wait, d.answer
	d.mu.Unlock()
	if wait != nil {
		wait(ctx, job)
	}
	var out []Result
	for _, p := range job.Recipients {
		out = append(out, answer(job, p))
	}
	d.mu.Lock()
	d.now--
	d.nowOf[job.Dest]--
	d.mu.Unlock()
	return out
}

func (d *fakeDeliverer) set(answer func(Job, Pending) Result) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = answer
}

func (d *fakeDeliverer) hold(wait func(context.Context, Job)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wait = wait
}

func (d *fakeDeliverer) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.jobs)
}

func (d *fakeDeliverer) last() Job {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.jobs[len(d.jobs)-1]
}

func ok() Result {
	return Result{Status: mail.Status{Code: 250, Enhanced: mail.Enhanced{2, 0, 0}, Text: "Ok", Said: true, Remote: "mx.there[192.0.2.1]:25"}}
}

func temporary() Result {
	return Result{Status: mail.Status{Code: 450, Enhanced: mail.Enhanced{4, 2, 0}, Text: "Greylisted", Said: true, Remote: "mx.there[192.0.2.1]:25", Scope: mail.ScopeRecipient}}
}

func permanent() Result {
	return Result{Status: mail.Status{Code: 550, Enhanced: mail.Enhanced{5, 1, 1}, Text: "No such user", Said: true, Remote: "mx.there[192.0.2.1]:25", Scope: mail.ScopeRecipient}}
}

func siteDown() Result { return Result{Status: mail.ReplyConnectFailed.Status(mail.ScopeSite)} }

// fakeRouter sends mail to "mx:DOMAIN", or where told.
type fakeRouter struct {
	mu     sync.Mutex
	window int
	moved  map[string]string
	err    error
}

func (f *fakeRouter) Route(_ context.Context, _ *mail.Message, to mail.Address) (Route, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	dest := "mx:" + to.Domain().String()
	if other := f.moved[dest]; other != "" {
		dest = other
	}
	return Route{Dest: dest, Window: f.window}, f.err
}

func (f *fakeRouter) move(from, to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	moved := maps.Clone(f.moved)
	if moved == nil {
		moved = map[string]string{}
	}
	moved[from] = to
	f.moved = moved
}

// recorder is the observer.
type recorder struct {
	mu     sync.Mutex
	events []Event
}

func (r *recorder) Observe(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recorder) of(kind trace.Kind) []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Event
	for _, e := range r.events {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

// faults is a store that fails as told.
type faults struct {
	Store
	mu      sync.Mutex
	dead    bool
	err     error                                           // of every Submit
	before  func(n int, statements []store.Statement) error // an error: not done
	after   func(n int, statements []store.Statement) error // an error: done, but not told
	submits int
	changed func(statements []store.Statement, affected []int64)
}

var errCrashed = fmt.Errorf("%w: crashed", store.ErrUnavailable)

func (f *faults) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *faults) setBefore(do func(int, []store.Statement) error) { f.set(func() { f.before = do }) }
func (f *faults) setAfter(do func(int, []store.Statement) error)  { f.set(func() { f.after = do }) }
func (f *faults) setChanged(do func([]store.Statement, []int64))  { f.set(func() { f.changed = do }) }
func (f *faults) count() (n int)                                  { f.set(func() { n = f.submits }); return n }
func (f *faults) isDead() (dead bool)                             { f.set(func() { dead = f.dead }); return dead }

func (f *faults) kill()   { f.mu.Lock(); f.dead = true; f.mu.Unlock() }
func (f *faults) revive() { f.mu.Lock(); f.dead = false; f.mu.Unlock() }

func (f *faults) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *faults) Submit(ctx context.Context, statements ...store.Statement) ([]int64, error) {
	f.mu.Lock()
	f.submits++
	n, before, after, changed := f.submits, f.before, f.after, f.changed
	err := f.err
	if f.dead {
		err = errCrashed
	}
	f.mu.Unlock()
	if err == nil && before != nil {
		err = before(n, statements)
	}
	if err != nil {
		return nil, err
	}
	affected, err := f.Store.Submit(ctx, statements...)
	if err == nil && changed != nil {
		changed(statements, affected)
	}
	if err == nil && after != nil {
		err = after(n, statements)
	}
	return affected, err
}

func (f *faults) Select(ctx context.Context, each func(func(...any) error) error, sql string, args ...any) error {
	f.mu.Lock()
	dead := f.dead
	f.mu.Unlock()
	if dead {
		return errCrashed
	}
	return f.Store.Select(ctx, each, sql, args...)
}

func (f *faults) Get(ctx context.Context, sql string, args []any, dest ...any) error {
	f.mu.Lock()
	dead := f.dead
	f.mu.Unlock()
	if dead {
		return errCrashed
	}
	return f.Store.Get(ctx, sql, args, dest...)
}
