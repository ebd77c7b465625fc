package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	sqlitedriver "modernc.org/sqlite"
)

// databaseFile is the name of the database in the data directory.
const databaseFile = "gatepost.db"

// sqliteEngine has one writer and a pool of readers. The writer speaks to the
// driver without database/sql, whose pool it does not need.
type sqliteEngine struct {
	options   Options
	path      string
	sync      string // wanted PRAGMA synchronous
	dialect   *dialect
	connector driver.Connector // of the writer
	writer    *sqliteWriter
	readers   *sql.DB
	prepared  sync.Map // string -> *sql.Stmt of readers
}

func openSQLite(ctx context.Context, options Options, h hooks) (*sqliteEngine, error) {
	e := &sqliteEngine{
		options: options,
		path:    filepath.Join(options.Dir, databaseFile),
		sync:    h.synchronous,
		dialect: sqliteDialect(),
	}
	if e.sync == "" {
		e.sync = "FULL"
	}
	if err := e.prepareFile(); err != nil {
		return nil, err
	}
	err := e.connect(ctx)
	if err == nil {
		err = e.migrate(ctx)
	}
	if err == nil {
		err = syncDir(options.Dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", e.path, err), e.close())
	}
	return e, nil
}

// prepareFile makes the database file readable by us alone. SQLite gives its
// other files the same mode. A file that is there is not opened: closing it
// would drop the locks that SQLite may hold on it in this process.
func (e *sqliteEngine) prepareFile() error {
	info, err := os.Stat(e.path)
	if errors.Is(err, os.ErrNotExist) && !e.options.Shared {
		return e.makeFile()
	}
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = os.Chmod(e.path, 0o600)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

func (e *sqliteEngine) makeFile() error {
	f, err := os.OpenFile(e.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return f.Close()
}

func (e *sqliteEngine) connect(ctx context.Context) error {
	var err error
	if e.connector, err = sqlitedriver.NewConnector(e.dsn(writerCache, false)); err != nil {
		return err
	}
	if e.writer, err = e.newWriter(ctx); err != nil {
		return err
	}
	connector, err := sqlitedriver.NewConnector(e.dsn(readerCache, true))
	if err != nil {
		return err
	}
	e.readers = sql.OpenDB(connector)
	e.readers.SetMaxOpenConns(e.options.ReadConns)
	e.readers.SetMaxIdleConns(e.options.ReadConns)
	return nil
}

// The page caches in KiB, the time to wait for another process's lock in
// milliseconds, and the size in octets that the write-ahead log is cut to.
const (
	writerCache  = 16 << 10
	readerCache  = 2 << 10
	busyTimeout  = 10_000
	journalLimit = 64 << 20
)

// dsn puts every setting where each new connection of a pool finds it.
// mode=rw: the file was made by prepareFile, and a lost data directory must
// not become an empty database.
func (e *sqliteEngine) dsn(cacheKiB int, readOnly bool) string {
	q := url.Values{
		"mode":          {"rw"},
		"_txlock":       {"immediate"},
		"_busy_timeout": {fmt.Sprint(busyTimeout)},
		"_auto_vacuum":  {"INCREMENTAL"}, // works only before the first table is made
		"_journal_mode": {"WAL"},
		"_synchronous":  {e.sync},
		"_dqs":          {"0"},
		"_pragma": {
			fmt.Sprintf("cache_size(-%d)", cacheKiB),
			fmt.Sprintf("journal_size_limit(%d)", journalLimit),
			"temp_store(MEMORY)",
		},
	}
	if readOnly {
		q.Set("_query_only", "1")
	}
	return (&url.URL{Scheme: "file", Path: e.path, RawQuery: q.Encode()}).String()
}

func (e *sqliteEngine) name() string { return "sqlite" }

func (e *sqliteEngine) now(context.Context) (time.Time, error) { return e.options.Now(), nil }

// ping notices that the data directory is gone, as when a disk was unmounted.
func (e *sqliteEngine) ping(context.Context) error {
	if _, err := os.Stat(e.path); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

func (e *sqliteEngine) bind(s Statement) (bound, error) {
	list, size, err := values(s.Args)
	if err != nil {
		return bound{}, err
	}
	named := make([]driver.NamedValue, len(list))
	for i, v := range list {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return bound{sql: e.dialect.translate(s.SQL), args: named, must: s.Must, size: size}, nil
}

// read runs without a context that can end: the driver would start a
// goroutine for it. The end of ctx is seen between rows.
func (e *sqliteEngine) read(ctx context.Context, text string, args []any, each func(func(...any) error) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	list, _, err := values(args)
	if err != nil {
		return err
	}
	calm := context.WithoutCancel(ctx)
	stmt, err := e.reader(calm, e.dialect.translate(text))
	if err != nil {
		return sqliteError(err)
	}
	rows, err := stmt.QueryContext(calm, list...)
	if err != nil {
		return sqliteError(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return sqliteError(rows.Err())
}

func (e *sqliteEngine) reader(ctx context.Context, text string) (*sql.Stmt, error) {
	if stmt, ok := e.prepared.Load(text); ok {
		return stmt.(*sql.Stmt), nil
	}
	stmt, err := e.readers.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	if old, loaded := e.prepared.LoadOrStore(text, stmt); loaded {
		stmt.Close()
		return old.(*sql.Stmt), nil
	}
	return stmt, nil
}

func (e *sqliteEngine) close() error {
	var errs []error
	if e.readers != nil {
		e.prepared.Range(func(_, stmt any) bool {
			errs = append(errs, stmt.(*sql.Stmt).Close())
			return true
		})
		errs = append(errs, e.readers.Close())
	}
	if e.writer != nil {
		errs = append(errs, e.writer.close())
	}
	return errors.Join(errs...)
}
