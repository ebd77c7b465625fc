package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
)

// sqliteWriter is the one connection that writes. It is used by one goroutine.
type sqliteWriter struct {
	conn     driver.Conn
	prepared map[string]driver.Stmt
}

// preparedLimit bounds the cache of statements; the program has far fewer.
const preparedLimit = 500

func (e *sqliteEngine) newWriter(ctx context.Context) (*sqliteWriter, error) {
	conn, err := e.connector.Connect(ctx)
	if err != nil {
		return nil, sqliteError(err)
	}
	w := &sqliteWriter{conn: conn, prepared: map[string]driver.Stmt{}}
	if err := w.verify(ctx, e.sync); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// verify reads back the settings that durability stands on: a setting that
// SQLite does not know or cannot have is ignored without an error.
func (w *sqliteWriter) verify(ctx context.Context, synchronous string) error {
	want := map[string]string{"OFF": "0", "FULL": "2"}[synchronous]
	for _, setting := range []struct{ pragma, want string }{
		{"journal_mode", "wal"},
		{"synchronous", want},
		{"auto_vacuum", "2"},
	} {
		got, err := w.pragma(ctx, setting.pragma)
		if err != nil {
			return err
		}
		if got != setting.want {
			return fmt.Errorf("%w: PRAGMA %s is %s, not %s", ErrSettings, setting.pragma, got, setting.want)
		}
	}
	return nil
}

// pragma runs a PRAGMA and gives the first column of its first row.
func (w *sqliteWriter) pragma(ctx context.Context, text string) (string, error) {
	row, err := w.row(ctx, "PRAGMA "+text)
	if err != nil || len(row) == 0 {
		return "", err
	}
	return fmt.Sprint(row[0]), nil
}

// row gives the first row of a query, or nil.
func (w *sqliteWriter) row(ctx context.Context, text string, args ...driver.NamedValue) ([]driver.Value, error) {
	rows, err := w.conn.(driver.QueryerContext).QueryContext(ctx, text, args)
	if err != nil {
		return nil, sqliteError(err)
	}
	defer rows.Close()
	row := make([]driver.Value, len(rows.Columns()))
	if err := rows.Next(row); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, sqliteError(err)
	}
	return row, nil
}

// exec runs one statement and tells how many rows it changed.
func (w *sqliteWriter) exec(ctx context.Context, text string, args ...driver.NamedValue) (int64, error) {
	stmt, err := w.statement(text)
	if err != nil {
		return 0, sqliteError(err)
	}
	result, err := stmt.(driver.StmtExecContext).ExecContext(ctx, args)
	if err != nil {
		return 0, sqliteError(err)
	}
	return result.RowsAffected()
}

func (w *sqliteWriter) statement(text string) (driver.Stmt, error) {
	if stmt, ok := w.prepared[text]; ok {
		return stmt, nil
	}
	if len(w.prepared) >= preparedLimit {
		if err := w.forget(); err != nil {
			return nil, err
		}
	}
	stmt, err := w.conn.Prepare(text)
	if err != nil {
		return nil, err
	}
	w.prepared[text] = stmt
	return stmt, nil
}

func (w *sqliteWriter) forget() error {
	var errs []error
	for text, stmt := range w.prepared {
		errs = append(errs, stmt.Close())
		delete(w.prepared, text)
	}
	return errors.Join(errs...)
}

func (w *sqliteWriter) close() error {
	return errors.Join(w.forget(), w.conn.Close())
}

// transaction runs do between BEGIN and COMMIT. SQLite ends a transaction by
// itself on some errors, so do must return at its first error, else what
// follows would commit alone.
func (w *sqliteWriter) transaction(ctx context.Context, do func() error) error {
	if _, err := w.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := do()
	if err == nil {
		_, err = w.exec(ctx, "COMMIT")
	}
	if err == nil {
		return nil
	}
	if _, rollbackErr := w.exec(ctx, "ROLLBACK"); rollbackErr != nil {
		return &brokenError{err}
	}
	return err
}

// brokenError says that ROLLBACK failed, perhaps only because SQLite had done
// it: who knows what state the connection is in.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// commit does the batch in one transaction; when that fails, each operation
// gets its own answer.
func (e *sqliteEngine) commit(ctx context.Context, batch []*operation) error {
	err := e.attempt(ctx, func(w *sqliteWriter) error { return w.doAll(ctx, batch) })
	switch {
	case err == nil:
		settleAll(batch, nil)
		return nil
	case len(batch) == 1 || isUnusable(err):
		settleAll(batch, err)
		return engineTrouble(err)
	}
	return e.replay(ctx, batch)
}

// attempt runs do in a transaction on a connection that works. After trouble
// with the file the connection is given up; the next attempt makes a new one.
func (e *sqliteEngine) attempt(ctx context.Context, do func(*sqliteWriter) error) error {
	if e.writer == nil {
		w, err := e.newWriter(ctx)
		if err != nil {
			return err
		}
		e.writer = w
	}
	w := e.writer
	err := w.transaction(ctx, func() error { return do(w) })
	var broken *brokenError
	if isUnusable(err) || errors.As(err, &broken) {
		e.options.Logger.Error("store: writing failed", "error", err)
		if closeErr := w.close(); closeErr != nil {
			e.options.Logger.Error("store: closing the connection failed", "error", closeErr)
		}
		e.writer = nil
	}
	return err
}

func (w *sqliteWriter) doAll(ctx context.Context, batch []*operation) error {
	for _, op := range batch {
		if err := w.do(ctx, op); err != nil {
			return err
		}
	}
	return nil
}

func (w *sqliteWriter) do(ctx context.Context, op *operation) error {
	op.affected = make([]int64, 0, len(op.statements))
	for _, s := range op.statements {
		n, err := w.exec(ctx, s.sql, s.args...)
		if err != nil {
			return err
		}
		if s.must && n == 0 {
			return ErrConflict
		}
		op.affected = append(op.affected, n)
	}
	return nil
}

// replay does the batch again with a savepoint around each operation, so that
// those which fail leave nothing behind and the others share one commit. When
// the commit itself finds the disk full, each is tried alone: a small one may
// still fit.
func (e *sqliteEngine) replay(ctx context.Context, batch []*operation) error {
	failed := make([]error, len(batch))
	err := e.attempt(ctx, func(w *sqliteWriter) error {
		for i, op := range batch {
			var err error
			if failed[i], err = w.doApart(ctx, op); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err == nil:
		for i, op := range batch {
			op.settle(failed[i])
		}
		return nil
	case errors.Is(err, ErrFull):
		return e.alone(ctx, batch)
	}
	settleAll(batch, err)
	return engineTrouble(err)
}

// doApart does one operation inside a savepoint. The first error is the
// operation's own, the second ends the transaction.
func (w *sqliteWriter) doApart(ctx context.Context, op *operation) (own, all error) {
	if _, err := w.exec(ctx, "SAVEPOINT operation"); err != nil {
		return nil, err
	}
	own = w.do(ctx, op)
	if engineTrouble(own) != nil {
		return nil, own
	}
	if own != nil {
		if _, err := w.exec(ctx, "ROLLBACK TO operation"); err != nil {
			return nil, err
		}
	}
	_, err := w.exec(ctx, "RELEASE operation")
	return own, err
}

func (e *sqliteEngine) alone(ctx context.Context, batch []*operation) error {
	var last error
	for _, op := range batch {
		err := e.attempt(ctx, func(w *sqliteWriter) error { return w.do(ctx, op) })
		if trouble := engineTrouble(err); trouble != nil {
			last = trouble
		}
		op.settle(err)
	}
	return last
}
