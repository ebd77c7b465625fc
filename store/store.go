package store

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// Options tell Open where the store is and how to use it.
type Options struct {
	// URL is "sqlite" (in Dir) or a postgres:// URL.
	URL string
	// Dir is the data directory. It is made with mode 0700 when absent.
	Dir string
	// MinFree is the free space of Dir in octets below which Usable fails.
	MinFree int64
	// Schemas are brought up to date by Open, in order.
	Schemas []Schema
	Logger  *slog.Logger
	Now     func() time.Time
	// ReadConns bounds concurrent reads. Zero is 4.
	ReadConns int
	// Writers bounds concurrent commits on PostgreSQL. Zero is 4.
	Writers int
	// Shared opens a database that another process holds open, as the command
	// line does beside a running gateway: no lock, and no schema changes.
	Shared bool
	// Observe, when set, is told about every commit, by the goroutine that did it.
	Observe func(Commit)
}

// Commit is what Observe learns about one attempt to commit a batch.
type Commit struct {
	Operations int
	Took       time.Duration
	Err        error // of the batch; its operations may succeed in the replay
}

// Statement is one change. Placeholders are "?" on both engines. Arguments are
// integers, booleans (kept as 0 and 1), strings, byte slices and types made of
// them; strings must be UTF-8 without NUL.
type Statement struct {
	SQL  string
	Args []any
	// Must tells that a statement that changes no row undoes the whole
	// operation, which then fails with ErrConflict.
	Must bool
}

// Store is an open database. It is safe for concurrent use.
type Store struct {
	options Options
	engine  engine
	lock    *os.File // of the data directory; nil on PostgreSQL and when shared
	queue   chan *operation
	workers sync.WaitGroup
	closing sync.RWMutex // write-held to close queue
	closed  bool
	health  health
}

// engine is what SQLite and PostgreSQL do differently.
type engine interface {
	// bind checks a statement and turns it into the engine's own form.
	bind(Statement) (bound, error)
	// commit settles every operation of the batch and returns what it learnt
	// about the database.
	commit(ctx context.Context, batch []*operation) error
	// idle is called when a worker has had nothing to do for a while; it tells
	// whether it wants to be called again soon.
	idle(ctx context.Context) (again bool)
	read(ctx context.Context, sql string, args []any, each func(scan func(...any) error) error) error
	ping(ctx context.Context) error
	now(ctx context.Context) (time.Time, error)
	name() string
	close() error
}

// Open opens or makes the database, verifies its settings and brings the
// schemas up to date. The context also carries the values, not the end, of
// the writers' context.
func Open(ctx context.Context, options Options) (*Store, error) {
	return open(ctx, options, hooks{})
}

// hooks are for the tests of this package.
type hooks struct {
	synchronous string // SQLite's; FULL when empty
	idleAfter   time.Duration
}

func open(ctx context.Context, options Options, h hooks) (*Store, error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.ReadConns < 1 {
		options.ReadConns = 4
	}
	if options.Writers < 1 {
		options.Writers = 4
	}
	if h.idleAfter == 0 {
		h.idleAfter = 5 * time.Second
	}
	s := &Store{options: options, queue: make(chan *operation, queueLength)}
	if err := s.openEngine(ctx, h); err != nil {
		return nil, err
	}
	writers := options.Writers
	if s.Engine() == "sqlite" {
		writers = 1
	}
	background := context.WithoutCancel(ctx)
	for range writers {
		s.workers.Go(func() { s.work(background, h.idleAfter) })
	}
	return s, nil
}

func (s *Store) openEngine(ctx context.Context, h hooks) (err error) {
	switch url := s.options.URL; {
	case url == "sqlite":
		if !s.options.Shared {
			if s.lock, err = lockDir(s.options.Dir); err != nil {
				return err
			}
		}
		if s.engine, err = openSQLite(ctx, s.options, h); err != nil {
			unlock(s.lock)
		}
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
		s.engine, err = openPostgres(ctx, s.options)
	default:
		return fmt.Errorf("store url: want \"sqlite\" or \"postgres://…\"")
	}
	return err
}

// Engine is "sqlite" or "postgres".
func (s *Store) Engine() string { return s.engine.name() }

// Now is the time that all users of the database share: the database's own on
// PostgreSQL, ours on SQLite.
func (s *Store) Now(ctx context.Context) (time.Time, error) { return s.engine.now(ctx) }

// Select calls each for every row of a query, in order, until it returns an
// error. The rows are closed when Select returns, and each must not wait for
// a network: ask for few rows at a time. Destinations are *int64, *string and
// *[]byte.
func (s *Store) Select(ctx context.Context, each func(scan func(dest ...any) error) error, sql string, args ...any) error {
	return s.engine.read(ctx, sql, args, each)
}

// Get reads the first row of a query, or fails with ErrNotFound.
func (s *Store) Get(ctx context.Context, sql string, args []any, dest ...any) error {
	found := false
	err := s.engine.read(ctx, sql, args, func(scan func(...any) error) error {
		if found {
			return nil
		}
		found = true
		return scan(dest...)
	})
	if err == nil && !found {
		return ErrNotFound
	}
	return err
}

// Close waits for the operations that were submitted and closes the database.
// Later calls of Submit fail with ErrUnavailable.
func (s *Store) Close() error {
	s.closing.Lock()
	if s.closed {
		s.closing.Unlock()
		return nil
	}
	s.closed = true
	close(s.queue)
	s.closing.Unlock()
	s.workers.Wait()
	err := s.engine.close()
	unlock(s.lock)
	return err
}
