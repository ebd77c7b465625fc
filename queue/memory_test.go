package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/store"
	"gatepost/store/storetest"
	"gatepost/trace"
)

// streamedBody makes its octets while it is read.
type streamedBody int64

func (b streamedBody) Size() int64 { return int64(b) }
func (b streamedBody) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(pattern{}, int64(b))), nil
}

type pattern struct{}

func (pattern) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// heapWatch measures the live heap above what it was at the start.
type heapWatch struct {
	start, most uint64
}

func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func watchHeap() *heapWatch { return &heapWatch{start: live()} }

func (w *heapWatch) look() {
	if now := live(); now > w.start {
		w.most = max(w.most, now-w.start)
	}
}

// watchedStore looks at the heap again and again.
type watchedStore struct {
	Store
	mu   sync.Mutex
	heap *heapWatch
	n    int
}

func (s *watchedStore) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n++; s.n%16 == 0 {
		s.heap.look()
	}
}

// begin starts a measurement; most gives its result in octets.
func (s *watchedStore) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heap = watchHeap()
}

func (s *watchedStore) most() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heap.look()
	return s.heap.most
}

func (s *watchedStore) Submit(ctx context.Context, statements ...store.Statement) ([]int64, error) {
	s.look()
	return s.Store.Submit(ctx, statements...)
}

func (s *watchedStore) Get(ctx context.Context, sql string, args []any, dest ...any) error {
	err := s.Store.Get(ctx, sql, args, dest...)
	s.look()
	return err
}

// A message of 50 MiB costs less than 2 MiB of heap on its way in, and on its
// way out.
func TestLargeMessageTakesLittleMemory(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		const size = 50 << 20
		s := open(Schema, trace.Schema)
		r := newRig(t, s)
		watched := &watchedStore{Store: s}
		var read int64
		r.options.Store = watched
		r.options.Deliverer = deliverFunc(func(ctx context.Context, job Job) []Result {
			body, err := job.Message.Open(ctx)
			if err != nil {
				t.Error(err)
				return nil
			}
			read, err = io.Copy(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{body})
			if err != nil {
				t.Error(err)
			}
			return []Result{ok()}
		})
		q, err := New(r.options)
		if err != nil {
			t.Fatal(err)
		}
		m := r.message("bob@there.example")
		m.Content = streamedBody(size)

		watched.begin()
		if err := q.Accept(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		in := watched.most()
		t.Logf("in: %d KiB", in>>10)
		if in > 2<<20 {
			t.Errorf("%d octets of heap on the way in", in)
		}

		delivered := make(chan struct{})
		q.o.Observer = observeFunc(func(e Event) { close(delivered) })
		watched.begin()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err := q.Run(ctx); err != nil {
				t.Error(err)
			}
		}()
		<-delivered
		out := watched.most()
		t.Logf("out: %d KiB", out>>10)
		if out > 2<<20 {
			t.Errorf("%d octets of heap on the way out", out)
		}
		if read < size {
			t.Errorf("%d octets read", read)
		}
		cancel()
		<-ended
	})
}

type deliverFunc func(context.Context, Job) []Result

func (f deliverFunc) Deliver(ctx context.Context, job Job) []Result { return f(ctx, job) }

type observeFunc func(Event)

func (f observeFunc) Observe(e Event) { f(e) }

// A backlog of any size takes a bounded number of rows into memory, and so
// does a flood of fresh mail.
func TestBacklogTakesBoundedMemory(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for i := range 5 {
			r.fill(400, fmt.Sprintf("mx:there%d.example", i), 3)
		}
		q := r.make(func(o *Options) { o.Rows, o.RowsPerDestination, o.Concurrency = 100, 32, 5 })
		most, perDest := 0, 0
		r.deliverer.hold(func(context.Context, Job) {
			q.mu.Lock()
			defer q.mu.Unlock()
			most = max(most, q.scheduler.rows)
			for _, d := range q.scheduler.dests {
				perDest = max(perDest, d.rows)
			}
		})
		r.run(q)
		for i := range 300 {
			r.accept(q, r.message(fmt.Sprintf("bob@there%d.example", i%7)))
		}
		pass(3 * time.Minute)
		if most > 100 || perDest > 32 {
			t.Errorf("%d rows in memory, %d of one destination", most, perDest)
		}
		if r.deliverer.most > 5 {
			t.Errorf("%d attempts at once", r.deliverer.most)
		}
		if n := len(r.observer.of(trace.KindDelivered)); n != 2300 {
			t.Errorf("%d delivered", n)
		}
		r.empty()
		if q.kept.Load() != 0 {
			t.Errorf("%d octets of content are thought to be in memory", q.kept.Load())
		}
	})
}

// The body of a large message goes soon after the message.
func TestLargeBodyIsDeleted(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.start()
		m := r.message("bob@there.example")
		m.Content = streamedBody(6 * chunkSize)
		r.accept(q, m)
		settle()
		r.empty()
	})
}

// Content that is kept in memory for the next attempt is bounded too.
func TestContentInMemoryIsBounded(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start(func(o *Options) { o.ContentMemory, o.Window = 300<<10, 1 })
		release := make(chan struct{})
		r.deliverer.hold(func(context.Context, Job) { <-release })
		for range 20 {
			m := r.message("bob@there.example")
			m.Content = mail.MemoryBody(make([]byte, 50<<10))
			r.accept(q, m)
		}
		settle()
		if kept := q.kept.Load(); kept > 300<<10 || kept < 200<<10 {
			t.Errorf("%d octets kept", kept)
		}
		close(release)
		pass(time.Second)
		if q.kept.Load() != 0 {
			t.Errorf("%d octets are kept of nothing", q.kept.Load())
		}
		r.empty()
	})
}

// A newsletter of thousands does not hold up a letter, whether the letter
// comes fresh or waits in the store behind it.
func TestNewsletterDoesNotStarveALetter(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.fill(3000, "mx:there.example", 1)
		stored := r.message("stored@there.example")
		stored.Envelope.From = address("carol@example.com")
		r.accept(r.make(), stored)
		r.deliverer.hold(func(context.Context, Job) { time.Sleep(100 * time.Millisecond) })
		q := r.start(func(o *Options) { o.Window = 4 })
		pass(10 * time.Second)
		fresh := r.message("fresh@there.example")
		fresh.Envelope.From = address("dave@example.com")
		r.accept(q, fresh)
		pass(20 * time.Second)
		for name, id := range map[string]mail.ID{"stored": stored.ID, "fresh": fresh.ID} {
			if got := r.kinds(id); got != "delivered" {
				t.Errorf("%s letter after 30s of a newsletter: %q", name, got)
			}
		}
		if n := r.count("SELECT COUNT(*) FROM recipient"); n < 1000 {
			t.Errorf("only %d of the newsletter are left: it could not starve anybody", n)
		}
		if n := r.deliverer.mostOf["mx:there.example"]; n != 4 {
			t.Errorf("%d attempts at once, the window is 4", n)
		}
	})
}

// What is read at once for a destination is not all of one sender.
func TestRefillTakesOfSeveralSenders(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.fill(200, "mx:there.example", 1)
		letter := r.message("letter@there.example")
		r.accept(r.make(), letter)
		release := make(chan struct{})
		r.deliverer.hold(func(context.Context, Job) { <-release })
		r.start(func(o *Options) { o.Window, o.RowsPerDestination = 1, 32 })
		if n := r.count("SELECT COUNT(*) FROM recipient WHERE owner <> 0 AND message = ?", int64(letter.ID)); n != 1 {
			t.Error("the letter was not read with the first rows of the newsletter")
		}
		close(release)
	})
}

// A destination without an answer does not hold up the others.
func TestSlowDestinationDoesNotHoldUpOthers(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start(func(o *Options) { o.Concurrency, o.Window = 10, 4 })
		release := make(chan struct{})
		defer close(release)
		r.deliverer.hold(func(_ context.Context, job Job) {
			if job.Dest == "mx:slow.example" {
				<-release
			}
		})
		for range 50 {
			r.accept(q, r.message("bob@slow.example"))
		}
		id := r.accept(q, r.message("bob@fast.example"))
		settle()
		if got := r.kinds(id); got != "delivered" {
			t.Errorf("trace: %q", got)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		for path, change := range map[string]func(*Options){
			"delivery.retry[1]":                    func(o *Options) { o.Retry = []time.Duration{time.Minute, time.Millisecond} },
			"delivery.expire":                      func(o *Options) { o.Expire = time.Second },
			"delivery.connections":                 func(o *Options) { o.Concurrency = -1 },
			"delivery.connections_per_destination": func(o *Options) { o.Window = -1 },
			"delivery.recipients_per_message":      func(o *Options) { o.Recipients = -1 },
			"policy.quarantine.keep":               func(o *Options) { o.Keep = time.Second },
		} {
			o := r.options
			change(&o)
			_, err := New(o)
			var field *FieldError
			if !errors.As(err, &field) || field.Path != path {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
}
