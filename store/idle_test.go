package store

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// quietEngine counts how often it was idle.
type quietEngine struct {
	engine
	idled   int
	commits int
}

func (e *quietEngine) bind(Statement) (bound, error) { return bound{}, nil }

func (e *quietEngine) commit(_ context.Context, batch []*operation) error {
	e.commits++
	finishAll(batch, nil)
	return nil
}

func (e *quietEngine) idle(context.Context) bool {
	e.idled++
	return e.idled < 3
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
		if e.idled != 0 {
			t.Errorf("tidied %d times under load", e.idled)
		}
		time.Sleep(time.Minute)
		if e.idled != 3 {
			t.Errorf("tidied %d times, want until it was done after 3", e.idled)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if e.commits != 10 {
			t.Errorf("%d commits", e.commits)
		}
	})
}
