package store

import (
	"context"
	"database/sql/driver"
	"fmt"
)

// Schema is a set of tables with one owner. Steps[i] makes version i+1 of
// version i: statements of DDL separated by ";", with the macros of the
// dialect. Steps are only ever appended, there is no way back.
type Schema struct {
	Name  string
	Steps []string
}

// versionSchema is where the versions are kept.
const versionTable = `CREATE TABLE IF NOT EXISTS schema_version (
	name {{text}} PRIMARY KEY,
	version {{int}}
) {{strict}}`

// pending checks the version of the database against the program and gives
// the steps to do.
func (s Schema) pending(version int64, shared bool) ([]string, error) {
	if version > int64(len(s.Steps)) {
		return nil, fmt.Errorf("%w: schema %q has version %d, this program knows %d",
			ErrNewer, s.Name, version, len(s.Steps))
	}
	steps := s.Steps[version:]
	if shared && len(steps) > 0 {
		return nil, fmt.Errorf("%w: schema %q has version %d, this program needs %d; restart the gateway with this program first",
			ErrUnavailable, s.Name, version, len(s.Steps))
	}
	return steps, nil
}

func (e *sqliteEngine) migrate(ctx context.Context) error {
	w := e.writer
	if !e.options.Shared {
		if _, err := w.exec(ctx, e.dialect.translate(versionTable)); err != nil {
			return fmt.Errorf("make the table of versions: %w", err)
		}
	}
	for _, schema := range e.options.Schemas {
		if err := w.transaction(ctx, func() error { return e.upgrade(ctx, schema) }); err != nil {
			return fmt.Errorf("upgrade schema %q: %w", schema.Name, err)
		}
	}
	// Statements prepared before the tables changed are of no more use.
	return w.forget()
}

func (e *sqliteEngine) upgrade(ctx context.Context, schema Schema) error {
	row, err := e.writer.row(ctx, "SELECT version FROM schema_version WHERE name = ?",
		driver.NamedValue{Ordinal: 1, Value: schema.Name})
	if err != nil {
		return err
	}
	version := int64(0)
	if row != nil {
		version = row[0].(int64)
	}
	steps, err := schema.pending(version, e.options.Shared)
	if err != nil || len(steps) == 0 {
		return err
	}
	for _, step := range steps {
		if _, err := e.writer.conn.(driver.ExecerContext).ExecContext(ctx, e.dialect.translate(step), nil); err != nil {
			return sqliteError(err)
		}
	}
	_, err = e.writer.exec(ctx, "INSERT INTO schema_version (name, version) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET version = excluded.version",
		driver.NamedValue{Ordinal: 1, Value: schema.Name}, driver.NamedValue{Ordinal: 2, Value: int64(len(schema.Steps))})
	return err
}
