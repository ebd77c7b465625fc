package store

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// How long what we know about the database holds before it is asked again.
const (
	healthyFor = 5 * time.Second
	troubleFor = time.Second
	probeLimit = 5 * time.Second
)

// health remembers how the last commit ended.
type health struct {
	mu      sync.Mutex
	trouble error
	known   time.Time
	probing sync.Mutex
}

func (h *health) committed(err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trouble, h.known = engineTrouble(err), now
}

// fresh gives what is known, and whether that is still good.
func (h *health) fresh(now time.Time) (error, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	keep := healthyFor
	if h.trouble != nil {
		keep = troubleFor
	}
	age := now.Sub(h.known)
	return h.trouble, age >= 0 && age < keep
}

// Usable tells whether a message could be stored now: ErrFull when less than
// MinFree is left, ErrUnavailable when the database does not answer. It is
// cheap enough to be asked before each message. After trouble it tries a write
// of its own, at most once a second, and so finds out that all is well again.
func (s *Store) Usable(ctx context.Context) error {
	if err := checkFree(s.options.Dir, s.options.MinFree); err != nil {
		return err
	}
	if trouble, ok := s.health.fresh(s.options.Now()); ok {
		return trouble
	}
	s.health.probing.Lock()
	defer s.health.probing.Unlock()
	trouble, ok := s.health.fresh(s.options.Now())
	if ok {
		return trouble
	}
	return s.probe(ctx, trouble != nil)
}

// probe asks the database; after trouble only a write can tell that it is over.
func (s *Store) probe(ctx context.Context, write bool) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	if write {
		_, err := s.Submit(ctx, Statement{
			SQL:  "INSERT INTO schema_version (name, version) VALUES (?, 0) ON CONFLICT (name) DO UPDATE SET version = 1 - schema_version.version",
			Args: []any{"probe"},
		})
		if err != nil && engineTrouble(err) == nil {
			err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return err
	}
	err := s.engine.ping(ctx)
	s.health.committed(err, s.options.Now())
	return err
}
