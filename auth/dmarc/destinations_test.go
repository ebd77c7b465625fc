package dmarc_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"gatepost/auth/dmarc"
	"gatepost/dnsx"
	"gatepost/dnsx/dnstest"
)

const destinationZone = `
_dmarc.example.com. 60 IN TXT "v=DMARC1; p=reject"
_dmarc.psd.example. 60 IN TXT "v=DMARC1; p=none; psd=y"
_dmarc.apart.example.com. 60 IN TXT "v=DMARC1; p=none; psd=n"
example.com._report._dmarc.plain.test. 60 IN TXT "v=DMARC1"
example.com._report._dmarc.semicolon.test. 60 IN TXT "v = DMARC1 ;"
example.com._report._dmarc.badpolicy.test. 60 IN TXT "v=DMARC1; p=bogus"
example.com._report._dmarc.notfirst.test. 60 IN TXT "p=none; v=DMARC1"
example.com._report._dmarc.other.test. 60 IN TXT "v=spf1 -all"
example.com._report._dmarc.two.test. 60 IN TXT "v=spf1 -all"
example.com._report._dmarc.two.test. 60 IN TXT "v=DMARC1; x=y"
example.com._report._dmarc.both.test. 60 IN TXT "v=DMARC1;"
example.com._report._dmarc.both.test. 60 IN TXT "v=DMARC1; rua=mailto:new@both.test"
example.com._report._dmarc.alias.test. 60 IN CNAME example.com._report._dmarc.plain.test.
*._report._dmarc.wild.test. 60 IN TXT "v=DMARC1"
*._report._dmarc.moved.test. 60 IN TXT "v=DMARC1; rua=mailto:new@moved.test!5m,mailto:second@MOVED.test; ruf=mailto:failures@moved.test"
*._report._dmarc.away.test. 60 IN TXT "v=DMARC1; rua=mailto:new@away.test,mailto:victim@elsewhere.test"
*._report._dmarc.below.test. 60 IN TXT "v=DMARC1; rua=mailto:new@sub.below.test"
*._report._dmarc.https.test. 60 IN TXT "v=DMARC1; rua=https://https.test/x"
*._report._dmarc.mixed.test. 60 IN TXT "v=DMARC1; rua=https://mixed.test/x,mailto:new@mixed.test"
*._report._dmarc.ruf.test. 60 IN TXT "v=DMARC1; ruf=mailto:failures@ruf.test"
*._report._dmarc.xn--bcher-kva.test. 60 IN TXT "v=DMARC1"
*._report._dmarc.reg.psd.example. 60 IN TXT "v=DMARC1"
`

// told is destinations in short: addresses with their size, then what is
// refused behind "-", then "?" for trouble.
func told(ok []dmarc.Destination, refused []dmarc.RefusedDestination, err error) string {
	var out []string
	for _, d := range ok {
		size := ""
		if d.MaxSize > 0 {
			size = fmt.Sprintf("!%d", d.MaxSize)
		}
		out = append(out, d.Address.String()+size)
	}
	for _, r := range refused {
		out = append(out, "-"+r.Reason)
	}
	if err != nil {
		out = append(out, "?")
	}
	return strings.Join(out, " ")
}

func TestDestinations(t *testing.T) {
	s := dnstest.New(t, destinationZone)
	s.Fail("example.com._report._dmarc.down.test", "TXT", dnstest.ServFail)
	s.Fail("_dmarc.down.example.com", "TXT", dnstest.ServFail)
	c := dmarc.New(dmarc.Options{Resolver: s.ResolverWith(t, dnsx.Options{})})
	long := strings.Repeat(strings.Repeat("x", 60)+".", 4) + "test"
	const (
		scheme = "-only mailto addresses are served"
		broken = "-it is no mail address"
		silent = "-nothing at example.com._report._dmarc.%s says that it takes these reports"
		away   = "-its host names an address at another one instead"
	)
	for _, x := range []struct{ domain, rua, want string }{
		// Who needs to agree.
		{"example.com", "mailto:a@example.com", "a@example.com"},
		{"example.com", "mailto:a@mail.example.com", "a@mail.example.com"},
		{"mail.example.com", "mailto:a@example.com", "a@example.com"},
		{"a.example.com", "mailto:a@b.example.com", "a@b.example.com"},
		{"example.com", "mailto:a@apart.example.com", fmt.Sprintf(silent, "apart.example.com")},
		{"example.com", "mailto:a@plain.test", "a@plain.test"},
		{"example.com", "mailto:a@semicolon.test", "a@semicolon.test"},
		{"example.com", "mailto:a@badpolicy.test", "a@badpolicy.test"},
		{"example.com", "mailto:a@two.test", "a@two.test"},
		{"example.com", "mailto:a@alias.test", "a@alias.test"},
		{"example.com", "mailto:a@wild.test", "a@wild.test"},
		{"example.com", "mailto:a@nothing.test", fmt.Sprintf(silent, "nothing.test")},
		{"example.com", "mailto:a@notfirst.test", fmt.Sprintf(silent, "notfirst.test")},
		{"example.com", "mailto:a@other.test", fmt.Sprintf(silent, "other.test")},
		{"mail.example.com", "mailto:a@plain.test", "-nothing at mail.example.com._report._dmarc.plain.test says that it takes these reports"},
		{"example.com", "mailto:a@notexample.com", fmt.Sprintf(silent, "notexample.com")},
		{"example.com", "mailto:a@com", fmt.Sprintf(silent, "com")},
		{"psd.example", "mailto:a@other.psd.example", "-nothing at psd.example._report._dmarc.other.psd.example says that it takes these reports"},
		{"psd.example", "mailto:a@reg.psd.example", "a@reg.psd.example"},
		{"psd.example", "mailto:a@psd.example", "a@psd.example"},
		{"example.com", "mailto:a@" + long, "-the name that would confirm it is too long"},
		// What it says instead.
		{"example.com", "mailto:a@moved.test!1k", "new@moved.test!5242880 second@moved.test"},
		{"example.com", "mailto:a@both.test", "new@both.test"},
		{"example.com", "mailto:a@away.test", away},
		{"example.com", "mailto:a@below.test", away},
		{"example.com", "mailto:a@https.test", "-its host names no address that is served instead"},
		{"example.com", "mailto:a@mixed.test", "new@mixed.test"},
		{"example.com", "mailto:a@ruf.test", "a@ruf.test"},
		// What is no address.
		{"example.com", "https://example.com/x", scheme},
		{"example.com", "mailto:a@example.com?subject=x&bcc=victim@elsewhere.test", "a@example.com"},
		{"example.com", "MAILTO:a@EXAMPLE.com", "a@example.com"},
		{"example.com", "mailto:a%2Bb@example.com", "a+b@example.com"},
		{"example.com", "mailto:a%21b@example.com!2m", "a!b@example.com!2097152"},
		{"example.com", "mailto:a%40example.com%2cb@example.com", broken},
		{"example.com", "mailto:a%0d%0aRCPT@example.com", broken},
		{"example.com", "mailto:a%00@example.com", broken},
		{"example.com", "mailto:a%20b@example.com", broken},
		{"example.com", "mailto:%22a%20b%22@example.com", `"a b"@example.com`},
		{"example.com", "mailto:%3Ca@example.com%3E", broken},
		{"example.com", "mailto://a@example.com", ""}, // the record's reader drops it
		{"example.com", "mailto:%C3%BC@example.com", "-its local part is not in US-ASCII"},
		{"example.com", "mailto:a@b%C3%BCcher.test", "a@xn--bcher-kva.test"},
		{"example.com", "mailto:a@[192.0.2.1]", "-it has no domain"},
		{"example.com", "mailto:a@exa_mple.com", broken},
		{"example.com", "mailto:@example.com", broken},
		// Several.
		{"example.com", "mailto:a@example.com!10m,mailto:A@example.com,mailto:a@plain.test", "a@example.com!10485760 a@plain.test"},
		{"example.com", "mailto:a@nothing.test,mailto:a@example.com", "a@example.com " + fmt.Sprintf(silent, "nothing.test")},
		// Trouble leaves the others alone.
		{"example.com", "mailto:a@down.test,mailto:a@example.com,https://x.test", "a@example.com " + scheme + " ?"},
		{"example.com", "mailto:a@down.example.com", "?"},
		{"down.example.com", "mailto:a@example.com", "?"},
	} {
		record, err := dmarc.ParseRecord("v=DMARC1; rua=" + x.rua)
		if err != nil {
			t.Fatal(err)
		}
		if got := told(c.Destinations(t.Context(), domain(t, x.domain), record.Aggregate)); got != x.want {
			t.Errorf("%s %.100s:\n got %s\nwant %s", x.domain, x.rua, got, x.want)
		}
	}
}

// The confirming record's ruf counts for failure reports, and rua does not.
func TestFailureDestinations(t *testing.T) {
	c := dmarc.New(dmarc.Options{Resolver: dnstest.New(t, destinationZone).Resolver(t)})
	for uri, want := range map[string]string{
		"mailto:a@moved.test": "failures@moved.test", "mailto:a@away.test": "a@away.test", "mailto:a@ruf.test": "failures@ruf.test",
	} {
		if got := told(c.FailureDestinations(t.Context(), domain(t, "example.com"), []dmarc.ReportURI{{URI: uri}})); got != want {
			t.Errorf("%s: %s", uri, got)
		}
	}
}

// A record cannot make us ask or write without end.
func TestDestinationsAreBounded(t *testing.T) {
	s := dnstest.New(t, destinationZone)
	s.Add(t, `*._report._dmarc.many.test. 60 IN TXT "v=DMARC1; rua=mailto:a@many.test,mailto:b@many.test,mailto:c@many.test,mailto:d@many.test,mailto:e@many.test,mailto:f@many.test"`)
	s.Add(t, `*._report._dmarc.many.test. 60 IN TXT "v=DMARC1; rua=mailto:g@many.test,mailto:h@many.test,mailto:i@many.test,mailto:j@many.test,mailto:k@many.test,mailto:l@many.test"`)
	c := dmarc.New(dmarc.Options{Resolver: s.Resolver(t)})
	var uris []dmarc.ReportURI
	for i := range 50 {
		uris = append(uris, dmarc.ReportURI{URI: fmt.Sprintf("mailto:a@x%d.a.b.c.d.e.f.g.example.com", i), MaxSize: math.MaxUint64})
	}
	ok, refused, err := c.Destinations(t.Context(), domain(t, "example.com"), uris)
	if len(ok) != 10 || len(refused) != 1 || !strings.Contains(refused[0].Reason, "more than 10") || err != nil || s.Total() > 80 {
		t.Errorf("%d, %v, %v after %d queries", len(ok), refused, err, s.Total())
	}
	if ok, _, err := c.Destinations(t.Context(), domain(t, "example.com"), []dmarc.ReportURI{{URI: "mailto:x@many.test"}}); len(ok) != 10 || err != nil {
		t.Errorf("%d, %v", len(ok), err)
	}
}

func TestRefusedAddressesAreSafeToShow(t *testing.T) {
	c := dmarc.New(dmarc.Options{Resolver: dnstest.New(t, destinationZone).Resolver(t)})
	_, refused, err := c.Destinations(t.Context(), domain(t, "example.com"), []dmarc.ReportURI{{URI: "x:\x1b[2J\xff" + strings.Repeat("y", 1000)}})
	if err != nil || len(refused) != 1 || len(refused[0].URI) > 300 || strings.Contains(refused[0].URI, "\x1b") || !utf8.ValidString(refused[0].URI) {
		t.Errorf("%+v, %v", refused, err)
	}
}

// By the list of public suffixes: example.com and its names are one
// organization whatever their records say.
func TestDestinationsByPublicSuffix(t *testing.T) {
	c := dmarc.New(dmarc.Options{Resolver: dnstest.New(t, destinationZone).Resolver(t), Discovery: dmarc.PSL})
	for uri, want := range map[string]string{
		"mailto:a@apart.example.com": "a@apart.example.com",
		"mailto:a@other.com":         "-nothing at example.com._report._dmarc.other.com says that it takes these reports",
	} {
		if got := told(c.Destinations(t.Context(), domain(t, "example.com"), []dmarc.ReportURI{{URI: uri}})); got != want {
			t.Errorf("%s: %s", uri, got)
		}
	}
}
