package canon

import (
	"bytes"
	"crypto"
	_ "crypto/sha1"
	_ "crypto/sha256"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The examples of RFC 6376 section 3.4.5.
func TestFieldExamples(t *testing.T) {
	for _, c := range []struct{ in, relaxed string }{
		{"A: X\r\n", "a:X\r\n"},
		{"B : Y\t\r\n\tZ  \r\n", "b:Y Z\r\n"},
		{"SubJect:\r\n", "subject:\r\n"},
		{"Subject: \t \r\n", "subject:\r\n"},
		{"Subject\t : a:b  c\r\n", "subject:a:b c\r\n"},
		{"S: a\rb\nc \r\n", "s:a\rb\nc\r\n"},
		{"S: no end", "s:no end\r\n"},
		{"S:\r\n \r\n x\r\n", "s:x\r\n"},
		{"S: \xff\xe4  \xf6\r\n", "s:\xff\xe4 \xf6\r\n"},
	} {
		if got := string(AppendField(nil, []byte(c.in), Relaxed)); got != c.relaxed {
			t.Errorf("relaxed %q = %q, want %q", c.in, got, c.relaxed)
		}
		want := strings.TrimSuffix(c.in, "\r\n") + "\r\n"
		if got := string(AppendField([]byte("x"), []byte(c.in), Simple)); got != "x"+want {
			t.Errorf("simple %q = %q", c.in, got)
		}
	}
}

func TestBodyExamples(t *testing.T) {
	for _, c := range []struct{ in, simple, relaxed string }{
		{" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"},
		{"", "\r\n", ""},
		{"\r\n", "\r\n", ""},
		{"\r\n\r\n\r\n", "\r\n", ""},
		{" \t\r\n \r\n", " \t\r\n \r\n", ""},
		{"x", "x\r\n", "x\r\n"},
		{"x\r\n \r\n", "x\r\n \r\n", "x\r\n"},
		{"x\r\n ", "x\r\n \r\n", "x\r\n"},
		{"x\r", "x\r\r\n", "x\r\r\n"},
		{"x\r\n\r", "x\r\n\r\r\n", "x\r\n\r\r\n"},
		{"\r\n\r\nx\r\n", "\r\n\r\nx\r\n", "\r\n\r\nx\r\n"},
		{"x\ny\r \r\n\n", "x\ny\r \r\n\n\r\n", "x\ny\r\r\n\n\r\n"},
		{"a  b \r\r\n", "a  b \r\r\n", "a b \r\r\n"},
	} {
		if got := canonical(t, Simple, c.in); got != c.simple {
			t.Errorf("simple %q = %q, want %q", c.in, got, c.simple)
		}
		if got := canonical(t, Relaxed, c.in); got != c.relaxed {
			t.Errorf("relaxed %q = %q, want %q", c.in, got, c.relaxed)
		}
	}
}

func canonical(t interface{ Fatalf(string, ...any) }, form Form, parts ...string) string {
	var out bytes.Buffer
	w := NewBody(form, &out)
	for _, part := range parts {
		if n, err := io.WriteString(w, part); err != nil || n != len(part) {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	return out.String()
}

// slowBody says what the RFC says, with the whole body in hand.
func slowBody(form Form, in string) string {
	if form == Relaxed {
		in = regexp.MustCompile(`[ \t]+(\r\n|$)`).ReplaceAllString(in, "$1")
		in = regexp.MustCompile(`[ \t]+`).ReplaceAllString(in, " ")
	}
	for strings.HasSuffix(in, "\r\n") {
		in = strings.TrimSuffix(in, "\r\n")
	}
	if in == "" && form == Relaxed {
		return ""
	}
	return in + "\r\n"
}

func bodyParts() *rapid.Generator[[]string] {
	return rapid.SliceOfN(rapid.OneOf(
		rapid.SampledFrom([]string{"\r\n", "\r", "\n", " ", "\t", "  ", "\r\n\r\n", " \r\n", strings.Repeat("\r\n", 40),
			strings.Repeat("x", 1023), strings.Repeat("word ", 300), strings.Repeat(" ", 1024)}),
		rapid.StringMatching(`[a-z ]{0,9}`)), 0, 30)
}

func TestBodyInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := bodyParts().Draw(t, "parts")
		for _, form := range []Form{Simple, Relaxed} {
			want := slowBody(form, strings.Join(parts, ""))
			if got := canonical(t, form, parts...); got != want {
				t.Fatalf("%s %q = %q, want %q", form, parts, got, want)
			}
			if got := canonical(t, form, strings.Split(strings.Join(parts, ""), "")...); got != want {
				t.Fatalf("%s %q octet by octet = %q, want %q", form, parts, got, want)
			}
		}
	})
}

func TestBodyHasher(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := bodyParts().Draw(t, "parts")
		specs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) BodySpec {
			return BodySpec{
				rapid.SampledFrom([]Form{Simple, Relaxed}).Draw(t, "form"),
				rapid.SampledFrom([]crypto.Hash{crypto.SHA1, crypto.SHA256}).Draw(t, "hash"),
				rapid.Int64Range(-1, 20).Draw(t, "limit"),
			}
		}), 1, 8).Draw(t, "specs")
		h := NewBodyHasher(specs)
		for _, part := range parts {
			_, _ = io.WriteString(h, part)
		}
		h.Close()
		for _, spec := range specs {
			body := slowBody(spec.Form, strings.Join(parts, ""))
			covered := int64(len(body))
			if spec.Limit >= 0 {
				covered = min(covered, spec.Limit)
			}
			plain := spec.Hash.New()
			_, _ = io.WriteString(plain, body[:covered])
			got := h.Sum(spec)
			if !bytes.Equal(got.Digest, plain.Sum(nil)) || got.Covered != covered || got.Length != int64(len(body)) {
				t.Fatalf("%+v of %q: %+v", spec, body, got)
			}
		}
	})
}

// TestWorkIsLinear: however many signatures ask, an octet is hashed once per
// form, and runs of empty lines cost nothing but themselves.
func TestWorkIsLinear(t *testing.T) {
	specs := []BodySpec{{Simple, crypto.SHA256, NoLimit}, {Relaxed, crypto.SHA256, NoLimit}}
	for limit := range int64(50) {
		specs = append(specs, BodySpec{Simple, crypto.SHA256, limit * 1000}, BodySpec{Relaxed, crypto.SHA256, limit * 1000})
	}
	h := NewBodyHasher(specs)
	body := []byte(strings.Repeat("\r\n", 1<<19) + "x" + strings.Repeat("\r\n", 1<<19))
	_, _ = h.Write(body)
	h.Close()
	if want := int64(2 * (len(body)/2 + 3)); h.Hashed() > want {
		t.Errorf("%d octets hashed for a body of %d, want at most %d", h.Hashed(), len(body), want)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestBodyReportsErrors(t *testing.T) {
	broken := errors.New("broken")
	for _, form := range []Form{Simple, Relaxed} {
		w := NewBody(form, writerFunc(func([]byte) (int, error) { return 0, broken }))
		_, _ = io.WriteString(w, strings.Repeat("x\r\n\r\n y", 4000))
		if err := w.Close(); !errors.Is(err, broken) {
			t.Errorf("%s: %v", form, err)
		}
	}
}

func TestParseForms(t *testing.T) {
	for in, want := range map[string][2]Form{
		"simple": {Simple, Simple}, "relaxed": {Relaxed, Simple}, "relaxed/relaxed": {Relaxed, Relaxed}, "simple/relaxed": {Simple, Relaxed},
	} {
		header, body, err := ParseForms(in)
		if err != nil || header != want[0] || body != want[1] {
			t.Errorf("ParseForms(%q) = %s, %s, %v", in, header, body, err)
		}
	}
	for _, in := range []string{"", "/", "relaxed/", "/relaxed", "nowsp", "simple/simple/simple", "Relaxed"} {
		if _, _, err := ParseForms(in); !errors.Is(err, ErrForm) {
			t.Errorf("ParseForms(%q): %v", in, err)
		}
	}
}

func FuzzBody(f *testing.F) {
	for _, s := range []string{"", "\r\n", " \r\n\r", "a  b\t\r\n\r\n", "\r\r\n\n"} {
		f.Add(s, 1)
	}
	f.Fuzz(func(t *testing.T, in string, cut int) {
		cut = min(max(cut, 0), len(in))
		for _, form := range []Form{Simple, Relaxed} {
			if got, want := canonical(t, form, in[:cut], in[cut:]), slowBody(form, in); got != want {
				t.Fatalf("%s %q | %q = %q, want %q", form, in[:cut], in[cut:], got, want)
			}
		}
	})
}

func BenchmarkBody(b *testing.B) {
	text := strings.Repeat(strings.Repeat("word and ", 8)+"x\r\n", 13<<10)
	for name, body := range map[string]string{
		"text": text, "base64": strings.Repeat(strings.Repeat("QUJD", 19)+"\r\n", 13<<10),
		"newlines": strings.Repeat("\r\n", 1<<19), "spaces": strings.Repeat("a  ", 1<<18), "mixed": strings.Repeat("a \r\n \t b\r\n\r\n", 1<<16),
	} {
		for _, form := range []Form{Simple, Relaxed} {
			b.Run(name+"/"+string(form), func(b *testing.B) {
				p := []byte(body)
				b.SetBytes(int64(len(p)))
				for b.Loop() {
					w := NewBody(form, io.Discard)
					for i := 0; i < len(p); i += 32 << 10 {
						_, _ = w.Write(p[i:min(i+32<<10, len(p))])
					}
					_ = w.Close()
				}
			})
		}
	}
}
