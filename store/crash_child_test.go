package store_test

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"gatepost/store"
)

// The environment of the child process of the crash tests.
const (
	crashDirEnv  = "GATEPOST_TEST_CRASH_DIR"
	crashSyncEnv = "GATEPOST_TEST_CRASH_SYNCHRONOUS"
)

// crashThings has two tables, so that half an operation can be seen.
func crashThings() store.Schema {
	return store.Schema{Name: "crash", Steps: []string{`
		CREATE TABLE message (id {{key}}, octets {{bytes}});
		CREATE TABLE recipient (message {{key}})`}}
}

// TestCrashChild is no test: it is the process whose writes are recorded. It
// says on its standard output what was acknowledged, with one write for each.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDirEnv)
	if dir == "" {
		t.Skip("runs only as the child of the crash tests")
	}
	s, err := store.OpenUnsafe(t.Context(), store.Options{URL: "sqlite", Dir: dir, Schemas: []store.Schema{crashThings()}}, os.Getenv(crashSyncEnv))
	if err != nil {
		t.Fatal(err)
	}
	var producers sync.WaitGroup
	for p := range 4 {
		producers.Go(func() {
			for i := range 40 {
				crashOperation(t, s, int64(p*1000+i))
			}
		})
	}
	producers.Wait()
	// No Close: the process ends as if it had been killed.
}

// crashOperation stores a message and removes every third again.
func crashOperation(t *testing.T, s *store.Store, id int64) {
	_, err := s.Submit(t.Context(),
		store.Statement{SQL: "INSERT INTO message (id, octets) VALUES (?, ?)", Args: []any{id, make([]byte, 30_000)}},
		store.Statement{SQL: "INSERT INTO recipient (message) VALUES (?)", Args: []any{id}})
	if err != nil {
		fmt.Printf("failed %d\n", id)
		return
	}
	fmt.Printf("put %d\n", id)
	if id%3 != 0 {
		return
	}
	fmt.Printf("taking %d\n", id) // from here on both outcomes are right
	_, err = s.Submit(t.Context(),
		store.Statement{SQL: "DELETE FROM message WHERE id = ?", Args: []any{id}, Must: true},
		store.Statement{SQL: "DELETE FROM recipient WHERE message = ?", Args: []any{id}, Must: true})
	if err == nil {
		fmt.Printf("gone %d\n", id)
	}
}
