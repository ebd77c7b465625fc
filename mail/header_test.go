package mail

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParseHeader(t *testing.T) {
	in := "From: a@b\r\nSubject: one\r\n\t two\r\nX : y\r\n\r\nbody: x\r\n"
	h, err := ParseHeader([]byte(in))
	if err != nil || len(h.Fields) != 3 || h.Size != int64(strings.Index(in, "body")) {
		t.Fatalf("ParseHeader = %+v, %v", h, err)
	}
	if v := h.All("SUBJECT")[0].Value(); v != "one\t two" {
		t.Errorf("value %q", v)
	}
	if !h.Has("x") || h.Has("body") || h.Fields[2].Name != "X" {
		t.Errorf("fields %+v", h.Fields)
	}
	for _, f := range h.Fields {
		if s := f.Span(); in[s.Offset:s.Offset+s.Length] != string(f.Raw) {
			t.Errorf("span %v of %s", s, f.Name)
		}
	}
}

func TestParseHeaderMalformed(t *testing.T) {
	for in, fields := range map[string]int{
		" folded first\r\n\r\n":            0,
		"A: b\r\nno colon\r\nC: d\r\n\r\n": 1,
		"A: b\r\n: empty name\r\n\r\n":     1,
		"A B: c\r\n\r\n":                   0,
		"A\x00: c\r\n\r\n":                 0,
		"Ä: c\r\n\r\n":                     0,
	} {
		h, err := ParseHeader([]byte(in))
		if !errors.Is(err, ErrHeader) || len(h.Fields) != fields {
			t.Errorf("ParseHeader(%q) = %d fields, %v; want %d and ErrHeader", in, len(h.Fields), err, fields)
		}
	}
}

func TestHeaderOf(t *testing.T) {
	big := "A: " + strings.Repeat("x", 40<<10) + "\r\n"
	for in, size := range map[string]int{
		"A: b\r\n\r\nbody": 8, "\r\nbody": 2, "A: b\r\n": 6, "A: b": 4, "": 0, big + "\r\nbody": len(big) + 2,
	} {
		h, err := HeaderOf(t.Context(), MemoryBody([]byte(in)), 64<<10)
		if err != nil || h.Size != int64(size) {
			t.Errorf("HeaderOf(%.20q) = size %d, %v; want %d", in, h.Size, err, size)
		}
	}
	exact := "A: b\r\n\r\n"
	if _, err := HeaderOf(t.Context(), MemoryBody([]byte(exact+strings.Repeat("x", 99))), int64(len(exact))); err != nil {
		t.Errorf("a header of exactly the limit: %v", err)
	}
	for _, limit := range []int64{0, 7, 100, 32 << 10} {
		in := exact
		if limit > 8 {
			in = big + exact
		}
		if _, err := HeaderOf(t.Context(), MemoryBody([]byte(in)), limit); !errors.Is(err, ErrHeaderTooLong) {
			t.Errorf("limit %d: %v, want ErrHeaderTooLong", limit, err)
		}
	}
}

// slowBody gives one octet per read.
type slowBody struct{ Body }

func (b slowBody) Open(ctx context.Context) (io.ReadCloser, error) {
	r, err := b.Body.Open(ctx)
	return io.NopCloser(iotest.OneByteReader(r)), err
}

func TestHeaderOfOctetByOctet(t *testing.T) {
	h, err := HeaderOf(t.Context(), slowBody{MemoryBody([]byte("A: b\r\nC: d\r\n\r\nE: f\r\n\r\n"))}, 100)
	if err != nil || h.Size != 14 || len(h.Fields) != 2 {
		t.Errorf("HeaderOf = %+v, %v", h, err)
	}
}

func FuzzHeader(f *testing.F) {
	for _, s := range []string{"A: b\r\n\r\n", "A: b\r\n c\r\nD:\r\n", "\r\n", " x", "A : b\r\n \r\n\r\nx", "A: \r\r\n\n\r\n\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := ParseHeader(in)
		var joined []byte
		for _, field := range h.Fields {
			joined = append(joined, field.Raw...)
		}
		rest := in[len(joined):h.Size]
		if !bytes.HasPrefix(in, joined) || err == nil && len(rest) > 0 && string(rest) != "\r\n" {
			t.Fatalf("%q: fields %q, rest %q, %v", in, joined, rest, err)
		}
		if err == nil {
			of, err := HeaderOf(t.Context(), MemoryBody(in), int64(len(in)))
			if err != nil || of.Size != h.Size || len(of.Fields) != len(h.Fields) {
				t.Fatalf("%q: HeaderOf gives %d, %v, want %d", in, of.Size, err, h.Size)
			}
		}
	})
}
