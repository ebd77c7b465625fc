package smtpc

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

// stuff sends message through a stuffer in pieces of the given size.
func stuff(message string, size int) (string, error) {
	s := stuffer{lineStart: true}
	for rest := []byte(message); len(rest) > 0; {
		n := min(size, len(rest))
		if err := s.add(rest[:n]); err != nil {
			return "", err
		}
		rest = rest[n:]
	}
	err := s.end()
	return string(s.out), err
}

func TestDotStuffing(t *testing.T) {
	for name, test := range map[string]struct{ in, want string }{
		"nothing":             {"", ".\r\n"},
		"one line":            {"a\r\n", "a\r\n.\r\n"},
		"no line end":         {"a", "a\r\n.\r\n"},
		"dot first":           {".a\r\n", "..a\r\n.\r\n"},
		"dot line":            {"a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"},
		"dot line at the end": {"a\r\n.\r\n", "a\r\n..\r\n.\r\n"},
		"dot at the very end": {"a\r\n.", "a\r\n..\r\n.\r\n"},
		"dots only":           {".\r\n.\r\n.\r\n", "..\r\n..\r\n..\r\n.\r\n"},
		"two dots":            {"..x\r\n", "...x\r\n.\r\n"},
		"dot inside":          {"a.b\r\n c.\r\n", "a.b\r\n c.\r\n.\r\n"},
		"empty lines":         {"\r\n\r\n", "\r\n\r\n.\r\n"},
	} {
		for size := 1; size <= 8; size++ {
			if got, err := stuff(test.in, size); err != nil || got != test.want {
				t.Errorf("%s in pieces of %d: got %q, %v", name, size, got, err)
			}
		}
	}
}

func TestBareNewlineIsNotSent(t *testing.T) {
	for _, in := range []string{"a\nb\r\n", "a\rb\r\n", "a\r", "a\r\n\n.\r\n", "a\r\r\n", "\n", "a\n.\nb\r\n", "a\r\n.\r", "\n\r\n\r"} {
		for size := 1; size <= 4; size++ {
			if got, err := stuff(in, size); !errors.Is(err, ErrNewline) {
				t.Errorf("%q in pieces of %d: got %q, %v", in, size, got, err)
			}
		}
	}
}

// unstuff reads as a server does: line by line to the line of one dot.
func unstuff(wire string) (message string, ok bool) {
	for line := range strings.SplitAfterSeq(wire, "\r\n") {
		if line == ".\r\n" {
			return message, true
		}
		message += strings.TrimPrefix(line, ".")
	}
	return "", false
}

func FuzzStuffing(f *testing.F) {
	for _, seed := range []string{"", ".", "a\r\n.\r\nb", "\r\n.\r\n", "a\r\n..\r\n", "a\nb", "\r"} {
		f.Add(seed, 3)
	}
	f.Fuzz(func(t *testing.T, in string, size int) {
		wire, err := stuff(in, max(1, size%64))
		clean := strings.ReplaceAll(in, "\r\n", "")
		if bare := strings.ContainsAny(clean, "\r\n"); bare != (err != nil) {
			t.Fatalf("%q: error %v", in, err)
		}
		if err != nil {
			return
		}
		want := in
		if in != "" && !strings.HasSuffix(in, "\r\n") {
			want += "\r\n"
		}
		got, ok := unstuff(wire)
		if !ok || got != want {
			t.Errorf("%q became %q on the wire, which reads %q", in, wire, got)
		}
		if n := strings.Index(wire, "\r\n.\r\n"); n >= 0 && n != len(wire)-5 {
			t.Errorf("%q ends early on the wire: %q", in, wire)
		}
	})
}

func TestSendReadsToTheEnd(t *testing.T) {
	// A reader may give its last octets together with io.EOF.
	message := strings.Repeat("line\r\n", 20_000)
	conn, server := pipe(t)
	done := make(chan string)
	go func() { done <- readAll(server, len(message)+3) }()
	b := &buffers{in: make([]byte, readSize)}
	end := conn.begin(t.Context())
	defer end()
	if err := conn.send(iotest.DataErrReader(strings.NewReader(message)), b, nil); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got != message+".\r\n" {
		t.Errorf("got %d octets", len(got))
	}
}

func BenchmarkStuffer(b *testing.B) {
	message := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog, and no dot begins the line.\r\n"), 70)
	out := make([]byte, 0, 8<<10)
	b.SetBytes(int64(len(message)))
	for b.Loop() {
		s := stuffer{out: out, lineStart: true}
		if err := s.add(message); err != nil {
			b.Fatal(err)
		}
	}
}
