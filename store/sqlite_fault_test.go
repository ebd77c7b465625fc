package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatepost/store"
	"gatepost/store/storetest"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of its own, filled but for some octets.
func smallDisk(t *testing.T, free int) (dir string, give func(octets int)) {
	t.Helper()
	dir = t.TempDir()
	const size = 8 << 20
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("SKIPPED LOUDLY: a full disk needs the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, size-free), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, func(octets int) {
		free += octets
		if err := os.Truncate(filler, int64(size-free)); err != nil {
			t.Fatal(err)
		}
	}
}

func big(id int64, size int) store.Statement {
	s := insert(id, fmt.Sprint("big ", id))
	s.Args[3] = bytes.Repeat([]byte{'x'}, size)
	return s
}

func TestDiskFull(t *testing.T) {
	dir, give := smallDisk(t, 1<<20)
	clock := newClock()
	s := storetest.Open(t, store.Options{URL: "sqlite", Dir: dir, Schemas: []store.Schema{things()}, Now: clock.now})
	stored := int64(0)
	var err error
	for id := int64(1); err == nil && id < 100; id++ {
		if _, err = s.Submit(t.Context(), big(id, 100_000)); err == nil {
			stored++
		}
	}
	if !errors.Is(err, store.ErrFull) || stored == 0 {
		t.Fatalf("%v after %d", err, stored)
	}
	if err := s.Usable(t.Context()); !errors.Is(err, store.ErrFull) {
		t.Errorf("usable while full: %v", err)
	}
	if n := count(t, s, "id > 0"); n != stored {
		t.Errorf("%d rows of %d acknowledged", n, stored)
	}
	give(256 << 10)
	// The big one does not fit, the small ones beside it do.
	errs, _ := s.CommitBatch(t.Context(), []store.Statement{insert(201, "small")}, []store.Statement{big(202, 900_000)}, []store.Statement{insert(203, "tiny")})
	if errs[0] != nil || !errors.Is(errs[1], store.ErrFull) || errs[2] != nil {
		t.Errorf("batch on a full disk: %v", errs)
	}
	give(4 << 20)
	clock.advance(2 * time.Second)
	if err := s.Usable(t.Context()); err != nil {
		t.Errorf("space is back: %v", err)
	}
	if _, err := s.Submit(t.Context(), big(300, 500_000)); err != nil {
		t.Errorf("space is back, submit: %v", err)
	}
	if n := count(t, s, "id IN (201, 203, 300)"); n != 3 || count(t, s, "id <= ?", stored) != stored {
		t.Error("rows are missing")
	}
}

func TestMinFree(t *testing.T) {
	dir, give := smallDisk(t, 2<<20)
	s := storetest.Open(t, store.Options{URL: "sqlite", Dir: dir, MinFree: 3 << 20, Schemas: []store.Schema{things()}})
	if err := s.Usable(t.Context()); !errors.Is(err, store.ErrFull) {
		t.Errorf("below min_free: %v", err)
	}
	// What is in the queue must still get its outcome written.
	if _, err := s.Submit(t.Context(), insert(1, "outcome")); err != nil {
		t.Errorf("submit below min_free: %v", err)
	}
	give(4 << 20)
	if err := s.Usable(t.Context()); err != nil {
		t.Errorf("space is back: %v", err)
	}
}

func TestReadOnlyAndBack(t *testing.T) {
	clock := newClock()
	s := storetest.Open(t, store.Options{URL: "sqlite", Dir: t.TempDir(), Schemas: []store.Schema{things()}, Now: clock.now})
	if _, err := s.Submit(t.Context(), insert(1, "one")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.WriterPragma(t.Context(), "query_only(1)"); err != nil {
		t.Fatal(err)
	}
	errs, err := s.CommitBatch(t.Context(), []store.Statement{insert(2, "two")}, []store.Statement{insert(3, "three")})
	if !errors.Is(err, store.ErrUnavailable) || !errors.Is(errs[0], store.ErrUnavailable) || !errors.Is(errs[1], store.ErrUnavailable) {
		t.Errorf("%v, %v", errs, err)
	}
	if _, err := s.Submit(t.Context(), insert(4, "four")); err != nil {
		t.Errorf("on the next connection: %v", err)
	}
	if count(t, s, "id IN (1, 4)") != 2 || count(t, s, "id IN (2, 3)") != 0 {
		t.Error("not what was acknowledged")
	}
}

// The file is gone: the store must not start an empty one in its place.
func TestLostFileIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, store.Options{URL: "sqlite", Dir: dir, Schemas: []store.Schema{things()}})
	if err := os.Rename(filepath.Join(dir, "gatepost.db"), filepath.Join(dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	if err := s.Usable(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("usable: %v", err)
	}
	if _, err := s.WriterPragma(t.Context(), "query_only(1)"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first makes the writer give up its connection
		if _, err := s.Submit(t.Context(), insert(1, "one")); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "gatepost.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a new database: %v", err)
	}
}
