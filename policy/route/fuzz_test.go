package route

import (
	"testing"

	"gatepost/mail"
)

// FuzzPattern: a pattern covers itself, what one covers the other matches too,
// and "*.domain" never matches the domain.
func FuzzPattern(f *testing.F) {
	for _, s := range [][3]string{{"*", "example.com", "a.example.com"}, {"*.example.com", "example.com", "a.example.com"}, {"*.example.com", "*.a.example.com", "b.a.example.com"},
		{"bücher.example", "*", "x"}, {"*.", "*.*.x", "x"}, {"joe@example.com", "example.com", ""}} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, one, other, name string) {
		p, err := parsePattern(one)
		if err != nil {
			return
		}
		d, _ := mail.ParseDomain(name)
		if !p.covers(p) || p.subdomains && p.matches(p.domain) || p.any && !p.matches(d) {
			t.Fatalf("%q: %+v", one, p)
		}
		q, err := parsePattern(other)
		if err == nil && p.covers(q) && q.matches(d) && !p.matches(d) {
			t.Fatalf("%q covers %q, which matches %q alone", one, other, d)
		}
	})
}
