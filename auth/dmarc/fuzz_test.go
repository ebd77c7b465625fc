package dmarc

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/publicsuffix"

	"gatepost/mail"
)

// FuzzReportURI: an address for reports holds nothing that could end a header
// field or a list, reads as itself, and its limit never wraps around.
func FuzzReportURI(f *testing.F) {
	for _, s := range []string{"mailto:a@b.example", "mailto:a@b.example!10m", "mailto:a@b!4294967295t", "mailto:a@b!16777216t", "mailto:a@b!", "https://x.example/p", "mailto:%00@x", "mailto:", "a@b", "mailto:a@b!1!2", "mailto:a@b\r\nBcc:c@d", "mailto:a@b#\nBcc:c@d", "mailto:a@b#\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, item string) {
		uri, ok := parseURI(item)
		if !ok {
			return
		}
		if strings.ContainsFunc(uri.URI, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("!\"<>", r) }) {
			t.Fatalf("%q gives %q", item, uri.URI)
		}
		if again, ok := parseURI(uri.URI); !ok || again.URI != uri.URI || again.MaxSize != 0 {
			t.Fatalf("%q gives %q, which reads %+v", item, uri.URI, again)
		}
		_, limit, limited := strings.Cut(item, "!")
		var n uint64
		if _, err := fmt.Sscanf(limit, "%d", &n); limited && err == nil && n > 0 && uri.MaxSize < n {
			t.Fatalf("%q is limited to %d", item, uri.MaxSize)
		}
	})
}

// FuzzRegistered: the organizational domain by the list of public suffixes is
// the name or one of its parents, its own organizational domain, and what the
// list says. The names of a tree walk are eight at most, each within the last.
func FuzzRegistered(f *testing.F) {
	for _, s := range []string{"a.b.example.com", "co.uk", "www.city.kawasaki.jp", "x.unknown-tld", "com", "a.b.c.d.e.f.g.h.i.example.org", "xn--bcher-kva.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		d, err := mail.ParseDomain(name)
		if err != nil {
			return
		}
		org := Registered(d.String())
		if o := domainOf(org); !d.Within(o) || Registered(org) != org {
			t.Fatalf("%q: organization %q, whose own is %q", name, org, Registered(org))
		}
		if suffix, _ := publicsuffix.PublicSuffix(d.String()); suffix != d.String() && strings.Count(org, ".") != strings.Count(suffix, ".")+1 {
			t.Fatalf("%q: organization %q, public suffix %q", name, org, suffix)
		}
		names := path(d.String())
		if len(names) > maxQueries || names[0] != d.String() || strings.Contains(names[len(names)-1], ".") {
			t.Fatalf("%q: walk %q", name, names)
		}
		for i := 1; i < len(names); i++ {
			if !strings.HasSuffix(names[i-1], "."+names[i]) || i > 1 && strings.Count(names[i-1], ".") != strings.Count(names[i], ".")+1 {
				t.Fatalf("%q: walk %q", name, names)
			}
		}
	})
}
