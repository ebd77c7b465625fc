package mail

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func readMessage(t interface{ Fatalf(string, ...any) }, m *Message, wrap func(io.Reader) io.Reader) string {
	r, err := m.Open(context.Background())
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer r.Close()
	b, err := io.ReadAll(wrap(r))
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return string(b)
}

func TestMessageOpen(t *testing.T) {
	content := "A: 1\r\nB: 2\r\nC: 3\r\n\r\nbody"
	for _, c := range []struct {
		prefix string
		cuts   []Span
		want   string
	}{
		{"", nil, content},
		{"X: y\r\n", nil, "X: y\r\n" + content},
		{"X: y\r\n", []Span{{0, 6}}, "X: y\r\n" + content[6:]},
		{"", []Span{{0, 6}, {6, 6}}, content[12:]},
		{"", []Span{{6, 6}, {12, 0}, {18, 6}}, "A: 1\r\nC: 3\r\n"},
	} {
		m := &Message{Prefix: []byte(c.prefix), Cuts: c.cuts, Content: MemoryBody([]byte(content))}
		for _, wrap := range []func(io.Reader) io.Reader{iotest.OneByteReader, func(r io.Reader) io.Reader { return r }} {
			if got := readMessage(t, m, wrap); got != c.want || m.Size() != int64(len(got)) {
				t.Errorf("prefix %q, cuts %v: %q (size %d), want %q", c.prefix, c.cuts, got, m.Size(), c.want)
			}
		}
	}
	for _, cuts := range [][]Span{{{6, 6}, {0, 6}}, {{0, 6}, {5, 2}}, {{20, 99}}, {{-1, 1}}, {{1, -1}}, {{1, 1 << 62}, {1 << 62, 1 << 62}}} {
		m := &Message{Cuts: cuts, Content: MemoryBody([]byte(content))}
		if _, err := m.Open(t.Context()); !errors.Is(err, ErrCuts) {
			t.Errorf("cuts %v: %v, want ErrCuts", cuts, err)
		}
	}
}

// TestScan compares the bulk scanner, fed in pieces, with one that looks at
// lines.
func TestScan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOf(rapid.OneOf(
			rapid.SampledFrom([]string{"\r\n", "\r\n\r\n", "\r", "\n", "A: b\r\n", "ö", strings.Repeat("x", 997), strings.Repeat("y", 998)}),
			rapid.StringMatching(`[a-z:]{0,12}`))).Draw(t, "parts")
		in := strings.Join(parts, "")
		cut := rapid.IntRange(0, len(in)).Draw(t, "cut")
		var s Scanner
		_, _ = io.WriteString(&s, in[:cut])
		_, _ = io.WriteString(&s, in[cut:])
		if got, want := s.Shape(), slowShape(in); got != want || s.Size() != int64(len(in)) {
			t.Fatalf("%q cut at %d: %+v, want %+v", in, cut, got, want)
		}
		if got, err := Scan(iotest.OneByteReader(strings.NewReader(in))); err != nil || got != slowShape(in) {
			t.Fatalf("%q octet by octet: %+v, %v", in, got, err)
		}
	})
}

// TestScanBareNewline: a line of one octet and LF is not the empty line, in
// whatever pieces it comes.
func TestScanBareNewline(t *testing.T) {
	for _, in := range []string{"x\ny\r\n\r\nbody", "\n\r\nbody", "\r\r\n", "a\r\n\r"} {
		got, err := Scan(iotest.OneByteReader(strings.NewReader(in)))
		if want := slowShape(in); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", in, got, err, want)
		}
	}
}

func slowShape(in string) Shape {
	var s Shape
	header, n := true, 0
	for line := range strings.SplitAfterSeq(in, "\n") {
		n += len(line)
		bit8 := strings.ContainsFunc(line, func(r rune) bool { return r > 0x7f })
		s.EightBitHeader = s.EightBitHeader || header && bit8
		s.EightBitBody = s.EightBitBody || !header && bit8
		s.LongLine = s.LongLine || len(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")) > 998
		if header {
			s.HeaderSize = int64(n)
		}
		header = header && line != "\r\n"
	}
	return s
}

func BenchmarkScan(b *testing.B) {
	in := []byte("Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 15<<10))
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		var s Scanner
		_, _ = s.Write(in)
	}
}
