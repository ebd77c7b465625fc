package intake

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/iotest"

	"gatepost/mail"
)

func randomOctets(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func readAll(t *testing.T, b mail.Body) []byte {
	t.Helper()
	r, err := b.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestSpoolKeepsEveryOctet(t *testing.T) {
	for _, size := range []int{0, 1, spoolFirst - 1, spoolFirst, spoolFirst + 1, spoolHead - 1, spoolHead, spoolHead + 1, spoolHead + 3*spoolChunk + 7} {
		for name, limit := range map[string]int64{"memory": 1 << 20, "little memory": spoolFirst, "no memory": 0} {
			space := newSpoolSpace(t.TempDir(), limit)
			s := newSpool(space, int64(size/2))
			want := randomOctets(size)
			if n, err := s.ReadFrom(iotest.HalfReader(bytes.NewReader(want))); err != nil || n != int64(size) {
				t.Fatalf("%s, %d octets: ReadFrom %d, %v", name, size, n, err)
			}
			if s.Size() != int64(size) {
				t.Errorf("%s: size %d, want %d", name, s.Size(), size)
			}
			for range 2 {
				if !bytes.Equal(readAll(t, s), want) {
					t.Errorf("%s: %d octets came back changed", name, size)
				}
			}
			if got := space.used.Load(); got > limit || got > spoolHead {
				t.Errorf("%s: %d octets of memory used, want at most %d", name, got, min(limit, spoolHead))
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("second Close: %v", err)
			}
			if space.used.Load() != 0 {
				t.Errorf("%s: %d octets of memory not given back", name, space.used.Load())
			}
			if _, err := s.Open(t.Context()); !errors.Is(err, errSpoolClosed) {
				t.Errorf("Open after Close: %v", err)
			}
		}
	}
}

func TestSpoolFileHasNoName(t *testing.T) {
	dir := t.TempDir()
	s := newSpool(newSpoolSpace(dir, 0), 0)
	defer s.Close()
	if _, err := s.ReadFrom(bytes.NewReader(randomOctets(100))); err != nil {
		t.Fatal(err)
	}
	if s.file == nil {
		t.Fatal("the message is not in a file")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("%v, %v: want an empty directory, so that a crash leaves nothing", entries, err)
	}
}

func TestSpoolTellsWhoseErrorItIs(t *testing.T) {
	s := newSpool(newSpoolSpace(filepath.Join(t.TempDir(), "missing"), 0), 0)
	defer s.Close()
	_, err := s.ReadFrom(bytes.NewReader(randomOctets(100)))
	if ours := (*spoolError)(nil); !errors.As(err, &ours) {
		t.Errorf("no directory: %v, want a *spoolError", err)
	}
	broken := errors.New("broken")
	s = newSpool(newSpoolSpace(t.TempDir(), 1<<20), 0)
	defer s.Close()
	if _, err := s.ReadFrom(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("reader's error: %v", err)
	}
}

func TestSpoolHeader(t *testing.T) {
	message := "Subject: a\r\nX: " + string(bytes.Repeat([]byte("y"), 9000)) + "\r\n\r\nbody\r\n"
	for name, limit := range map[string]int64{"memory": 1 << 20, "file": 0} {
		s := newSpool(newSpoolSpace(t.TempDir(), limit), 0)
		if _, err := s.ReadFrom(bytes.NewReader([]byte(message))); err != nil {
			t.Fatal(err)
		}
		h, err := s.Header(t.Context(), 10000)
		if err != nil || len(h.Fields) != 2 || h.Fields[0].Value() != "a" || h.Size != s.Shape().HeaderSize {
			t.Errorf("%s: %d fields, %v", name, len(h.Fields), err)
		}
		if _, err := s.Header(t.Context(), 9000); !errors.Is(err, mail.ErrHeaderTooLong) {
			t.Errorf("%s: a header over the limit: %v", name, err)
		}
		s.Close()
	}
}

// A large message costs little memory, however large it is.
func TestSpoolNeedsLittleMemory(t *testing.T) {
	const size = 20 << 20
	s := newSpool(newSpoolSpace(t.TempDir(), 1<<30), size)
	defer s.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := s.ReadFrom(io.LimitReader(zeros{}, size)); err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(struct{ io.Writer }{io.Discard}, r); err != nil || n != size {
		t.Fatalf("read %d, %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 2<<20 {
		t.Errorf("%d octets were allocated, want under 2 MiB", got)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
