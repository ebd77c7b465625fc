package queue

import (
	"context"
	"sync"
	"time"
)

// tryAgain is the longest wait before a duty that failed is tried again.
const tryAgain = time.Minute

// duty is something the queue does again and again.
type duty struct {
	name  string
	every time.Duration
	kick  chan struct{} // now, please
	do    func(ctx context.Context) error
}

// duties are all of them.
type duties struct {
	lease, wake, sweep, wishes, orphans, reroute *duty
}

func (q *Queue) newDuties() duties {
	duty := func(name string, every time.Duration, do func(context.Context) error) *duty {
		return &duty{name, every, make(chan struct{}, 1), do}
	}
	return duties{
		lease:   duty("lease", q.o.Lease/3, q.keepLease),
		wake:    duty("wake destinations", q.o.Poll, q.wakeDestinations),
		sweep:   duty("sweep due recipients", 30*time.Second, q.sweepDue),
		wishes:  duty("carry out wishes", 10*time.Second, q.carryOut),
		orphans: duty("sweep orphaned bodies", time.Hour, q.sweepOrphans),
		reroute: duty("ask for routes again", 24*time.Hour, q.rerouteAll),
	}
}

// start runs every duty in a goroutine that owner waits for, until ctx ends.
func (d duties) start(ctx context.Context, owner *sync.WaitGroup, failed func(duty string, err error)) {
	for _, duty := range []*duty{d.lease, d.wake, d.sweep, d.wishes, d.orphans, d.reroute} {
		owner.Go(func() { duty.run(ctx, failed) })
	}
}

// now asks for the duty to be done soon.
func (d *duty) now() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

func (d *duty) run(ctx context.Context, failed func(string, error)) {
	timer := time.NewTimer(d.every)
	defer timer.Stop()
	for ctx.Err() == nil {
		wait := d.every
		if err := d.do(ctx); err != nil && ctx.Err() == nil {
			failed(d.name, err)
			wait = min(wait, tryAgain)
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-d.kick:
		case <-ctx.Done():
		}
	}
}
