package store

import (
	"context"
	"database/sql/driver"
	"fmt"
	"sync/atomic"
	"time"
)

// A batch is bounded, so that the first operation of it does not wait for a
// thousand others and bodies of many messages do not fill memory.
const (
	queueLength   = 256
	batchLength   = 256
	batchOctets   = 4 << 20
	argumentsCost = 16 // octets counted per argument that is no text or bytes
	idleAgain     = 100 * time.Millisecond
)

// bound is a statement in the form of its engine.
type bound struct {
	sql  string
	args []driver.NamedValue // SQLite
	list []any               // PostgreSQL
	must bool
	size int
}

// operation is what one Submit asks for.
type operation struct {
	statements []bound
	size       int
	affected   []int64
	err        error
	state      atomic.Int32
	done       chan struct{}
}

// The states of an operation. A waiting one can still be withdrawn.
const (
	waiting int32 = iota
	taken
	withdrawn
)

// settle is how an engine says what became of the operation. The caller is
// told when the whole batch is settled.
func (op *operation) settle(err error) {
	if err != nil {
		op.affected = nil
	}
	op.err = err
}

func settleAll(batch []*operation, err error) {
	for _, op := range batch {
		op.settle(err)
	}
}

// Submit does the statements in order as one operation: all or nothing. It
// returns how many rows each of them changed. A nil error means that all is on
// disk; any error but ErrUnknown means that nothing was done. When ctx ends
// before a writer took the operation it is withdrawn, later Submit waits for
// its end.
func (s *Store) Submit(ctx context.Context, statements ...Statement) ([]int64, error) {
	op := &operation{done: make(chan struct{}), statements: make([]bound, len(statements))}
	for i, statement := range statements {
		b, err := s.engine.bind(statement)
		if err != nil {
			return nil, err
		}
		op.statements[i] = b
		op.size += b.size
	}
	if err := s.enqueue(ctx, op); err != nil {
		return nil, err
	}
	select {
	case <-op.done:
	case <-ctx.Done():
		if op.state.CompareAndSwap(waiting, withdrawn) {
			return nil, ctx.Err()
		}
		<-op.done
	}
	return op.affected, op.err
}

func (s *Store) enqueue(ctx context.Context, op *operation) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed {
		return fmt.Errorf("%w: closed", ErrUnavailable)
	}
	select {
	case s.queue <- op:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// work is a writer: it takes what waits and commits it, until Close.
func (s *Store) work(ctx context.Context, idleAfter time.Duration) {
	idle := time.NewTimer(idleAfter)
	defer idle.Stop()
	for {
		select {
		case op, open := <-s.queue:
			if !open {
				return
			}
			s.commit(ctx, s.collect(op))
			idle.Reset(idleAfter)
		case <-idle.C:
			if s.engine.idle(ctx) {
				idle.Reset(idleAgain)
			}
		}
	}
}

// collect takes what waits behind the first operation, up to the bounds.
func (s *Store) collect(first *operation) []*operation {
	var batch []*operation
	size := 0
	for op := first; ; {
		if op.state.CompareAndSwap(waiting, taken) {
			batch = append(batch, op)
			size += op.size
		}
		if len(batch) == batchLength || size >= batchOctets {
			return batch
		}
		select {
		case next, open := <-s.queue:
			if !open {
				return batch
			}
			op = next
		default:
			return batch
		}
	}
}

func (s *Store) commit(ctx context.Context, batch []*operation) {
	if len(batch) == 0 {
		return
	}
	start := time.Now()
	err := s.engine.commit(ctx, batch)
	s.health.committed(err, s.options.Now())
	took := time.Since(start)
	for _, op := range batch {
		close(op.done)
	}
	if s.options.Observe != nil {
		s.options.Observe(Commit{Operations: len(batch), Took: took, Err: err})
	}
}
