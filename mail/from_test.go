package mail

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func headerFrom(t testing.TB, header string) (Address, AddressReason) {
	t.Helper()
	h, err := ParseHeader([]byte(header))
	if err != nil {
		t.Fatalf("ParseHeader(%q): %v", header, err)
	}
	a, err := HeaderFrom(h)
	if err == nil {
		return a, ""
	}
	var from *FromError
	if !errors.As(err, &from) {
		t.Fatalf("HeaderFrom(%q) = %T, want *FromError", header, err)
	}
	return a, from.Reason
}

// TestHeaderFromAccepts holds the shapes of real mail.
func TestHeaderFromAccepts(t *testing.T) {
	long := strings.Repeat("x", 64)
	for value, want := range map[string]string{
		"joe@example.com":                                             "joe@example.com",
		" \tjoe@example.com ":                                         "joe@example.com",
		"<joe@example.com>":                                           "joe@example.com",
		"< joe@example.com >":                                         "joe@example.com",
		"Joe <Joe@Example.COM>":                                       "Joe@example.com",
		"Joe<joe@example.com>":                                        "joe@example.com",
		"Joe Q. Public <joe@example.com>":                             "joe@example.com",
		`"Public, Joe" <joe@example.com>`:                             "joe@example.com",
		`"Joe \"<evil@example.net>\"" <joe@example.com>`:              "joe@example.com",
		`"joe@example.net via list" <list@example.com>`:               "list@example.com",
		"joe@example.com <joe@example.com>":                           "joe@example.com",
		"JOE@example.com <joe@example.com>":                           "joe@example.com",
		"=?utf-8?Q?J=C3=B6?= <joe@example.com>":                       "joe@example.com",
		"=?utf-8?Q?J=C3=B6?= =?utf-8?B?w7Y=?= <joe@example.com>":      "joe@example.com",
		"=?utf-8?Q?joe=40example.net?= <joe@example.com>":             "joe@example.com",
		"=?utf-8?Q?joe@example.com?= <joe@example.com>":               "joe@example.com",
		"J\xf6 <joe@example.com>":                                     "joe@example.com",
		"Jö <joe@example.com>":                                        "joe@example.com",
		"[EXTERNAL] Joe <joe@example.com>":                            "joe@example.com",
		"joe@example.com (Joe)":                                       "joe@example.com",
		"(Joe) joe@example.com":                                       "joe@example.com",
		"joe@example.com (joe@example.com)":                           "joe@example.com",
		"Joe (the (real) \\) one) <joe@example.com> (work)":           "joe@example.com",
		"root@host (Cron Daemon)":                                     "root@host",
		"Joe\r\n <joe@example.com>":                                   "joe@example.com",
		"Joe\r\n\t<joe@example.com>\r\n ":                             "joe@example.com",
		`"joe smith"@example.com`:                                     `"joe smith"@example.com`,
		`"joe"@example.com`:                                           "joe@example.com",
		"joe@[192.0.2.1]":                                             "joe@[192.0.2.1]",
		"Joe <joe@[IPv6:2001:db8::1]>":                                "joe@[IPv6:2001:db8::1]",
		"joe@[IPv6:2001:db8::1]":                                      "joe@[IPv6:2001:db8::1]",
		"jö@bücher.example":                                           "jö@xn--bcher-kva.example",
		"root@my_host.example.com":                                    "root@my_host.example.com",
		long + "@example.com":                                         long + "@example.com",
		"o'brien+tag{x}|y@example.com":                                "o'brien+tag{x}|y@example.com",
		"\"Joe\"\r\n =?utf-8?Q?x?=(c)<joe@example.com>\r\n (d\r\n e)": "joe@example.com",
	} {
		a, reason := headerFrom(t, "Subject: x\r\nfrom:"+value+"\r\n\r\n")
		if reason != "" || a.String() != want {
			t.Errorf("From: %q = %q, %q; want %q", value, a, reason, want)
		}
	}
}

// TestHeaderFromRefuses is the table of shapes that get no author, and why.
func TestHeaderFromRefuses(t *testing.T) {
	for value, want := range map[string]AddressReason{
		"":                                             ReasonEmpty,
		" \r\n ":                                       ReasonEmpty,
		"(joe@example.com)":                            ReasonEmpty,
		"a@example.com, b@example.net":                 ReasonSeveral,
		"A <a@example.com>, B <b@example.net>":         ReasonSeveral,
		"<a@example.com> <b@example.net>":              ReasonSeveral,
		"<a@example.com>; <b@example.net>":             ReasonSeveral,
		"a@example.com <b@example.net>":                ReasonSeveral,
		"a@example.com b@example.net":                  ReasonSeveral,
		"<a@example.com> b@example.net":                ReasonSeveral,
		"<a@example.com,b@example.net>":                ReasonSeveral,
		"undisclosed-recipients:;":                     ReasonGroup,
		"Friends: a@example.com;":                      ReasonGroup,
		"mailto:a@example.com":                         ReasonGroup,
		"a@example.com;":                               ReasonGroup,
		"<>":                                           ReasonNull,
		"MAILER-DAEMON <>":                             ReasonNull,
		"<@example.net:a@example.com>":                 ReasonRoute,
		"<@x.example,@y.example:a@example.com>":        ReasonRoute,
		"<x:a@example.com>":                            ReasonRoute,
		"a@example.com\x00":                            ReasonControl,
		"a@example.com\x00@example.net":                ReasonControl,
		"Joe\rBcc: x <a@example.com>":                  ReasonControl,
		"Joe\nBcc: x <a@example.com>":                  ReasonControl,
		"Joe\x1b[2J <a@example.com>":                   ReasonControl,
		"Joe\x7f <a@example.com>":                      ReasonControl,
		"=?utf-8?Q?a=40example.com?=":                  ReasonEncoded,
		"=?utf-8?B?YUBleGFtcGxlLmNvbQ==?=":             ReasonEncoded,
		"=?utf-8?Q?a=00?=@example.com":                 ReasonEncoded,
		"<=?utf-8?Q?a=40example.com=3E?=@example.net>": ReasonEncoded,
		"a@=?utf-8?Q?example.com?=":                    ReasonEncoded,
		"=?utf-8?Q?a@example.com?= <b@example.net>":    ReasonEncoded,
		"=?utf-8?Q?a=00b?= <a@example.com>":            ReasonEncoded,
		"=?utf-8?B?YQA=?= <a@example.com>":             ReasonEncoded,
		"\"=?utf-8?B?YQA=?=\" <a@example.com>":         ReasonEncoded,
		"=?utf-8?Q?a=0D=0ABcc=3Ax?= <a@example.com>":   ReasonEncoded,
		"<a@example.com> Joe":                          ReasonText,
		"Joe a@example.com":                            ReasonText,
		"a@example.com Joe":                            ReasonText,
		"<a@example.com> \"Joe\"":                      ReasonText,
		"a@example.com (b@example.net)":                ReasonComment,
		"(<b@example.net>) a@example.com":              ReasonComment,
		"Joe (<b>) <a@example.com>":                    ReasonComment,
		"<a@example.com> (x, <b@example.net>)":         ReasonComment,
		"a @ example . com":                            ReasonObsolete,
		"a@ example.com":                               ReasonObsolete,
		"a@(x)example.com":                             ReasonObsolete,
		"<a(x)@example.com>":                           ReasonObsolete,
		"<a@example.com (x)>":                          ReasonObsolete,
		"<a @example.com>":                             ReasonObsolete,
		`"a".b@example.com`:                            ReasonObsolete,
		`a."b"@example.com`:                            ReasonObsolete,
		",a@example.com":                               ReasonObsolete,
		"a@example.com,":                               ReasonObsolete,
		"a@example.com,,b@example.com":                 ReasonObsolete,
		"joe":                                          ReasonNoDomain,
		"Joe Public":                                   ReasonNoDomain,
		`"joe@example.com"`:                            ReasonNoDomain,
		"<joe>":                                        ReasonNoDomain,
		"joe@":                                         ReasonBadAddress,
		"@example.com":                                 ReasonBadAddress,
		"a@b@example.com":                              ReasonBadAddress,
		"<a@example.com.>":                             ReasonBadAddress,
		"a.@example.com":                               ReasonBadAddress,
		"a..b@example.com":                             ReasonBadAddress,
		"a@exa\xffmple.com":                            ReasonBadAddress,
		"\xff@example.com":                             ReasonBadAddress,
		"a@-example.com":                               ReasonBadAddress,
		"a@[300.1.1.1]":                                ReasonBadAddress,
		strings.Repeat("x", 65) + "@example.com":       ReasonBadAddress,
		"Joe <a@example.com":                           ReasonSyntax,
		"Joe <<a@example.com>>":                        ReasonSyntax,
		"Joe a@example.com>":                           ReasonSyntax,
		"\"Joe <a@example.com>":                        ReasonSyntax,
		"(Joe a@example.com":                           ReasonSyntax,
		"Joe) <a@example.com>":                         ReasonSyntax,
		"Joe\\ <a@example.com>":                        ReasonSyntax,
		strings.Repeat("(", 17) + strings.Repeat(")", 17) + "a@example.com": ReasonSyntax,
	} {
		a, reason := headerFrom(t, "From: "+value+"\r\n\r\n")
		if reason != want || !a.IsNull() {
			t.Errorf("From: %q = %q, %q; want %q", value, a, reason, want)
		}
	}
}

func TestHeaderFromFields(t *testing.T) {
	for header, want := range map[string]AddressReason{
		"To: a@example.com\r\n\r\n":                                           ReasonMissing,
		"From: a@example.com\r\nFROM: a@example.com\r\n\r\n":                  ReasonRepeated,
		"From: a@example.com\r\nFrom : b@example.net\r\n\r\n":                 ReasonRepeated,
		"From: a@example.com\r\nfrom\t:\r\n\r\n":                              ReasonRepeated,
		"From : a@example.com\r\n\r\n":                                        ReasonObsolete,
		"Sender: b@example.net\r\nFrom: a@example.com\r\nX-From: c@d\r\n\r\n": "",
	} {
		if _, reason := headerFrom(t, header); reason != want {
			t.Errorf("%q: %q, want %q", header, reason, want)
		}
	}
}

func TestParseAddressHeader(t *testing.T) {
	list, err := ParseAddressHeader(`"Public, Joe" (x) <joe@example.com>, ann@example.net (Ann), B. C. <b@example.org>`)
	if err != nil || len(list) != 3 {
		t.Fatalf("ParseAddressHeader = %v, %v", list, err)
	}
	want := []struct{ name, address string }{
		{`"Public, Joe"`, "joe@example.com"}, {"", "ann@example.net"}, {"B. C.", "b@example.org"},
	}
	for i, w := range want {
		if list[i].Name != w.name || list[i].Address.String() != w.address {
			t.Errorf("element %d = %+v, want %+v", i, list[i], w)
		}
	}
	var fault *ListError
	if _, err := ParseAddressHeader("a@b.example, g: c@d.example;"); !errors.As(err, &fault) || fault.Reason != ReasonGroup {
		t.Errorf("group: %v", err)
	}
}

// FuzzFrom: whatever is accepted is one address, and reads the same again.
func FuzzFrom(f *testing.F) {
	for _, s := range []string{"a@b", "J <a@b>", "a@b <a@b>", "(c) a@b (d)", "=?u?Q?x?= <a@b>", `"\"" <"a b"@c>`, "<@a:b@c>", "x@[IPv6:::1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		list, err := ParseAddressHeader(value)
		if err != nil {
			return
		}
		for _, box := range list {
			again, err := ParseAddressHeader(box.Address.Path())
			if err != nil || len(again) != 1 || again[0].Address != box.Address {
				t.Fatalf("%q gives %q, which reads as %v, %v", value, box.Address, again, err)
			}
			if strings.ContainsAny(box.Name, "\r\n\x00") {
				t.Fatalf("%q gives name %q", value, box.Name)
			}
		}
	})
}

// suites is where the suites of others lie; a test that needs them is skipped without.
func suites(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("GATEPOST_SUITES")
	if dir == "" {
		dir = "../../shared/suites"
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: the conformance suites are not at %s; set GATEPOST_SUITES", dir)
	}
	return dir
}
