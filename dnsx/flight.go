package dnsx

import (
	"context"
	"errors"
	"sync"
)

// ErrClosed is the cause of every failure after Close.
var ErrClosed = errors.New("resolver is closed")

// flights lets equal questions asked at the same time share one exchange. A
// caller that goes away does not disturb the others; when the last one is
// gone, the exchange is given up.
type flights struct {
	mu     sync.Mutex
	open   map[question]*flight
	closed bool
	wait   sync.WaitGroup
}

type flight struct {
	done    chan struct{}
	result  result
	waiters int
	cancel  context.CancelFunc
}

// do runs work once for all callers that ask q at the same time.
func (f *flights) do(ctx context.Context, q question, work func(context.Context) result) (result, error) {
	fl, err := f.join(ctx, q, work)
	if err != nil {
		return result{}, err
	}
	select {
	case <-fl.done:
		return fl.result, nil
	case <-ctx.Done():
		f.leave(q, fl)
		return result{}, context.Cause(ctx)
	}
}

func (f *flights) join(ctx context.Context, q question, work func(context.Context) result) (*flight, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if fl, ok := f.open[q]; ok {
		fl.waiters++
		return fl, nil
	}
	flightCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	fl := &flight{done: make(chan struct{}), waiters: 1, cancel: cancel}
	if f.open == nil {
		f.open = map[question]*flight{}
	}
	f.open[q] = fl
	f.wait.Go(func() {
		defer cancel()
		fl.result = work(flightCtx)
		f.forget(q, fl)
		close(fl.done)
	})
	return fl, nil
}

// leave is called by a waiter that stops waiting.
func (f *flights) leave(q question, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.waiters--; fl.waiters > 0 {
		return
	}
	fl.cancel()
	if f.open[q] == fl {
		delete(f.open, q)
	}
}

func (f *flights) forget(q question, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[q] == fl {
		delete(f.open, q)
	}
}

func (f *flights) close() {
	f.mu.Lock()
	f.closed = true
	for _, fl := range f.open {
		fl.cancel()
	}
	f.mu.Unlock()
	f.wait.Wait()
}
