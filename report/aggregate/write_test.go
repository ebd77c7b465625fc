package aggregate

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"gatepost/mail"

	"pgregory.net/rapid"
)

var formats = []Format{RFC9990, RFC7489}

func mustDomain(s string) mail.Domain {
	d, err := mail.ParseDomain(s)
	if err != nil {
		panic(err)
	}
	return d
}

// small is a report that has everything.
func small() *Report {
	return &Report{
		Org: "Receiver & Sons", Email: "dmarc@receiver.example", ID: "abc123", Begin: time.Unix(1700000000, 0).UTC(), End: time.Unix(1700086399, 0).UTC(),
		Errors: []string{"two records"}, Software: "Gatepost 1", Domain: mustDomain("example.com"),
		Policy: Policy{P: "reject", SP: "none", NP: "quarantine", ADKIM: "s", ASPF: "r", Pct: "50", FO: "1:d", Testing: "y", Discovery: "treewalk"},
		Records: []Record{{
			Source: netip.MustParseAddr("2001:db8::1"), Count: 3, Disposition: "pass", DKIM: "pass", SPF: "fail", Reasons: []Reason{{"policy_test_mode", "t=y"}, {"sampled_out", ""}},
			HeaderFrom: "example.com", EnvelopeFrom: "bounce.example.com", EnvelopeTo: "receiver.example",
			Results: []Result{{"dkim", "example.com", "s1", "", "pass", "2048 bits"}, {"spf", "bounce.example.com", "", "helo", "policy", "why"}},
		}},
	}
}

func written(t testing.TB, r *Report, f Format) string {
	t.Helper()
	var b strings.Builder
	if err := Write(&b, r, f); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWriteRFC9990(t *testing.T) {
	want := `<?xml version="1.0" encoding="UTF-8"?>
<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">
  <version>1.0</version>
  <report_metadata>
    <org_name>Receiver &amp; Sons</org_name>
    <email>dmarc@receiver.example</email>
    <report_id>abc123</report_id>
    <date_range>
      <begin>1700000000</begin>
      <end>1700086399</end>
    </date_range>
    <error>two records</error>
    <generator>Gatepost 1</generator>
  </report_metadata>
  <policy_published>
    <domain>example.com</domain>
    <p>reject</p>
    <sp>none</sp>
    <np>quarantine</np>
    <adkim>s</adkim>
    <aspf>r</aspf>
    <discovery_method>treewalk</discovery_method>
    <fo>1:d</fo>
    <testing>y</testing>
  </policy_published>
  <record>
    <row>
      <source_ip>2001:db8::1</source_ip>
      <count>3</count>
      <policy_evaluated>
        <disposition>pass</disposition>
        <dkim>pass</dkim>
        <spf>fail</spf>
        <reason>
          <type>policy_test_mode</type>
          <comment>t=y</comment>
        </reason>
        <reason>
          <type>other</type>
          <comment>sampled_out</comment>
        </reason>
      </policy_evaluated>
    </row>
    <identifiers>
      <envelope_to>receiver.example</envelope_to>
      <envelope_from>bounce.example.com</envelope_from>
      <header_from>example.com</header_from>
    </identifiers>
    <auth_results>
      <dkim>
        <domain>example.com</domain>
        <selector>s1</selector>
        <result>pass</result>
        <human_result>2048 bits</human_result>
      </dkim>
      <spf>
        <domain>bounce.example.com</domain>
        <result>policy</result>
        <human_result>why</human_result>
      </spf>
    </auth_results>
  </record>
</feedback>
`
	if got := written(t, small(), RFC9990); got != want {
		t.Errorf("got\n%s", got)
	}
}

// TestWriteRFC7489 looks at what differs.
func TestWriteRFC7489(t *testing.T) {
	got := written(t, small(), RFC7489)
	for _, want := range []string{
		"<feedback>\n", "<source_ip>2001:0db8:0000:0000:0000:0000:0000:0001<", "<adkim>s</adkim>\n    <aspf>r</aspf>\n    <p>reject</p>\n    <sp>none</sp>\n    <pct>50</pct>\n    <fo>1:d</fo>\n  </policy_published>",
		"<disposition>none</disposition>", "<type>other</type>\n          <comment>policy_test_mode: t=y</comment>", "<type>sampled_out</type>\n        </reason>",
		"<scope>helo</scope>\n        <result>neutral</result>\n      </spf>",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("without %q", want)
		}
	}
	for _, not := range []string{"dmarc-2.0", "<np>", "<testing>", "<discovery_method>", "<generator>"} {
		if strings.Contains(got, not) {
			t.Errorf("with %s", not)
		}
	}
}

func TestRequiredElementsHaveDefaults(t *testing.T) {
	r := small()
	r.Policy, r.Records[0].Results, r.Records[0].Disposition, r.Errors = Policy{}, nil, "", nil
	old, modern := written(t, r, RFC7489), written(t, r, RFC9990)
	for _, want := range []string{"<p>none</p>", "<sp>none</sp>", "<pct>100</pct>", "<fo>0</fo>", "<spf>\n        <domain>bounce.example.com</domain>\n        <scope>mfrom</scope>\n        <result>none</result>"} {
		if !strings.Contains(old, want) {
			t.Errorf("RFC 7489 without %q", want)
		}
	}
	r.Policy.P = "reject"
	if !strings.Contains(written(t, r, RFC7489), "<sp>reject</sp>") {
		t.Error("RFC 7489: sp is not p where it is not said")
	}
	if !strings.Contains(modern, "<p>none</p>\n  </policy_published>") || !strings.Contains(modern, "<auth_results>\n    </auth_results>") || !strings.Contains(modern, "<disposition>none<") {
		t.Errorf("RFC 9990: %s", modern)
	}
}

func TestNearestWords(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{wordsOf(RFC9990).dkim.nearest("Pass"), "pass"},
		{wordsOf(RFC9990).spf.nearest("hardfail"), "fail"},
		{wordsOf(RFC9990).spf.nearest("unknown"), "temperror"},
		{wordsOf(RFC9990).spf.nearest("error"), "permerror"},
		{wordsOf(RFC9990).spf.nearest("policy"), "policy"},
		{wordsOf(RFC7489).spf.nearest("policy"), "neutral"},
		{wordsOf(RFC7489).dkim.nearest("<x>"), "neutral"},
		{wordsOf(RFC9990).dispositions.nearest("defer"), "none"},
		{failureOptions("1:D"), "1:d"}, {failureOptions("x"), ""}, {failureOptions("0:0:0:0:0"), ""}, {failureOptions(""), ""}, {failureOptions("0:"), ""},
		{percentage("0"), "0"}, {percentage("101"), "100"}, {percentage("-1"), "100"}, {percentage(""), "100"},
		{domain("Bücher.Example."), "xn--bcher-kva.example"}, {domain("A<B>.example"), "a<b>.example"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestNotWritten(t *testing.T) {
	for want, change := range map[string]func(*Report){
		"no policy domain":       func(r *Report) { r.Domain = mail.Domain{} },
		"needs an id":            func(r *Report) { r.ID = "\x00" },
		"an organization":        func(r *Report) { r.Org = " " },
		"and an address":         func(r *Report) { r.Email = "" },
		"period":                 func(r *Report) { r.End = r.Begin.Add(-time.Second) },
		"the period of":          func(r *Report) { r.Begin = time.Time{} },
		"period of the report":   func(r *Report) { r.End = time.Unix(lastSecond+1, 0) },
		"has 0 records":          func(r *Report) { r.Records = nil },
		"has 20001 records":      func(r *Report) { r.Records = slices.Repeat(r.Records, DefaultRecords+1) },
		"record 1 has no source": func(r *Report) { r.Records[0].Source = netip.Addr{} },
		"an impossible count":    func(r *Report) { r.Records[0].Count = -1 },
		"or an impossible count": func(r *Report) { r.Records[0].Count = maxCount + 1 },
		"format \"x\" is not":    nil,
	} {
		r, f := small(), RFC9990
		if change == nil {
			f = "x"
		} else {
			change(r)
		}
		var b strings.Builder
		err := Write(&b, r, f)
		var ours *Error
		if !errors.As(err, &ours) || !strings.Contains(err.Error(), want) || b.Len() > 0 {
			t.Errorf("%s: %v, %d octets written", want, err, b.Len())
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWriterThatFails(t *testing.T) {
	r := small()
	r.Records = slices.Repeat(r.Records, 100)
	if err := Write(brokenWriter{}, r, RFC9990); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

// Of many signatures the ones that say most stay, and what is written can be
// read by ourselves.
func TestManySignatures(t *testing.T) {
	r := small()
	x := &r.Records[0]
	x.Results = []Result{{Method: "spf", Domain: "a.example", Result: "pass"}, {Method: "spf", Domain: "b.example", Result: "pass"}}
	for i := range 2 * DefaultResults {
		x.Results = append(x.Results, Result{Method: "dkim", Domain: "x.example", Selector: fmt.Sprint(i), Result: "fail"})
	}
	x.Results = append(x.Results, Result{Method: "dkim", Domain: "y.example", Result: "pass"}, Result{Method: "dkim", Domain: "mail.example.com", Result: "pass"}, Result{Method: "dkim", Domain: "example.com", Result: "pass"})
	x.Reasons = slices.Repeat(x.Reasons, 2*DefaultResults)
	for _, f := range formats {
		got, err := Parse([]byte(written(t, r, f)), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		var order []string
		for _, p := range got.Records[0].Results {
			order = append(order, p.Domain+p.Selector)
		}
		if len(order) != DefaultResults || strings.Join(order[:5], " ") != "example.com mail.example.com y.example x.example0 x.example1" || order[len(order)-1] != "a.example" {
			t.Errorf("%s: %v", f, order)
		}
	}
}

// What somebody else wrote, in all its ugliness.
var hostile = rapid.OneOf(
	rapid.SampledFrom([]string{"", "a.example", "Bücher.example", "]]>", "</domain><p>none</p>", "&lol;", "<!--", "\x00\x01\x1b[2J", "\xff\xfe", "\ufffe\uffff", "\u202e\u2028", " x ", "a\r\nb", "&#0;", strings.Repeat("é", 400), strings.Repeat("Ⱥ", 200)}),
	rapid.String(),
	rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
)

// drawn is a report whose every text is hostile.
func drawn(t *rapid.T) *Report {
	s := func() string { return hostile.Draw(t, "text") }
	r := small()
	r.Org, r.ID, r.Email = "o"+s(), "i"+s(), "e"+s()
	r.Errors, r.Software = []string{s(), s()}, s()
	r.Policy = Policy{P: s(), SP: s(), NP: s(), ADKIM: s(), ASPF: s(), Pct: s(), FO: s(), Testing: s(), Discovery: s()}
	r.Records = nil
	for range rapid.IntRange(1, 4).Draw(t, "records") {
		x := Record{Source: netip.MustParseAddr(rapid.SampledFrom([]string{"192.0.2.1", "::ffff:192.0.2.2", "fe80::1%eth0"}).Draw(t, "source")), Count: rapid.Int64Range(0, maxCount).Draw(t, "count"),
			Disposition: s(), DKIM: s(), SPF: s(), HeaderFrom: s(), EnvelopeFrom: s(), EnvelopeTo: s()}
		for range rapid.IntRange(0, 3).Draw(t, "parts") {
			x.Reasons = append(x.Reasons, Reason{s(), s()})
			x.Results = append(x.Results, Result{rapid.SampledFrom([]string{"dkim", "spf", "arc"}).Draw(t, "method"), s(), s(), s(), s(), s()})
		}
		r.Records = append(r.Records, x)
	}
	return r
}

// TestHostileTexts: whatever is in a report, the document is well-formed,
// bounded, the same each time, read by ourselves, and writing what was read
// gives it again.
func TestHostileTexts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, f := drawn(t), rapid.SampledFrom(formats).Draw(t, "format")
		var b bytes.Buffer
		if err := Write(&b, r, f); err != nil {
			t.Skip(err) // an id of nothing but blanks
		}
		checkDocument(t, b.Bytes())
		read, err := Parse(b.Bytes(), Limits{})
		if err != nil {
			t.Fatalf("%v\n%s", err, b.Bytes())
		}
		var again bytes.Buffer
		if err := Write(&again, read, f); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), again.Bytes()) {
			t.Fatalf("first\n%s\nthen\n%s", b.Bytes(), again.Bytes())
		}
	})
}

// checkDocument reads with the strict decoder, and knows what XML 1.0 section
// 2.2 allows.
func checkDocument(t *rapid.T, b []byte) {
	if !utf8.Valid(b) || len(b) > 100_000 {
		t.Fatalf("%d octets, UTF-8 %t", len(b), utf8.Valid(b))
	}
	for _, c := range string(b) {
		if c < ' ' && c != '\n' || c == 0x7f || c == 0xfffe || c == 0xffff {
			t.Fatalf("holds %U", c)
		}
	}
	for d := xml.NewDecoder(bytes.NewReader(b)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestRoundTrip: a report in the words of its format is read as it was written.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(formats).Draw(t, "format")
		r := proper(t, f)
		var b bytes.Buffer
		if err := Write(&b, r, f); err != nil {
			t.Fatal(err)
		}
		read, err := Parse(b.Bytes(), Limits{})
		if err != nil || !reflect.DeepEqual(r, read) {
			t.Fatalf("%v\nwrote %+v\nread  %+v", err, r, read)
		}
	})
}

// proper is a report that its format can say in full.
func proper(t *rapid.T, f Format) *Report {
	w := wordsOf(f)
	of := func(e enumeration) string { return rapid.SampledFrom(e.words).Draw(t, "word") }
	name := rapid.StringMatching(`[a-z][a-z0-9]{0,9}(\.[a-z]{2,9}){1,3}`)
	line := rapid.StringMatching(`[!-~é]([ -~é]{0,30}[!-~])?`)
	verdict := rapid.SampledFrom([]string{"pass", "fail"})
	r := small()
	r.Org, r.Email, r.ID, r.Domain = line.Draw(t, "org"), line.Draw(t, "email"), line.Draw(t, "id"), mustDomain(name.Draw(t, "domain"))
	r.Policy = Policy{P: of(policies), SP: of(policies), ADKIM: of(alignments), ASPF: of(alignments), FO: rapid.SampledFrom([]string{"0", "1:d:s"}).Draw(t, "fo")}
	if f == RFC9990 {
		r.Policy.NP, r.Policy.Testing, r.Policy.Discovery = of(policies), of(answers), of(discoveries)
	} else {
		r.Software, r.Policy.Pct = "", fmt.Sprint(rapid.IntRange(0, 100).Draw(t, "pct"))
	}
	r.Records = nil
	for range rapid.IntRange(1, 5).Draw(t, "records") {
		b := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "source")
		x := Record{Source: netip.AddrFrom4([4]byte(b)), Count: rapid.Int64Range(0, maxCount).Draw(t, "count"), Disposition: of(w.dispositions), DKIM: verdict.Draw(t, "dkim"), SPF: verdict.Draw(t, "spf"),
			HeaderFrom: name.Draw(t, "from"), EnvelopeFrom: name.Draw(t, "envelope"), EnvelopeTo: name.Draw(t, "to")}
		for range rapid.IntRange(0, 3).Draw(t, "dkim") {
			x.Reasons = append(x.Reasons, Reason{of(w.reasons), line.Draw(t, "comment")})
			x.Results = append(x.Results, Result{"dkim", name.Draw(t, "d"), line.Draw(t, "s"), "", of(w.dkim), line.Draw(t, "human")})
		}
		spf := Result{Method: "spf", Domain: name.Draw(t, "spf"), Scope: of(w.scopes), Result: of(w.spf)}
		x.Results = append(x.Results, spf)
		r.Records = append(r.Records, x)
	}
	return r
}
