package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"gatepost/store"
	"gatepost/store/storetest"

	"go.uber.org/goleak"
)

// stopDuringCommit opens a store whose writer stops after its first commit
// until resume is called, and makes that first commit. The commits are told
// on the channel.
func stopDuringCommit(t *testing.T, options store.Options) (s *store.Store, commits chan store.Commit, resume func()) {
	t.Helper()
	gate := make(chan struct{})
	commits = make(chan store.Commit, 100)
	first := true
	options.Writers = 1
	options.Schemas = []store.Schema{things()}
	options.Observe = func(c store.Commit) {
		commits <- c
		if first {
			first = false
			<-gate
		}
	}
	s = storetest.Open(t, options)
	if _, err := s.Submit(t.Context(), insert(1000, "first")); err != nil {
		t.Fatal(err)
	}
	<-commits
	return s, commits, sync.OnceFunc(func() { close(gate) })
}

// waitFor spins until condition holds: what it waits for has no channel.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for !condition() {
		runtime.Gosched()
		if t.Context().Err() != nil {
			t.Fatal("test ended")
		}
	}
}

func TestManySubmitsShareOneCommit(t *testing.T) {
	storetest.EachOptions(t, func(t *testing.T, options store.Options) {
		s, commits, resume := stopDuringCommit(t, options)
		var callers sync.WaitGroup
		for i := range int64(50) {
			callers.Go(func() {
				if _, err := s.Submit(t.Context(), insert(i, fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			})
		}
		waitFor(t, func() bool { return s.Waiting() == 50 })
		resume()
		callers.Wait()
		if c := <-commits; c.Operations != 50 || c.Err != nil {
			t.Errorf("%d operations in the next commit, want 50: %v", c.Operations, c.Err)
		}
		if n := count(t, s, "id < 1000"); n != 50 {
			t.Errorf("%d rows", n)
		}
	})
}

func TestBatchIsBoundedByOctets(t *testing.T) {
	s, commits, resume := stopDuringCommit(t, store.Options{URL: "sqlite", Dir: t.TempDir()})
	var callers sync.WaitGroup
	for i := range int64(12) {
		callers.Go(func() {
			if _, err := s.Submit(t.Context(), big(i, 1<<20)); err != nil {
				t.Error(err)
			}
		})
	}
	waitFor(t, func() bool { return s.Waiting() == 12 })
	resume()
	callers.Wait()
	for range 3 {
		if c := <-commits; c.Operations != 4 {
			t.Errorf("%d operations of 1 MiB in a commit, want 4", c.Operations)
		}
	}
}

func TestOperationIsWithdrawnWhileItWaits(t *testing.T) {
	storetest.EachOptions(t, func(t *testing.T, options store.Options) {
		s, _, resume := stopDuringCommit(t, options)
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error)
		go func() {
			_, err := s.Submit(ctx, insert(1, "withdrawn"))
			result <- err
		}()
		waitFor(t, func() bool { return s.Waiting() == 1 })
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		resume()
		if _, err := s.Submit(t.Context(), insert(2, "after")); err != nil {
			t.Error(err)
		}
		if count(t, s, "id = 1") != 0 {
			t.Error("it was done all the same")
		}
	})
}

func TestCloseFinishesWhatWaits(t *testing.T) {
	storetest.EachOptions(t, func(t *testing.T, options store.Options) {
		ignore := goleak.IgnoreCurrent()
		s, _, resume := stopDuringCommit(t, options)
		results := make(chan error, 10)
		for i := range int64(10) {
			go func() {
				_, err := s.Submit(t.Context(), insert(i, fmt.Sprint(i)))
				results <- err
			}()
		}
		waitFor(t, func() bool { return s.Waiting() == 10 })
		resume()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for range 10 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if _, err := s.Submit(t.Context(), insert(99, "late")); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("after Close: %v", err)
		}
		if err := s.Usable(t.Context()); err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("usable after Close: %v", err)
		}
		goleak.VerifyNone(t, ignore)
		options.Schemas = []store.Schema{things()}
		if n := count(t, storetest.Open(t, options), "id < 10"); n != 10 {
			t.Errorf("%d rows of 10 acknowledged", n)
		}
	})
}

func TestIdleGivesSpaceBack(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, store.Options{URL: "sqlite", Dir: dir, Schemas: []store.Schema{things()}})
	for id := range int64(40) {
		if _, err := s.Submit(t.Context(), big(id, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Submit(t.Context(), store.Statement{SQL: "DELETE FROM thing WHERE id > 0"}); err != nil {
		t.Fatal(err)
	}
	rounds := 1
	for ; s.Tidy(t.Context()); rounds++ {
		if rounds > 100 {
			t.Fatal("no end of tidying")
		}
	}
	if rounds < 2 {
		t.Error("everything in one step: callers wait that long")
	}
	const kept = 16<<20 + 2<<20
	if size := fileSize(t, filepath.Join(dir, "gatepost.db")); size > kept {
		t.Errorf("database has %d octets, most of them free", size)
	}
	if size := fileSize(t, filepath.Join(dir, "gatepost.db-wal")); size != 0 {
		t.Errorf("write-ahead log has %d octets when idle", size)
	}
	if got, err := s.WriterPragma(t.Context(), "busy_timeout"); err != nil || got != "10000" {
		t.Errorf("busy_timeout is %s afterwards, %v", got, err)
	}
	if count(t, s, "id = 0 AND length(octets) = 1048576") != 1 {
		t.Error("the row that stayed")
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
