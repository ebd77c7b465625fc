package integration

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// sqliteStore is the store section of a configuration with the embedded store.
const sqliteStore = "{min_free: 1MiB}"

// postgresStore makes a database for one test and gives the store section
// that uses it, or skips the test loudly.
func postgresStore(t testing.TB) string {
	t.Helper()
	base := os.Getenv("GATEPOST_TEST_POSTGRES")
	if base == "" {
		t.Skip("SKIPPED: GATEPOST_TEST_POSTGRES is not set; 'make test' starts a server and sets it")
	}
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("gatepost_test_%d", time.Now().UnixNano())
	admin := func(sql string) {
		ctx := context.Background()
		c, err := pgx.Connect(ctx, base)
		if err != nil {
			t.Fatalf("PostgreSQL of the tests: %v", err)
		}
		defer c.Close(ctx)
		if _, err := c.Exec(ctx, sql); err != nil {
			t.Error(err)
		}
	}
	admin("CREATE DATABASE " + name)
	t.Cleanup(func() { admin("DROP DATABASE " + name + " WITH (FORCE)") })
	u.Path = "/" + name
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("{min_free: 1MiB, url: %q, seal_key: %q}", u.String(), base64.StdEncoding.EncodeToString(key))
}
