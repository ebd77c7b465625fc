// Package storetest runs a test on both engines of package store: SQLite in a
// directory of the test, and PostgreSQL in a schema of its own at the server
// whose URL is in GATEPOST_TEST_POSTGRES.
package storetest

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
	"testing"

	"gatepost/store"

	"github.com/jackc/pgx/v5"
)

// PostgresEnv names the environment variable with the URL of the server.
const PostgresEnv = "GATEPOST_TEST_POSTGRES"

// Opener opens the store of a test with schemas. Calls of one test open the
// same database again: close it first on SQLite.
type Opener func(schemas ...store.Schema) *store.Store

// Each runs test as a subtest on each engine.
func Each(t *testing.T, test func(t *testing.T, open Opener)) {
	t.Helper()
	EachOptions(t, func(t *testing.T, options store.Options) {
		test(t, func(schemas ...store.Schema) *store.Store {
			t.Helper()
			options.Schemas = schemas
			return Open(t, options)
		})
	})
}

// EachOptions is Each for tests that set more than the schemas.
func EachOptions(t *testing.T, test func(t *testing.T, options store.Options)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		test(t, store.Options{URL: "sqlite", Dir: t.TempDir()})
	})
	t.Run("postgres", func(t *testing.T) {
		test(t, store.Options{URL: Postgres(t), Dir: t.TempDir()})
	})
}

// Open opens a store that is closed when the test ends.
func Open(t testing.TB, options store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(context.WithoutCancel(t.Context()), options)
	if err != nil {
		t.Fatalf("open store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return s
}

// Postgres makes an empty schema, dropped when the test ends, and gives a URL
// whose connections live in it.
func Postgres(t testing.TB) string {
	t.Helper()
	server := os.Getenv(PostgresEnv)
	if server == "" {
		t.Skipf("SKIPPED LOUDLY: no PostgreSQL here; set %s (integration/scripts/postgres.sh start prints it)", PostgresEnv)
	}
	name := "test_" + strings.ToLower(rand.Text())
	execute(t, server, "CREATE SCHEMA "+pgx.Identifier{name}.Sanitize())
	t.Cleanup(func() { execute(t, server, "DROP SCHEMA "+pgx.Identifier{name}.Sanitize()+" CASCADE") })
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("%s: %v", PostgresEnv, err)
	}
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	return u.String()
}

func execute(t testing.TB, server, sql string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatalf("connect to %s: %v", PostgresEnv, err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
