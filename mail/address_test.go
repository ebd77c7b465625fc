package mail

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]string{
		"joe@Example.COM":          "joe@example.com",
		`"joe"@example.com`:        "joe@example.com",
		`"j\oe"@example.com`:       "joe@example.com",
		`"a b"@example.com`:        `"a b"@example.com`,
		`"a\"b\\"@example.com`:     `"a\"b\\"@example.com`,
		`"a@b"@example.com`:        `"a@b"@example.com`,
		"jö@bücher.example":        "jö@xn--bcher-kva.example",
		"a@[192.0.2.1]":            "a@[192.0.2.1]",
		"a@[ipv6:2001:DB8:0::1]":   "a@[IPv6:2001:db8::1]",
		"a@[IPv6:::ffff:c000:201]": "a@[192.0.2.1]",
	} {
		a, err := ParseAddress(in, true)
		if err != nil || a.String() != want {
			t.Errorf("ParseAddress(%q) = %q, %v; want %q", in, a, err, want)
		}
	}
	label := strings.Repeat("ü", 24)
	for _, in := range []string{
		"", "@", "joe", "@example.com", "joe@", "joe@example.com.", "joe@.example.com", "joe @example.com",
		"joe@example.com ", "<joe@example.com>", "joe(c)@example.com", `"joe@example.com`, `"a"b@example.com`,
		`"a` + "\r\n" + `"@example.com`, "a\x00@example.com", "\"a\x00\"@example.com", "a@exam\x00ple.com", "a\u0085@example.com", "a\u2028@example.com",
		"a\xff@example.com", "a@\xff.example", "@example.net:joe@example.com", "a@[192.0.2.1", "a@[fe80::1%25lo]", "a@[IPv6:fe80::1%lo]",
		"a@[2001:db8::1]", "a@foo_bar.example", "a,b@example.com", "a@b,c", "a@b>", "a@b c", `"a\` + "\n" + `"@b`,
		"x@" + label + "." + label + "." + label + "." + label + "." + label + "." + label + "." + label, // 254 octets are exceeded as A-labels only
	} {
		if a, err := ParseAddress(in, true); err == nil {
			t.Errorf("ParseAddress(%q) = %q, want an error", in, a)
		}
	}
	for _, in := range []string{"jö@example.com", "joe@bücher.example"} {
		if _, err := ParseAddress(in, false); err == nil {
			t.Errorf("ParseAddress(%q) without SMTPUTF8 succeeded", in)
		}
	}
}

// TestQuotedLocalPartStaysQuoted: a recipient whose local part looks like a
// path with parameters must not become one on the next wire.
func TestQuotedLocalPartStaysQuoted(t *testing.T) {
	domain, err := ParseDomain("allowed.example")
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewAddress("victim@evil> NOTIFY=NEVER ", domain)
	if err != nil {
		t.Fatal(err)
	}
	if want := `<"victim@evil> NOTIFY=NEVER "@allowed.example>`; a.Path() != want {
		t.Errorf("Path = %s, want %s", a.Path(), want)
	}
	if a.IsDotAtom() {
		t.Error("IsDotAtom is true")
	}
}

func TestAddressJSON(t *testing.T) {
	for _, s := range []string{"", "joe@example.com", `"a b"@example.com`, "jö@xn--bcher-kva.example", "joe@[192.0.2.1]"} {
		data, err := json.Marshal(struct{ A Address }{mustAddress(t, s)})
		if err != nil {
			t.Fatal(err)
		}
		var back struct{ A Address }
		if err := json.Unmarshal(data, &back); err != nil || back.A.String() != s {
			t.Errorf("%s gives %q, %v", data, back.A, err)
		}
	}
}

func mustAddress(t testing.TB, s string) Address {
	t.Helper()
	if s == "" {
		return Address{}
	}
	a, err := ParseAddress(s, true)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// checkWritten fails when a, as it goes over a wire, does not read as itself or
// holds white space, CR, LF or an angle bracket outside quotes.
func checkWritten(t interface{ Fatalf(string, ...any) }, a Address) {
	s := a.String()
	back, err := ParseAddress(s, true)
	if err != nil || back != a || back.String() != s {
		t.Fatalf("%q reads as %q, %v", s, back, err)
	}
	if out := outsideQuotes(s); strings.ContainsAny(out, " \t<>(),;") {
		t.Fatalf("%q holds a special octet outside quotes", s)
	}
	if strings.ContainsAny(s, "\r\n\x00") || len(a.Path()) > 256 {
		t.Fatalf("%q holds a control octet or is too long", s)
	}
}

func TestAddressRoundTrip(t *testing.T) {
	domains := []string{"example.com", "a.b.c.example", "bücher.example", "192-0-2-1.example"}
	rapid.Check(t, func(t *rapid.T) {
		local := rapid.OneOf(rapid.StringN(1, 40, 70), rapid.StringMatching(`[a-z."\\ @<>!#\[\]]{1,30}`)).Draw(t, "local")
		domain, err := ParseDomain(rapid.SampledFrom(domains).Draw(t, "domain"))
		if err != nil {
			t.Fatalf("domain: %v", err)
		}
		a, err := NewAddress(local, domain)
		if err != nil {
			return
		}
		if a.Local() != local || a.Domain() != domain {
			t.Fatalf("%q: local %q, domain %q", a, a.Local(), a.Domain())
		}
		checkWritten(t, a)
	})
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{"a@b", `"a b"@c`, `"\""@c`, "a@[192.0.2.1]", "a@[IPv6:::1]", "ö@ü", "a@b.", "<a@b>", `"a`, `"a"@`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := ParseAddress(s, true); err == nil {
			checkWritten(t, a)
		}
	})
}

func TestDomain(t *testing.T) {
	for in, want := range map[string]string{
		"Example.COM": "example.com", "BÜCHER.example": "xn--bcher-kva.example", "faß.example": "xn--fa-hia.example",
		"_dmarc.example.com": "_dmarc.example.com", "bücher。example": "xn--bcher-kva.example",
	} {
		if d, err := ParseDomain(in); err != nil || d.String() != want {
			t.Errorf("ParseDomain(%q) = %q, %v; want %q", in, d, err, want)
		}
	}
	for _, in := range []string{"", ".", "a.", ".a", "a..b", "-a", "a-.b", "a b", "a\x00b", "a@b", "a\xffb", "a\ufffdb", "a＠b",
		strings.Repeat("x", 64), strings.Repeat("a.", 127) + "a"} {
		if d, err := ParseDomain(in); err == nil {
			t.Errorf("ParseDomain(%q) = %q, want an error", in, d)
		}
	}
	sub, parent := Domain{"a.example.com"}, Domain{"example.com"}
	if !sub.Within(parent) || !parent.Within(parent) || parent.Within(sub) || (Domain{"badexample.com"}).Within(parent) || sub.Within(Domain{}) {
		t.Error("Within is wrong")
	}
}
