package spf

import (
	"regexp"
	"strings"
	"testing"
)

// FuzzParseRecord: whatever is accepted can be expanded and written for the
// library without a macro, a space or a modifier coming in.
func FuzzParseRecord(f *testing.F) {
	for _, seed := range []string{
		"v=spf1 a:%{d}/24//64 mx ptr:%{p2r} include:_spf.%{o} exists:%{l1r+-}.x.%{i} ip4:192.0.2.0/24 ip6:::1 ~all exp=%{h}.x redirect=a.b",
		"v=spf1", "v=spf1 a:%%.%_%-.com -all", "v=SPF1 moo.cow=%{c} ?all", "v=spf1 a:b.c/", "v=spf1 %{", "v=spf1 a:x.%{d0}",
	} {
		f.Add(seed)
	}
	library := regexp.MustCompile(`^v=spf1( [-+~?](all|(ip4|ip6|a|mx|ptr|include|exists):[!-~]+))*( redirect=[!-~]+)?$`)
	f.Fuzz(func(t *testing.T, txt string) {
		if !isRecord(txt) {
			return
		}
		rec, err := parseRecord(txt)
		if err != nil {
			return
		}
		r := newRun(Options{Resolver: nowhere{}, Receiver: "here"}, clientAddress, "he lo/%{d}", "lo cal/%@{x}", "sender.example")
		got := r.rewrite(t.Context(), rec, "sender.example")
		if !library.MatchString(got) || strings.Contains(got, "%") {
			t.Fatalf("%q becomes %q", txt, got)
		}
	})
}
