package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// No database may keep us waiting longer than this: a server that is gone
// without a word looks like a slow one.
const (
	connectLimit = 5 * time.Second
	commitLimit  = 30 * time.Second
	readLimit    = 30 * time.Second
	pingLimit    = 2 * time.Second
)

// postgresEngine has a pool for commits and one for reads, so that neither
// can take the other's connections.
type postgresEngine struct {
	options Options
	dialect *dialect
	writers *pgxpool.Pool
	readers *pgxpool.Pool
}

func openPostgres(ctx context.Context, options Options) (engine, error) {
	e := &postgresEngine{options: options, dialect: postgresDialect()}
	var err error
	if e.writers, err = e.pool(ctx, options.Writers); err != nil {
		return nil, err
	}
	if e.readers, err = e.pool(ctx, options.ReadConns); err != nil {
		return nil, errors.Join(err, e.close())
	}
	if err := e.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open postgres: %w", err), e.close())
	}
	return e, nil
}

func (e *postgresEngine) pool(ctx context.Context, size int) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(e.options.URL)
	if err != nil {
		return nil, fmt.Errorf("store url: %w", err) // pgx leaves the password out
	}
	config.MaxConns = int32(size)
	config.ConnConfig.ConnectTimeout = connectLimit
	config.AfterConnect = verifyPostgres
	if _, named := config.ConnConfig.RuntimeParams["application_name"]; !named {
		config.ConnConfig.RuntimeParams["application_name"] = "gatepost"
	}
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), config)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return pool, nil
}

// verifyPostgres makes sure that a commit on this connection is on disk when
// the server says so. The setting may come from the role or the database.
func verifyPostgres(ctx context.Context, conn *pgx.Conn) error {
	var fsync, commit string
	err := conn.QueryRow(ctx, "SELECT current_setting('fsync'), current_setting('synchronous_commit')").Scan(&fsync, &commit)
	if err != nil {
		return err
	}
	if fsync != "on" {
		return fmt.Errorf("%w: the PostgreSQL server runs with fsync = %s", ErrSettings, fsync)
	}
	if commit == "off" {
		_, err = conn.Exec(ctx, "SET synchronous_commit = on")
	}
	return err
}

func (e *postgresEngine) name() string { return "postgres" }

func (e *postgresEngine) close() error {
	for _, pool := range []*pgxpool.Pool{e.writers, e.readers} {
		if pool != nil {
			pool.Close()
		}
	}
	return nil
}

func (e *postgresEngine) idle(context.Context) bool { return false }

func (e *postgresEngine) bind(s Statement) (bound, error) {
	list, size, err := values(s.Args)
	return bound{sql: e.dialect.translate(s.SQL), list: list, must: s.Must, size: size}, err
}

func (e *postgresEngine) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	return postgresError(e.writers.Ping(ctx))
}

func (e *postgresEngine) now(ctx context.Context) (time.Time, error) {
	var ms int64
	err := e.read(ctx, "SELECT {{now}}", nil, func(scan func(...any) error) error { return scan(&ms) })
	return time.UnixMilli(ms), err
}

func (e *postgresEngine) read(ctx context.Context, text string, args []any, each func(func(...any) error) error) error {
	list, _, err := values(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	rows, err := e.readers.Query(ctx, e.dialect.translate(text), list...)
	if err != nil {
		return postgresError(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return postgresError(rows.Err())
}

// migrationLock keeps nodes that start together from upgrading together. The
// number only has to be ours; each schema of a database has its own lock.
const migrationLock = "SELECT pg_advisory_xact_lock(1735681, hashtext(current_schema()))"

func (e *postgresEngine) migrate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*commitLimit)
	defer cancel()
	tx, err := e.writers.Begin(ctx)
	if err != nil {
		return postgresError(err)
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Exec(ctx, migrationLock); err != nil {
		return postgresError(err)
	}
	if !e.options.Shared {
		if _, err := tx.Exec(ctx, e.dialect.translate(versionTable)); err != nil {
			return fmt.Errorf("make the table of versions: %w", postgresError(err))
		}
	}
	for _, schema := range e.options.Schemas {
		if err := e.upgrade(ctx, tx, schema); err != nil {
			return fmt.Errorf("upgrade schema %q: %w", schema.Name, err)
		}
	}
	return postgresError(tx.Commit(ctx))
}

func (e *postgresEngine) upgrade(ctx context.Context, tx pgx.Tx, schema Schema) error {
	var version int64
	err := tx.QueryRow(ctx, "SELECT version FROM schema_version WHERE name = $1", schema.Name).Scan(&version)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return postgresError(err)
	}
	steps, err := schema.pending(version, e.options.Shared)
	if err != nil || len(steps) == 0 {
		return err
	}
	for _, step := range steps {
		// The simple protocol takes several statements in one text.
		if _, err := tx.Exec(ctx, e.dialect.translate(step), pgx.QueryExecModeSimpleProtocol); err != nil {
			return postgresError(err)
		}
	}
	_, err = tx.Exec(ctx, "INSERT INTO schema_version (name, version) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET version = excluded.version",
		schema.Name, int64(len(schema.Steps)))
	return postgresError(err)
}
