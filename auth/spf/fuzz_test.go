package spf

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/dnsx"
	"gatepost/mail"
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

// FuzzMacro: a macro-string that was understood can be written again and means
// the same; its expansion is that of a slow reader, and a name made of it fits.
func FuzzMacro(f *testing.F) {
	for _, seed := range []string{"%{l1r-}.%{d}", "%%%_%-", "%{S}", "%{i}._spf.%{d2}", "%{", "%", "%{d0}", "%{d10r./,}", "%{x}", "a.b.c"} {
		f.Add(seed, "a.b-c/d", "mail.example.com")
	}
	f.Fuzz(func(t *testing.T, text, local, domain string) {
		parts, err := parseMacroString(text, explanationLetters)
		if err != nil {
			return
		}
		again, err := parseMacroString(written(parts), explanationLetters)
		if err != nil || !slices.Equal(again, parts) {
			t.Fatalf("%q is written %q, which reads %v, %v", text, written(parts), again, err)
		}
		r := newRun(Options{Resolver: nowhere{}, Receiver: "here", Now: func() time.Time { return time.Unix(1, 0) }}, clientAddress, "helo", local, domain)
		got := parts.expand(r.value(t.Context(), domain))
		if want := slowExpand(parts, r.value(t.Context(), domain)); got != want {
			t.Fatalf("%q becomes %q, want %q", text, got, want)
		}
		if name := fitName(got); len(name) > 253 && strings.Contains(name, ".") || !strings.HasSuffix(strings.TrimSuffix(got, "."), name) {
			t.Fatalf("%q becomes the name %q", text, name)
		}
	})
}

// written gives a macro-string back as text.
func written(parts macroString) string {
	var b strings.Builder
	for _, p := range parts {
		switch {
		case p.letter != 0:
			letter := string(p.letter)
			if p.escape {
				letter = strings.ToUpper(letter)
			}
			b.WriteString("%{" + letter)
			if p.keep > 0 {
				fmt.Fprint(&b, p.keep)
			}
			if p.reverse {
				b.WriteByte('r')
			}
			b.WriteString(p.delimiters + "}")
		case p.literal == "%":
			b.WriteString("%%")
		case p.literal == " ":
			b.WriteString("%_")
		case p.literal == "%20":
			b.WriteString("%-")
		default:
			b.WriteString(p.literal)
		}
	}
	return b.String()
}

// slowExpand takes each value apart octet by octet (RFC 7208 section 7.3).
func slowExpand(parts macroString, value func(byte) string) string {
	out := ""
	for _, p := range parts {
		if p.letter == 0 {
			out += p.literal
			continue
		}
		pieces := []string{""}
		for _, c := range []byte(value(p.letter)) {
			if strings.IndexByte(p.delimiters, c) >= 0 {
				pieces = append(pieces, "")
			} else {
				pieces[len(pieces)-1] += string([]byte{c})
			}
		}
		if p.reverse {
			slices.Reverse(pieces)
		}
		for p.keep > 0 && len(pieces) > p.keep {
			pieces = pieces[1:]
		}
		joined := strings.Join(pieces, ".")
		if p.escape { // QueryEscape differs in the space only
			joined = strings.ReplaceAll(url.QueryEscape(joined), "+", "%20")
		}
		out += joined
	}
	return out
}

// FuzzExplanation: whatever the owner of a domain publishes, and whatever its
// macros bring in, the text is printable ASCII of bounded length.
func FuzzExplanation(f *testing.F) {
	for _, seed := range []string{"%{i} is not one of %{d}'s servers", "See http://%{d}/why.html?s=%{S}&ip=%{C}", "%{h} %{r} %{t} %{p} %{v}", "\x07bell", "caf\xc3\xa9", strings.Repeat("%{s}", 500)} {
		f.Add(seed, "joe\r\n250 ok", "h\xffelo")
	}
	f.Fuzz(func(t *testing.T, text, local, helo string) {
		parts, err := parseExplanation(text)
		if err != nil {
			return
		}
		r := newRun(Options{Resolver: nowhere{}, Receiver: "here", Now: time.Now}, clientAddress, helo, local, "sender.example")
		got := safeExplanation(parts.expand(r.value(t.Context(), "sender.example")))
		if len(got) > maxExplanation || strings.ContainsFunc(got, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Fatalf("%q becomes %q", text, got)
		}
	})
}

// FuzzCheck judges a client by any record, which may include a second one and
// come back to the first: one of the seven results, with a bounded number of
// questions, and a mechanism only where something matched.
func FuzzCheck(f *testing.F) {
	f.Add("v=spf1 include:b.example -all", "v=spf1 redirect=a.example")
	f.Add("v=spf1 mx a:%{i}.b.example exists:%{l}.%{d} ptr ?all", "v=spf1 ip4:192.0.2.0/24 -all")
	f.Add("v=spf1 -all exp=b.example", "%{i} no")
	f.Add("v=spf1 include:b.example include:b.example include:b.example", "v=spf1 a a a a a a a a a a a")
	f.Fuzz(func(t *testing.T, first, second string) {
		zone := &fixed{records: map[string]string{"a.example": first, "b.example": second}}
		c := New(Options{Resolver: zone, Receiver: "here"})
		from, err := mail.ParseAddress("joe@a.example", false)
		if err != nil {
			t.Fatal(err)
		}
		got := c.Check(t.Context(), clientAddress, "helo.example", from)
		switch got.Value {
		case None, Neutral, Pass, Fail, SoftFail, TempError, PermError:
		default:
			t.Fatalf("%q, %q: result %q", first, second, got.Value)
		}
		// Ten terms, each of which may ask for the names of an mx or ptr, the
		// records themselves, and the explanation.
		if zone.asked > 250 {
			t.Fatalf("%q, %q: %d questions", first, second, zone.asked)
		}
		safe := mail.SafeText(got.Explanation, maxExplanation) == got.Explanation && mail.SafeText(got.Reason, 300) == got.Reason
		if !safe || got.Explanation != "" && got.Value != Fail || got.Mechanism != "" && got.Reason != "" {
			t.Fatalf("%q, %q: %+v", first, second, got)
		}
	})
}

// fixed answers TXT from a table, and finds two of everything else.
type fixed struct {
	records map[string]string
	asked   int
}

func (z *fixed) TXT(_ context.Context, name string) (dnsx.Answer[string], error) {
	z.asked++
	if text, ok := z.records[strings.ToLower(name)]; ok {
		return dnsx.Answer[string]{Records: []string{text}}, nil
	}
	return dnsx.Answer[string]{}, &dnsx.Error{Kind: dnsx.NXDomain, Name: name, Type: "TXT"}
}

func (z *fixed) MX(context.Context, string) (dnsx.Answer[dnsx.MX], error) {
	z.asked++
	return dnsx.Answer[dnsx.MX]{Records: []dnsx.MX{{Preference: 1, Host: "a.example"}, {Preference: 2, Host: "b.example"}}}, nil
}

func (z *fixed) A(context.Context, string) (dnsx.Answer[netip.Addr], error) {
	z.asked++
	return dnsx.Answer[netip.Addr]{Records: []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")}}, nil
}

func (z *fixed) AAAA(context.Context, string) (dnsx.Answer[netip.Addr], error) {
	z.asked++
	return dnsx.Answer[netip.Addr]{Records: []netip.Addr{netip.MustParseAddr("2001:db8::1")}}, nil
}

func (z *fixed) PTR(context.Context, netip.Addr) (dnsx.Answer[string], error) {
	z.asked++
	return dnsx.Answer[string]{Records: []string{"a.example", "b.example"}}, nil
}
