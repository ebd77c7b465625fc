package dmarc

import (
	"strings"
	"testing"
)

// FuzzMailbox: whatever URI a record names, what comes out is one address that
// can stand in an envelope and a header.
func FuzzMailbox(f *testing.F) {
	for _, seed := range []string{
		"mailto:a@b.example", "mailto:a%40b@c.example", "mailto:%22a%20b%22@c.example?subject=x", "mailto:a@b%C3%BCcher.example", "mailto:a@[192.0.2.1]",
		"https://b.example/x", "mailto:a%0d%0ab@c.example", "mailto:%3Ca@b.example%3E", "mailto://a@b.example", "mailto:a@b.example,c@d.example", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		a, reason := mailbox(uri)
		if reason != "" {
			return
		}
		s := a.String()
		if a.IsNull() || !a.IsASCII() || a.Domain().IsLiteral() || strings.ContainsAny(s, "\r\n\x00") || a.IsDotAtom() && strings.ContainsAny(s, " ,<>\"") || !strings.HasSuffix(s, "@"+a.Domain().String()) {
			t.Errorf("%q gives %q", uri, s)
		}
	})
}
