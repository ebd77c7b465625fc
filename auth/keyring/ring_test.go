package keyring

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/store"
	"gatepost/store/storetest"
)

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func domain(t testing.TB, s string) mail.Domain {
	t.Helper()
	d, err := mail.ParseDomain(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func sealKey(fill byte) []byte { return bytes.Repeat([]byte{fill}, 32) }

func newRing(t testing.TB, s *store.Store, files ...File) (*Ring, *clock) {
	t.Helper()
	c := &clock{time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	r, err := New(t.Context(), Options{Store: s, SealKey: sealKey(1), Files: files, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

// each runs a test on a ring in each engine.
func each(t *testing.T, test func(t *testing.T, ctx context.Context, s *store.Store, r *Ring, c *clock)) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		s := open(Schema())
		r, c := newRing(t, s)
		test(t, t.Context(), s, r, c)
	})
}

func names(keys []Key) string {
	var out []string
	for _, k := range keys {
		out = append(out, k.Name()+" "+string(k.State))
	}
	return strings.Join(out, ", ")
}

func TestLifeOfAKey(t *testing.T) {
	each(t, func(t *testing.T, ctx context.Context, s *store.Store, r *Ring, c *clock) {
		d := domain(t, "example.com")
		k, err := r.Create(ctx, d, Ed25519, "", false)
		if err != nil {
			t.Fatal(err)
		}
		if k.Selector != "gp20261121e" || k.State != Pending || len(r.Active(ctx, d)) != 0 {
			t.Fatalf("a new key: %+v, active %s", k, names(r.Active(ctx, d)))
		}
		c.at = c.at.Add(time.Hour)
		if _, err := r.Activate(ctx, d, k.Selector); err != nil {
			t.Fatal(err)
		}
		second, err := r.Create(ctx, d, Ed25519, "", true)
		if err != nil {
			t.Fatal(err)
		}
		if second.Selector != "gp20261121e2" {
			t.Errorf("second key of the day: %s", second.Selector)
		}
		want := "example.com/gp20261121e retired, example.com/gp20261121e2 active"
		if got := names(r.List(ctx, d)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if err := r.Remove(ctx, d, second.Selector); err == nil {
			t.Error("an active key was removed")
		}
		if err := errors.Join(r.Retire(ctx, d, second.Selector), r.Remove(ctx, d, second.Selector), r.Remove(ctx, d, k.Selector)); err != nil {
			t.Fatal(err)
		}
		if got := names(r.List(ctx, mail.Domain{})); got != "" {
			t.Errorf("left over: %s", got)
		}
	})
}

func TestAlgorithmsStandSideBySide(t *testing.T) {
	each(t, func(t *testing.T, ctx context.Context, s *store.Store, r *Ring, c *clock) {
		d, other := domain(t, "example.com"), domain(t, "example.org")
		for _, a := range []Algorithm{RSA2048, Ed25519} {
			if _, err := r.Create(ctx, d, a, "", true); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.Create(ctx, other, Ed25519, "x", true); err != nil {
			t.Fatal(err)
		}
		want := "example.com/gp20261121e active, example.com/gp20261121r active"
		if got := names(r.Active(ctx, d)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestTwoKeysOfOneNameAreRefused(t *testing.T) {
	each(t, func(t *testing.T, ctx context.Context, s *store.Store, r *Ring, c *clock) {
		d := domain(t, "example.com")
		if _, err := r.Create(ctx, d, Ed25519, "s1", false); err != nil {
			t.Fatal(err)
		}
		late, _ := newRing(t, s) // another node that has not looked yet
		late.keys = nil
		for _, ring := range []*Ring{r, late} {
			if _, err := ring.Create(ctx, d, Ed25519, "s1", false); !errors.Is(err, ErrExists) {
				t.Errorf("got %v, want ErrExists", err)
			}
		}
	})
}

func TestAnotherNodeSeesAChange(t *testing.T) {
	each(t, func(t *testing.T, ctx context.Context, s *store.Store, r *Ring, c *clock) {
		other, otherClock := newRing(t, s)
		d := domain(t, "example.com")
		if _, err := r.Create(ctx, d, Ed25519, "s1", true); err != nil {
			t.Fatal(err)
		}
		if got := names(other.Active(ctx, d)); got != "" {
			t.Fatalf("seen without looking: %s", got)
		}
		otherClock.at = otherClock.at.Add(poll)
		if got := names(other.Active(ctx, d)); got != "example.com/s1 active" {
			t.Errorf("got %q", got)
		}
	})
}

func TestKeysStayWhileTheStoreIsAway(t *testing.T) {
	s := storetest.Open(t, store.Options{URL: "sqlite", Dir: t.TempDir(), Schemas: []store.Schema{Schema()}})
	r, c := newRing(t, s)
	d := domain(t, "example.com")
	if _, err := r.Create(t.Context(), d, Ed25519, "s1", true); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.at = c.at.Add(time.Hour)
	if got := names(r.Active(t.Context(), d)); got != "example.com/s1 active" {
		t.Errorf("got %q", got)
	}
}

func TestPrivateKeysAreSealed(t *testing.T) {
	each(t, func(t *testing.T, ctx context.Context, s *store.Store, r *Ring, c *clock) {
		d := domain(t, "example.com")
		k, err := r.Create(ctx, d, Ed25519, "s1", true)
		if err != nil {
			t.Fatal(err)
		}
		var sealed []byte
		if err := s.Get(ctx, "SELECT sealed FROM dkim_key", nil, &sealed); err != nil {
			t.Fatal(err)
		}
		if der, _ := k.PEM(); bytes.Contains(sealed, der[40:60]) || len(sealed) < 64 {
			t.Error("the private key stands open in the store")
		}
		if _, err := New(ctx, Options{Store: s, SealKey: sealKey(2)}); !errors.Is(err, ErrSealed) {
			t.Errorf("opened with another seal key: %v", err)
		}
		move := store.Statement{SQL: "UPDATE dkim_key SET selector = ?", Args: []any{"s2"}, Must: true}
		if _, err := s.Submit(ctx, move); err != nil {
			t.Fatal(err)
		}
		if _, err := New(ctx, Options{Store: s, SealKey: sealKey(1)}); !errors.Is(err, ErrSealed) {
			t.Errorf("a key moved to another name was opened: %v", err)
		}
	})
}

func TestExportAndImportGiveTheSameKey(t *testing.T) {
	each(t, func(t *testing.T, ctx context.Context, s *store.Store, r *Ring, c *clock) {
		for _, a := range []Algorithm{RSA2048, Ed25519} {
			from, to := domain(t, "example.com"), domain(t, "example.org")
			k, err := r.Create(ctx, from, a, "", false)
			if err != nil {
				t.Fatal(err)
			}
			text, err := r.Export(ctx, from, k.Selector)
			if err != nil {
				t.Fatal(err)
			}
			copied, err := r.Import(ctx, to, k.Selector, text, false)
			if err != nil {
				t.Fatal(err)
			}
			if copied.Record() != k.Record() || copied.Algorithm != a {
				t.Errorf("%s changed on the way:\n%s\n%s", a, k.Record(), copied.Record())
			}
		}
	})
}

func TestMountedFiles(t *testing.T) {
	s := storetest.Open(t, store.Options{URL: "sqlite", Dir: t.TempDir(), Schemas: []store.Schema{Schema()}})
	r, _ := newRing(t, s)
	d := domain(t, "example.com")
	k, err := r.Create(t.Context(), domain(t, "example.org"), Ed25519, "x", false)
	if err != nil {
		t.Fatal(err)
	}
	text, err := k.PEM()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s1.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	mounted, c := newRing(t, s, File{d, "s1", path})
	got := mounted.Active(t.Context(), d)
	if names(got) != "example.com/s1 active" || got[0].Record() != k.Record() {
		t.Fatalf("got %s", names(got))
	}
	if _, err := mounted.Activate(t.Context(), d, "s1"); err == nil {
		t.Error("a mounted key was changed in the store")
	}
	other, err := r.Create(t.Context(), domain(t, "example.net"), Ed25519, "x", false)
	if err != nil {
		t.Fatal(err)
	}
	text, _ = other.PEM()
	if err := errors.Join(os.WriteFile(path, text, 0o600), os.Chtimes(path, c.at, c.at.Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	c.at = c.at.Add(poll)
	if got := mounted.Active(t.Context(), d); len(got) != 1 || got[0].Record() != other.Record() {
		t.Error("a changed file was not read again")
	}
}

func TestAMountedKeyComesBeforeThoseOfTheStore(t *testing.T) {
	s := storetest.Open(t, store.Options{URL: "sqlite", Dir: t.TempDir(), Schemas: []store.Schema{Schema()}})
	r, _ := newRing(t, s)
	d := domain(t, "example.com")
	var text []byte
	for _, selector := range []string{"a", "z"} {
		k, err := r.Create(t.Context(), d, Ed25519, selector, true)
		if err != nil {
			t.Fatal(err)
		}
		if text, err = k.PEM(); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "m.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, stored := range []string{"a", "z"} {
		if _, err := r.Activate(t.Context(), d, stored); err != nil {
			t.Fatal(err)
		}
		mounted, _ := newRing(t, s, File{d, "m", path})
		if got := names(mounted.Active(t.Context(), d)); got != "example.com/m active" {
			t.Errorf("beside %s: got %s", stored, got)
		}
	}
}

func TestWrongFilesAreToldByPath(t *testing.T) {
	s := storetest.Open(t, store.Options{URL: "sqlite", Dir: t.TempDir(), Schemas: []store.Schema{Schema()}})
	bad := filepath.Join(t.TempDir(), "bad.pem")
	if err := os.WriteFile(bad, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := domain(t, "example.com")
	_, err := New(t.Context(), Options{Store: s, SealKey: sealKey(1), Files: []File{{d, "s1", bad}, {d, "S 2", bad}, {d, "s3", bad + ".none"}}})
	var got []string
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			if f := (*FieldError)(nil); errors.As(e, &f) {
				got = append(got, f.Path)
			}
		}
	}
	want := []string{"dkim.keys[0].file", "dkim.keys[1].selector", "dkim.keys[2].file"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q (%v), want %q", got, err, want)
	}
}

func TestSealKeyInDirectoryIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	first, err := SealKeyIn(dir, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	second, err := SealKeyIn(dir, rand.Reader)
	if err != nil || !bytes.Equal(first, second) {
		t.Fatalf("another key the second time: %v", err)
	}
	entries, _ := os.ReadDir(dir)
	info, err := os.Stat(filepath.Join(dir, sealFile))
	if err != nil || info.Mode().Perm() != 0o600 || len(entries) != 1 {
		t.Errorf("mode %v, %d files, %v", info.Mode(), len(entries), err)
	}
	if err := os.WriteFile(filepath.Join(dir, sealFile), []byte("c2hvcnQ=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := SealKeyIn(dir, rand.Reader); err == nil {
		t.Error("a broken seal key was replaced or taken")
	}
}
