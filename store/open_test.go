package store_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gatepost/store"
	"gatepost/store/storetest"
)

func TestOneGatewayPerDataDirectory(t *testing.T) {
	options := store.Options{URL: "sqlite", Dir: t.TempDir(), Schemas: []store.Schema{things()}}
	first := storetest.Open(t, options)
	_, err := store.Open(t.Context(), options)
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), options.Dir) {
		t.Fatalf("second gateway: %v", err)
	}
	options.Shared = true
	beside := storetest.Open(t, options)
	if _, err := beside.Submit(t.Context(), insert(1, "command line")); err != nil {
		t.Errorf("beside the gateway: %v", err)
	}
	if _, err := first.Submit(t.Context(), insert(2, "gateway")); err != nil {
		t.Error(err)
	}
	if count(t, first, "id > 0") != 2 || count(t, beside, "id > 0") != 2 {
		t.Error("they do not see the same")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	options.Shared = false
	storetest.Open(t, options)
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	options := store.Options{URL: "sqlite", Dir: dir, Schemas: []store.Schema{things()}}
	s := storetest.Open(t, options)
	if _, err := s.Submit(t.Context(), insert(1, "one")); err != nil {
		t.Fatal(err)
	}
	modes := map[string]os.FileMode{"": 0o700, "gatepost.db": 0o600, "gatepost.db-wal": 0o600, "gatepost.db-shm": 0o600, "gatepost.lock": 0o600}
	check := func(when string) {
		for name, want := range modes {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %q: %v, want %v, %v", when, name, info.Mode().Perm(), want, err)
			}
		}
	}
	check("made")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "gatepost.db"), 0o644); err != nil {
		t.Fatal(err)
	}
	storetest.Open(t, options)
	check("found open to all")
}

func TestSettings(t *testing.T) {
	s := storetest.Open(t, store.Options{URL: "sqlite", Dir: t.TempDir()})
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "auto_vacuum": "2", "cache_size": "-16384",
		"wal_autocheckpoint": "1000", "journal_size_limit": "67108864", "busy_timeout": "10000", "query_only": "0",
	} {
		if got, err := s.WriterPragma(t.Context(), pragma); err != nil || got != want {
			t.Errorf("writer: %s is %s, want %s, %v", pragma, got, want, err)
		}
	}
	for pragma, want := range map[string]string{"cache_size": "-2048", "query_only": "1", "busy_timeout": "10000"} {
		if got, err := s.ReaderPragma(t.Context(), pragma); err != nil || got != want {
			t.Errorf("reader: %s is %s, want %s, %v", pragma, got, want, err)
		}
	}
}

// Without FULL a commit is not on disk when it is acknowledged.
func TestUnsafeSettingsAreRefused(t *testing.T) {
	s, err := store.OpenUnsafe(t.Context(), store.Options{URL: "sqlite", Dir: t.TempDir()}, "OFF")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.VerifySettings(t.Context()); !errors.Is(err, store.ErrSettings) {
		t.Errorf("synchronous=OFF: %v", err)
	}

	dir := t.TempDir()
	db, err := sql.Open("sqlite", filepath.Join(dir, "gatepost.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE foreigner (id INTEGER)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(t.Context(), store.Options{URL: "sqlite", Dir: dir}); !errors.Is(err, store.ErrSettings) {
		t.Errorf("a database without incremental vacuum: %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("no directory"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "gatepost.db"), []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string]store.Options{
		"unknown engine":             {URL: "mysql://localhost", Dir: t.TempDir()},
		"no url":                     {Dir: t.TempDir()},
		"data_dir is a file":         {URL: "sqlite", Dir: file},
		"not a database":             {URL: "sqlite", Dir: broken},
		"shared without a database":  {URL: "sqlite", Dir: t.TempDir(), Shared: true},
		"schema that is no SQL":      {URL: "sqlite", Dir: t.TempDir(), Schemas: []store.Schema{{Name: "x", Steps: []string{"nonsense"}}}},
		"no PostgreSQL at that port": {URL: "postgres://127.0.0.1:1/db"},
	} {
		if s, err := store.Open(t.Context(), options); err == nil {
			s.Close()
			t.Errorf("%s: opened", name)
		}
	}
	// What failed must not keep the lock.
	options := store.Options{URL: "sqlite", Dir: t.TempDir(), Schemas: []store.Schema{{Name: "x", Steps: []string{"nonsense"}}}}
	if _, err := store.Open(t.Context(), options); err == nil {
		t.Fatal("opened")
	}
	options.Schemas = nil
	storetest.Open(t, options)
}

func TestMigrations(t *testing.T) {
	storetest.EachOptions(t, func(t *testing.T, options store.Options) {
		one := "CREATE TABLE thing (id {{key}}, number {{int}}, name {{text}}, octets {{bytes}})"
		two := "ALTER TABLE thing ADD COLUMN extra BIGINT NOT NULL DEFAULT 5; CREATE INDEX thing_extra ON thing (extra)"
		bad := "CREATE TABLE half (id {{key}}); nonsense"
		open := func(shared bool, steps ...string) (*store.Store, error) {
			options.Shared, options.Schemas = shared, []store.Schema{{Name: "things", Steps: steps}}
			return store.Open(t.Context(), options)
		}
		use := func(what string, do func(*store.Store), steps ...string) {
			t.Helper()
			s, err := open(false, steps...)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			do(s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		use("version 1", func(s *store.Store) {
			if _, err := s.Submit(t.Context(), insert(1, "old")); err != nil {
				t.Error(err)
			}
		}, one)
		if s, err := open(true, one, two); err == nil {
			s.Close()
			t.Error("the command line upgraded under the gateway")
		}
		if s, err := open(false, one, bad); err == nil {
			s.Close()
			t.Fatal("a step that is no SQL")
		}
		use("version 2 after a failed try", func(s *store.Store) {
			if count(t, s, "id = 1 AND extra = 5") != 1 {
				t.Error("the row from before")
			}
			if err := s.Get(t.Context(), "SELECT count(*) FROM half", nil, new(int64)); err == nil {
				t.Error("the failed step left a table")
			}
		}, one, two)
		use("version 2 again", func(*store.Store) {}, one, two)
		_, err := open(false, one)
		if !errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), `"things" has version 2, this program knows 1`) {
			t.Errorf("older program: %v", err)
		}
	})
}

// Nodes that start together upgrade one after the other.
func TestNodesUpgradeTogether(t *testing.T) {
	options := store.Options{URL: storetest.Postgres(t), Schemas: []store.Schema{things()}}
	var nodes sync.WaitGroup
	for range 5 {
		nodes.Go(func() {
			s, err := store.Open(context.WithoutCancel(t.Context()), options)
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	nodes.Wait()
}

func TestServerWithoutSynchronousCommit(t *testing.T) {
	u := storetest.Postgres(t)
	s := storetest.Open(t, store.Options{URL: u + "&synchronous_commit=off", Schemas: []store.Schema{things()}})
	var setting string
	if err := s.Get(t.Context(), "SELECT current_setting('synchronous_commit')", nil, &setting); err != nil || setting != "on" {
		t.Errorf("synchronous_commit is %q, %v", setting, err)
	}
}
