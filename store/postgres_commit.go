package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// retries is how often one operation is tried again after a deadlock.
const retries = 3

// commit does the batch in one transaction; when that fails, each operation
// is tried alone and gets its own answer. A lost commit is never replayed.
func (e *postgresEngine) commit(ctx context.Context, batch []*operation) error {
	err := e.attempt(ctx, batch)
	if err == nil {
		settleAll(batch, nil)
		return nil
	}
	if trouble := engineTrouble(err); trouble != nil {
		e.options.Logger.Error("store: writing failed", "error", err)
		if !errors.Is(err, ErrFull) {
			settleAll(batch, err)
			return trouble
		}
	}
	if len(batch) == 1 && !isDeadlock(err) {
		batch[0].settle(err)
		return engineTrouble(err)
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
		op.settle(err)
	}
	return last
}

// attempt does operations in one transaction.
func (e *postgresEngine) attempt(ctx context.Context, batch []*operation) error {
	ctx, cancel := context.WithTimeout(ctx, commitLimit)
	defer cancel()
	conn, err := e.writers.Acquire(ctx)
	if err != nil {
		return unavailable(err)
	}
	defer conn.Release()
	queries, must, err := prepare(ctx, conn.Conn(), batch)
	if err != nil {
		return notDone(ctx, conn.Conn(), err)
	}
	if !must {
		return sendWithCommit(ctx, conn.Conn(), queries, batch)
	}
	results := conn.SendBatch(ctx, queries)
	err = readResults(results, batch)
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return notDone(ctx, conn.Conn(), err)
	}
	tag, err := conn.Exec(ctx, "COMMIT")
	return committed(tag, err)
}

// prepare makes the server know every statement, so that sending the batch
// can fail for no other reason than a lost connection. It tells whether there
// is a Must.
func prepare(ctx context.Context, conn *pgx.Conn, batch []*operation) (queries *pgx.Batch, must bool, err error) {
	queries = &pgx.Batch{}
	if err := enqueue(ctx, conn, queries, "BEGIN", nil); err != nil {
		return nil, false, err
	}
	for _, op := range batch {
		for _, s := range op.statements {
			must = must || s.must
			if err := enqueue(ctx, conn, queries, s.sql, s.list); err != nil {
				return nil, false, err
			}
		}
	}
	return queries, must, nil
}

func enqueue(ctx context.Context, conn *pgx.Conn, queries *pgx.Batch, sql string, args []any) error {
	prepared, err := conn.Prepare(ctx, sql, sql)
	if err != nil {
		return err
	}
	if len(prepared.ParamOIDs) != len(args) {
		return fmt.Errorf("store: %d arguments for %d placeholders", len(args), len(prepared.ParamOIDs))
	}
	for i, oid := range prepared.ParamOIDs {
		_, isInt := args[i].(int64)
		if isInt != slices.Contains(integerTypes, oid) {
			return fmt.Errorf("store: argument %d is %T, the column is another type", i+1, args[i])
		}
	}
	queries.Queue(sql, args...)
	return nil
}

// integerTypes are the parameter types that integers go to; texts and octets
// go to all others.
var integerTypes = []uint32{pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.NumericOID}

// sendWithCommit needs one round trip for everything.
func sendWithCommit(ctx context.Context, conn *pgx.Conn, queries *pgx.Batch, batch []*operation) error {
	if err := enqueue(ctx, conn, queries, "COMMIT", nil); err != nil {
		return notDone(ctx, conn, err)
	}
	results := conn.SendBatch(ctx, queries)
	err := readResults(results, batch)
	if err == nil {
		tag, commitErr := results.Exec()
		err = committed(tag, commitErr)
	}
	closeErr := results.Close()
	if err == nil {
		return nil // what happened to the connection afterwards does not matter
	}
	err = errors.Join(err, closeErr)
	if conn.IsClosed() && !isAnswer(err) && !pgconn.SafeToRetry(err) {
		// The COMMIT was sent along with what failed to come back.
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return notDone(ctx, conn, err)
}

// notDone cleans up after an error that came before any COMMIT. A server that
// cannot write now, as one that became a standby, must not be asked again over
// the same connection.
func notDone(ctx context.Context, conn *pgx.Conn, err error) error {
	if conn.IsClosed() && !isAnswer(err) {
		return unavailable(err)
	}
	err = postgresError(err)
	if errors.Is(err, ErrUnavailable) {
		conn.Close(ctx)
		return err
	}
	rollback(ctx, conn)
	return err
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

// rollback leaves the connection clean. One that cannot be cleaned is closed;
// the server then rolls back.
func rollback(ctx context.Context, conn *pgx.Conn) {
	if conn.IsClosed() || conn.PgConn().TxStatus() == 'I' {
		return
	}
	if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
		conn.Close(ctx)
	}
}

// isAnswer tells that the server itself said err.
func isAnswer(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer)
}
