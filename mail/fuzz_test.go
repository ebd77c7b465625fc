package mail

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzXtext: what is read reads the same again when it is written, and what is
// written is xtext, whatever the octets.
func FuzzXtext(f *testing.F) {
	for _, s := range []string{"", "a+2Bb", "a+2bb", "+", "+2", "+GG", "a=b", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		written := EncodeXtext(s)
		if strings.ContainsFunc(written, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '=' }) {
			t.Fatalf("%q is written %q", s, written)
		}
		if back, err := DecodeXtext(written); err != nil || back != s {
			t.Fatalf("%q is written %q, which reads %q, %v", s, written, back, err)
		}
		if read, err := DecodeXtext(s); err == nil && len(read) > len(s) {
			t.Fatalf("%q reads %q", s, read)
		}
	})
}

// FuzzDomain: a domain is written in one way, which reads as itself; it holds
// only octets that can stand in a name, and lies within itself.
func FuzzDomain(f *testing.F) {
	for _, s := range []string{"Example.COM", "bücher.example", "a.", "[192.0.2.1]", "[IPv6:::1]", "xn--a", "a_b.example", "。", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var d Domain
		if err := d.UnmarshalText([]byte(s)); err != nil {
			return
		}
		name := d.String()
		if len(name) > 253 || !d.IsLiteral() && strings.ToLower(name) != name || strings.ContainsAny(name, " \t\r\n\x00@<>(),;%\"\\") || !isASCII(name) {
			t.Fatalf("%q gives %q", s, name)
		}
		var again Domain
		if err := again.UnmarshalText([]byte(name)); err != nil || again != d {
			t.Fatalf("%q gives %q, which reads %q, %v", s, name, again, err)
		}
		if !d.IsZero() && !d.Within(d) || !utf8.ValidString(d.Unicode()) {
			t.Fatalf("%q gives %q, shown as %q", s, name, d.Unicode())
		}
	})
}

// FuzzID: thirteen characters and an id mean each other.
func FuzzID(f *testing.F) {
	for _, s := range []string{"0000000000000", "7ZZZZZZZZZZZZ", "8000000000000", "01hq3v7kz9m2x", "iloU000000000", "short"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			return
		}
		if id < 0 || id.String() != strings.ToLower(s) {
			t.Fatalf("%q reads %d, written %q", s, id, id)
		}
	})
}

// FuzzSafeText: the text is valid, bounded, without control characters, and
// safe text stays what it is.
func FuzzSafeText(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[31m", "a\r\nb", "\xff\xfe", "\u202eevil", "ü", "\u0085", " x "} {
		f.Add(s, 5)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = max(0, min(limit, 1000))
		got := SafeText(s, limit)
		if len(got) > limit || !utf8.ValidString(got) || strings.ContainsFunc(got, isControl) || strings.ContainsAny(got, "\u202a\u202e\u2066") {
			t.Fatalf("%q becomes %q", s, got)
		}
		if again := SafeText(got, limit); again != got {
			t.Fatalf("%q becomes %q, then %q", s, got, again)
		}
	})
}

// FuzzScan holds the shape of a message, scanned in pieces, against what plain
// searching finds.
func FuzzScan(f *testing.F) {
	for _, s := range []string{"A: b\r\n\r\nbody", "\r\nbody\r\n", "A: \xff\r\n\r\n", "A: b\r\n\r\n\xff", "A: b\n\nx", "\r", strings.Repeat("x", 999), strings.Repeat("x", 998) + "\r"} {
		f.Add([]byte(s), 1)
	}
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		cut = max(0, min(cut, len(in)))
		var s Scanner
		_, _ = s.Write(in[:cut])
		_, _ = s.Write(in[cut:])
		if got, want := s.Shape(), slowShape(string(in)); got != want || s.Size() != int64(len(in)) {
			t.Fatalf("%q|%q: %+v, want %+v", in[:cut], in[cut:], got, want)
		}
	})
}
