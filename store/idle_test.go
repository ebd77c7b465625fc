package store

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// quietEngine counts how often it was idle.
type quietEngine struct {
	engine
	idled   atomic.Int32
	commits atomic.Int32
}

func (e *quietEngine) bind(Statement) (bound, error) { return bound{}, nil }

func (e *quietEngine) commit(_ context.Context, batch []*operation) error {
	e.commits.Add(1)
	settleAll(batch, nil)
	return nil
}

func (e *quietEngine) idle(context.Context) bool {
	return e.idled.Add(1) < 3
}

func (e *quietEngine) close() error { return nil }

func TestWriterTidiesWhenNobodyCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &quietEngine{}
		s := &Store{options: Options{Now: time.Now}, engine: e, queue: make(chan *operation, queueLength)}
		s.workers.Go(func() { s.work(t.Context(), 5*time.Second) })
		for range 10 {
			if _, err := s.Submit(t.Context(), Statement{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(4 * time.Second)
		}
		synctest.Wait()
		if n := e.idled.Load(); n != 0 {
			t.Errorf("tidied %d times under load", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := e.idled.Load(); n != 3 {
			t.Errorf("tidied %d times, want until it was done after 3", n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if n := e.commits.Load(); n != 10 {
			t.Errorf("%d commits", n)
		}
	})
}
