package store

import (
	"context"
	"fmt"
)

// OpenUnsafe opens a SQLite store with another PRAGMA synchronous than FULL,
// to show that the tests notice.
func OpenUnsafe(ctx context.Context, options Options, synchronous string) (*Store, error) {
	return open(ctx, options, hooks{synchronous: synchronous})
}

// CommitBatch commits operations as one batch, without the door in between,
// and gives the error of each.
func (s *Store) CommitBatch(ctx context.Context, operations ...[]Statement) ([]error, error) {
	var batch []*operation
	for _, statements := range operations {
		op := &operation{}
		for _, statement := range statements {
			b, err := s.engine.bind(statement)
			if err != nil {
				return nil, err
			}
			op.statements = append(op.statements, b)
		}
		batch = append(batch, op)
	}
	err := s.engine.commit(ctx, batch)
	errs := make([]error, len(batch))
	for i, op := range batch {
		errs[i] = op.err
	}
	return errs, err
}

// WriterPragma runs a PRAGMA on the connection of the SQLite writer. Nothing
// may be submitted meanwhile.
func (s *Store) WriterPragma(ctx context.Context, text string) (string, error) {
	e := s.engine.(*sqliteEngine)
	if e.writer == nil {
		return "", fmt.Errorf("no writer")
	}
	return e.writer.pragma(ctx, text)
}

// ReaderPragma runs a PRAGMA on a connection of the SQLite readers.
func (s *Store) ReaderPragma(ctx context.Context, text string) (value string, err error) {
	err = s.engine.(*sqliteEngine).readers.QueryRowContext(ctx, "PRAGMA "+text).Scan(&value)
	return value, err
}

// VerifySettings checks the writer's settings as Open does.
func (s *Store) VerifySettings(ctx context.Context) error {
	return s.engine.(*sqliteEngine).writer.verify(ctx, "FULL")
}

// Tidy does once what the writer does when idle.
func (s *Store) Tidy(ctx context.Context) (again bool) { return s.engine.idle(ctx) }

// Waiting is the number of operations that no writer took yet.
func (s *Store) Waiting() int { return len(s.queue) }

// Number is the translation of placeholders for PostgreSQL.
func Number(sql string) string { return number(sql) }
