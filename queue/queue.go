package queue

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/mail"
	"gatepost/queue/dsn"
)

// Bounds that nobody needs to set.
const (
	destinationsKnown = 10_000 // in memory
	lossesOfSite      = 5      // lost sessions in a row that are a failure of the site
	lastWords         = 5 * time.Second
)

var (
	// ErrStopped is why deliveries end early.
	ErrStopped = errors.New("queue: shutting down")
	// ErrRunning reports a second Run.
	ErrRunning = errors.New("queue: Run was called before")
)

// Queue is the queue of one node. It is safe for concurrent use.
type Queue struct {
	o       Options
	notices *dsn.Writer
	born    time.Time // by Options.Steady

	mu        sync.Mutex // guards scheduler and the source of randomness
	scheduler *scheduler

	epoch    atomic.Uint64 // of the routes; grows with Reroute
	kept     atomic.Int64  // octets of content in memory
	tally    tally
	lease    lease
	entering sync.RWMutex // write-held where no entry may be half way in

	keeper  keeper
	duties  duties
	orphans orphans
	quiet   quiet

	workers sync.WaitGroup // running attempts
	started atomic.Bool
	closing atomic.Bool
	stop    chan struct{} // closed by Shutdown
	grace   context.Context
	once    sync.Once
	done    chan struct{} // closed when Run has ended

	run      context.Context // of all that Run started, but the attempts
	attempts context.Context // of deliveries
}

// New makes a queue on a store that was opened with Schema and trace.Schema.
// Accept works at once, deliveries begin with Run.
func New(options Options) (*Queue, error) {
	o, err := options.complete()
	if err != nil {
		return nil, err
	}
	notices, err := dsn.New(o.Notices)
	if err != nil {
		return nil, err
	}
	q := &Queue{o: o, notices: notices, born: o.Steady(), stop: make(chan struct{}), done: make(chan struct{})}
	q.epoch.Store(1)
	q.keeper.wake = make(chan struct{}, 1)
	q.keeper.walks = map[string]*walk{}
	q.orphans.pending, q.orphans.coming = map[mail.ID]bool{}, map[mail.ID]bool{}
	q.duties = q.newDuties()
	q.scheduler = newScheduler(limits{
		running: o.Concurrency,
		rows:    o.Rows,
		perDest: o.RowsPerDestination,
		window:  o.Window,
		dests:   destinationsKnown,
		known:   destinationsKnown / 2,
		losses:  lossesOfSite,
		retry:   o.Retry,
		maxSite: o.SiteRetry,
	}, q.jitterLocked)
	return q, nil
}

// Run delivers until ctx ends or Shutdown is called, and returns when all that
// it started has ended.
func (q *Queue) Run(ctx context.Context) error {
	if q.started.Swap(true) {
		return ErrRunning
	}
	defer close(q.done)
	calm := context.WithoutCancel(ctx)
	run, cancelRun := context.WithCancelCause(calm)
	attempts, cancelAttempts := context.WithCancelCause(calm)
	q.run, q.attempts = run, attempts
	var own sync.WaitGroup
	own.Go(func() { q.keepOn(run) })
	q.duties.start(run, &own, q.trouble)

	grace := ctx
	select {
	case <-ctx.Done():
	case <-q.stop:
		grace = q.grace
	}
	q.endAttempts(grace, func() { cancelAttempts(ErrStopped) }, func() { cancelRun(ErrStopped) })
	cancelAttempts(ErrStopped)
	cancelRun(ErrStopped)
	own.Wait()
	return q.leave(calm)
}

// Shutdown stops starting attempts, waits for the running ones until ctx ends,
// stops them then, and gives back what this node owns. It returns when Run has
// ended.
func (q *Queue) Shutdown(ctx context.Context) {
	q.once.Do(func() {
		q.grace = ctx
		close(q.stop)
	})
	if q.started.Load() {
		<-q.done
	}
}

// endAttempts waits for the running attempts: first in peace, then after
// stopping deliveries, and at last without their outcomes, which only a store
// in trouble can make necessary.
func (q *Queue) endAttempts(grace context.Context, stopDeliveries, giveUp func()) {
	q.closing.Store(true)
	q.mayDeliver()
	ended := make(chan struct{})
	go func() {
		q.workers.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return
	case <-grace.Done():
	}
	stopDeliveries()
	last := time.NewTimer(lastWords)
	defer last.Stop()
	select {
	case <-ended:
	case <-last.C:
		giveUp()
		<-ended
	}
}

// step lets the scheduler take a step. The actions must be done.
func (q *Queue) step(event any) actions { return q.stepWith(func() any { return event }) }

// stepWith makes the event while no other step can be taken.
func (q *Queue) stepWith(event func() any) actions {
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.scheduler.step(q.o.Now(), event())
	q.workers.Add(len(a.start))
	return a
}

// do carries out what the scheduler wants, but for what the caller of step
// writes in a batch of its own.
func (q *Queue) do(a actions) {
	for _, p := range a.start {
		go func() {
			defer q.workers.Done()
			q.attempt(p)
		}()
	}
	if len(a.refill) > 0 || len(a.release) > 0 {
		q.keeper.add(a.refill, a.release)
	}
}

// jitterLocked spreads a wait by up to an eighth to both sides. The caller
// holds q.mu.
func (q *Queue) jitterLocked(wait time.Duration) time.Duration {
	return wait + time.Duration((q.o.Random.Float64()-0.5)*float64(wait)/4)
}

func (q *Queue) jitter(wait time.Duration) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.jitterLocked(wait)
}

// stamp is a number that was never used before.
func (q *Queue) stamp() int64 { return int64(q.o.IDs.Next()) }

// keep reserves memory for content, or tells that there is none.
func (q *Queue) keep(octets int64) bool {
	if q.kept.Add(octets) <= q.o.ContentMemory {
		return true
	}
	q.kept.Add(-octets)
	return false
}

func (q *Queue) observe(e Event) { q.o.Observer.Observe(e) }

// pauseFor waits, and tells whether ctx is still good.
func pauseFor(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// route asks the Router and completes its answer.
func (q *Queue) route(ctx context.Context, m *mail.Message, to mail.Address) (Route, error) {
	route, err := q.o.Router.Route(ctx, m, to)
	if err != nil {
		return route, err
	}
	if route.Dest == "" {
		return route, errors.New("queue: route without a destination")
	}
	if route.Recipients < 1 {
		route.Recipients = q.o.Recipients
	}
	return route, nil
}
