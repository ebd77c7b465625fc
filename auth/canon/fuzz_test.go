package canon

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

var (
	fold  = regexp.MustCompile(`\r\n`)
	blank = regexp.MustCompile(`[ \t]+`)
)

// slowField follows the steps of RFC 6376 section 3.4.2 one by one.
func slowField(raw string) string {
	name, value, _ := strings.Cut(strings.TrimSuffix(raw, "\r\n"), ":")
	name = strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, strings.TrimRight(name, " \t"))
	value = blank.ReplaceAllString(fold.ReplaceAllString(value, ""), " ")
	return name + ":" + strings.Trim(value, " ") + "\r\n"
}

// FuzzField holds the relaxed form of a field against the slow one; a form of
// a form is itself, and the simple form changes nothing.
func FuzzField(f *testing.F) {
	for _, s := range []string{"A: X\r\n", "B : Y\t\r\n\tZ  \r\n", "a:", "Subject:  \r\n \r\n x", "X:\ty \t", "Ü: x", "a:\r\r\n\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if !strings.Contains(raw, ":") || strings.ContainsRune(raw, '\ufffd') || !isUTF8(raw) {
			return
		}
		got := string(AppendField(nil, []byte(raw), Relaxed))
		if want := slowField(raw); got != want {
			t.Fatalf("%q becomes %q, want %q", raw, got, want)
		}
		if again := string(AppendField(nil, []byte(got), Relaxed)); again != got && !strings.Contains(raw, "\r\r\n") {
			t.Fatalf("%q becomes %q, then %q", raw, got, again)
		}
		if simple := string(AppendField(nil, []byte(raw), Simple)); simple != strings.TrimSuffix(raw, "\r\n")+"\r\n" {
			t.Fatalf("%q becomes %q in the simple form", raw, simple)
		}
		once := RemoveSignature([]byte(raw))
		if twice := RemoveSignature(once); !bytes.Equal(once, twice) || len(once) > len(raw) {
			t.Fatalf("%q without b= is %q, then %q", raw, once, twice)
		}
	})
}

func isUTF8(s string) bool { return strings.ToValidUTF8(s, "\ufffd") == s }
