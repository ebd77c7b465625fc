package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// retries is how often one operation is tried again after a deadlock.
const retries = 3

// commit does the batch in one transaction; when that fails, each operation
// is tried alone and gets its own answer. A lost commit is never replayed.
func (e *postgresEngine) commit(ctx context.Context, batch []*operation) error {
	err := e.attempt(ctx, batch)
	if err == nil {
		finishAll(batch, nil)
		return nil
	}
	if trouble := engineTrouble(err); trouble != nil {
		e.options.Logger.Error("store: writing failed", "error", err)
		if !errors.Is(err, ErrFull) || len(batch) == 1 {
			finishAll(batch, err)
			return trouble
		}
	}
	return e.replay(ctx, batch)
}

func (e *postgresEngine) replay(ctx context.Context, batch []*operation) error {
	var last error
	for i, op := range batch {
		err := e.attempt(ctx, batch[i:i+1])
		for n := 0; n < retries && isDeadlock(err); n++ {
			err = e.attempt(ctx, batch[i:i+1])
		}
		if trouble := engineTrouble(err); trouble != nil {
			last = trouble
		}
		op.finish(err)
	}
	return last
}

// attempt does operations in one transaction. Without a Must everything,
// COMMIT too, is one round trip.
func (e *postgresEngine) attempt(ctx context.Context, batch []*operation) error {
	ctx, cancel := context.WithTimeout(ctx, commitLimit)
	defer cancel()
	conn, err := e.writers.Acquire(ctx)
	if err != nil {
		return unavailable(err)
	}
	defer conn.Release()
	must := false
	queries := &pgx.Batch{}
	queries.Queue("BEGIN")
	for _, op := range batch {
		for _, s := range op.statements {
			queries.Queue(s.sql, s.list...)
			must = must || s.must
		}
	}
	if !must {
		queries.Queue("COMMIT")
		return e.send(ctx, conn, queries, batch, true)
	}
	if err := e.send(ctx, conn, queries, batch, false); err != nil {
		return err
	}
	tag, err := conn.Exec(ctx, "COMMIT")
	return committed(tag, err)
}

// send sends the queries and reads their results. With last, the last of them
// is the COMMIT.
func (e *postgresEngine) send(ctx context.Context, conn *pgxpool.Conn, queries *pgx.Batch, batch []*operation, last bool) error {
	results := conn.SendBatch(ctx, queries)
	err := readResults(results, batch)
	if err == nil && last {
		tag, commitErr := results.Exec()
		err = committed(tag, commitErr)
	}
	closeErr := results.Close()
	switch {
	case err == nil && closeErr == nil:
		return nil
	case err == nil && last:
		return nil // committed; the connection broke afterwards
	case err == nil:
		err = closeErr
	}
	closed := conn.Conn().IsClosed()
	if last && closed && !isAnswer(err) && !pgconn.SafeToRetry(err) {
		// The COMMIT was sent along with what failed to come back.
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if closed && !isAnswer(err) {
		return unavailable(err)
	}
	rollback(ctx, conn)
	return postgresError(err)
}

// readResults reads the result of BEGIN and of every statement.
func readResults(results pgx.BatchResults, batch []*operation) error {
	if _, err := results.Exec(); err != nil {
		return err
	}
	var conflict error
	for _, op := range batch {
		op.affected = make([]int64, 0, len(op.statements))
		for _, s := range op.statements {
			tag, err := results.Exec()
			if err != nil {
				return err
			}
			if s.must && tag.RowsAffected() == 0 {
				conflict = ErrConflict
			}
			op.affected = append(op.affected, tag.RowsAffected())
		}
	}
	return conflict
}

// committed judges the answer to COMMIT. Only an answer of the server tells;
// a FATAL one may have come after the commit.
func committed(tag pgconn.CommandTag, err error) error {
	var answer *pgconn.PgError
	switch {
	case err == nil && tag.String() == "COMMIT":
		return nil
	case err == nil:
		return fmt.Errorf("store: COMMIT ended as %s", tag)
	case errors.As(err, &answer) && answer.Severity == "ERROR":
		return postgresError(err)
	}
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}

// rollback leaves the connection clean; one that cannot be cleaned is closed
// by the pool, and the server rolls back.
func rollback(ctx context.Context, conn *pgxpool.Conn) {
	if conn.Conn().PgConn().TxStatus() == 'I' || conn.Conn().IsClosed() {
		return
	}
	if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
		conn.Conn().Close(ctx)
	}
}

// isAnswer tells that the server itself said err.
func isAnswer(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer)
}
