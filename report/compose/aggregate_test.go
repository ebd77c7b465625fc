package compose

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/report/aggregate"
	"gatepost/report/extract"
)

var formats = []aggregate.Format{aggregate.RFC9990, aggregate.RFC7489}

func domain(t testing.TB, s string) mail.Domain {
	t.Helper()
	d, err := mail.ParseDomain(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func addr(t testing.TB, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s, true)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func options(t testing.TB, f aggregate.Format) Options {
	return Options{From: addr(t, "dmarc@receiver.example"), Org: "Empfänger & Söhne", Submitter: domain(t, "mx.receiver.example"), Now: time.Unix(1700090000, 0),
		MessageID: "1.abc@mx.receiver.example", Format: f}
}

// report has n records.
func report(t testing.TB, n int) *aggregate.Report {
	r := &aggregate.Report{Org: "Empfänger & Söhne", Email: "postmaster@receiver.example", Begin: time.Unix(1700000000, 0).UTC(), End: time.Unix(1700086399, 0).UTC(),
		Domain: domain(t, "bücher.example"), Policy: aggregate.Policy{P: "reject", SP: "reject", Pct: "", FO: "0"}}
	r.ID = ReportID(domain(t, "mx.receiver.example"), r.Domain, r.Begin, r.End)
	for i := range n {
		r.Records = append(r.Records, aggregate.Record{Source: netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), Count: 2, Disposition: "none", DKIM: "fail", SPF: "pass",
			HeaderFrom: "xn--bcher-kva.example", EnvelopeFrom: fmt.Sprintf("%x.example", i*7919), Results: []aggregate.Result{{Method: "spf", Domain: "a.example", Scope: "mfrom", Result: "pass"}}})
	}
	return r
}

func composed(t testing.TB, r *aggregate.Report, o Options, to ...string) string {
	t.Helper()
	var list []mail.Address
	for _, s := range to {
		list = append(list, addr(t, s))
	}
	b, err := Aggregate(r, list, o)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestWeReadOurOwn: what goes out is taken in by our own inbox, and says the same.
func TestWeReadOurOwn(t *testing.T) {
	for _, f := range formats {
		r := report(t, 3)
		if f == aggregate.RFC7489 {
			r.Policy.Pct = "100"
		}
		found, err := extract.Message(strings.NewReader(composed(t, r, options(t, f), "rua@reader.example")), extract.Limits{})
		if err != nil || len(found.Documents) != 1 || found.Documents[0].Err != nil || found.MessageID != "<1.abc@mx.receiver.example>" {
			t.Fatalf("%s: %+v, %v", f, found, err)
		}
		want := "mx.receiver.example!xn--bcher-kva.example!1700000000!1700086399!" + r.ID + ".xml.gz"
		if d := found.Documents[0]; d.Kind != extract.Aggregate || d.Name != want {
			t.Errorf("%s: %s %s", f, d.Kind, d.Name)
		}
		read, err := aggregate.Parse(found.Documents[0].Data, aggregate.Limits{})
		if err != nil || !reflect.DeepEqual(read, r) {
			t.Errorf("%s: %v\nread  %+v\nwrote %+v", f, err, read, r)
		}
	}
}

func TestHeader(t *testing.T) {
	r := report(t, 2)
	r.Records[1].SPF = "fail"
	got := composed(t, r, options(t, aggregate.RFC9990), "a@reader.example", `"b c"@other.example`)
	want := "From:\r\n =?utf-8?q?Empf=C3=A4nger_&_S=C3=B6hne?=\r\n <dmarc@receiver.example>\r\nTo: <a@reader.example>,\r\n <\"b c\"@other.example>\r\nDate: Wed, 15 Nov 2023 23:13:20 +0000\r\n" +
		"Message-ID: <1.abc@mx.receiver.example>\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nSubject: Report Domain: xn--bcher-kva.example\r\n Submitter: mx.receiver.example\r\n Report-ID: <" + r.ID + ">\r\n" +
		"Content-Type: multipart/mixed; boundary=\"=_" + r.ID + "\"\r\n\r\n"
	if !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got[:min(len(got), len(want))], want)
	}
	o := options(t, aggregate.RFC9990)
	o.Org = strings.Repeat("long ", 1000)
	if from, _, _ := strings.Cut(composed(t, r, o, "a@reader.example"), "\r\n"); len(from) > 150 {
		t.Errorf("a From of %d octets", len(from))
	}
	if old := composed(t, r, options(t, aggregate.RFC7489), "a@reader.example"); !strings.Contains(old, "Report-ID: <"+r.ID+"@mx.receiver.example>\r\n") {
		t.Errorf("RFC 7489: no msg-id in the subject")
	}
	if !strings.Contains(got, "Messages:      4, of them 2 passed DMARC\r\n") {
		t.Error("the summary does not count")
	}
}

// TestLines: nothing is longer than it may be, and all of it is US-ASCII.
func TestLines(t *testing.T) {
	r, o := report(t, 500), options(t, aggregate.RFC9990)
	long := strings.Repeat(strings.Repeat("x", 60)+".", 4) + "example"
	r.Domain, r.Email, o.Org = domain(t, long), strings.Repeat("é<>\r\n.", 200), strings.Repeat(`"\ é`+"\r\nBcc: x", 100)
	got := composed(t, r, o, strings.Repeat("x", 60)+"@reader.example", "b@other.example")
	for line := range strings.SplitSeq(got, "\r\n") {
		whole := strings.Contains(line, long) || strings.HasPrefix(line, "To: <xxxxx") || strings.HasPrefix(line, " name=") || strings.HasPrefix(line, " filename=")
		if len(line) > 998 || len(line) > wrapAt+2 && !whole {
			t.Errorf("%d octets: %s", len(line), line)
		}
		if strings.ContainsAny(line, "\r\n\x00") || !isASCII(line) || strings.HasPrefix(line, "Bcc") {
			t.Errorf("line %q", line)
		}
	}
	if found, err := extract.Message(strings.NewReader(got), extract.Limits{}); err != nil || len(found.Documents) != 1 || found.Documents[0].Err != nil {
		t.Errorf("%+v, %v", found, err)
	}
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}

// TestSameAgain: a second try gives the same octets, and only those.
func TestSameAgain(t *testing.T) {
	o := options(t, aggregate.RFC9990)
	first := composed(t, report(t, 50), o, "a@reader.example")
	if second := composed(t, report(t, 50), o, "a@reader.example"); first != second {
		t.Error("the second one differs")
	}
	_, body, _ := strings.Cut(first, "filename=")
	_, body, _ = strings.Cut(body, "\r\n\r\n")
	body, _, _ = strings.Cut(body, "\r\n\r\n")
	packed, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\r\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil || !z.ModTime.IsZero() || z.Name != "" || z.Comment != "" {
		t.Errorf("%+v, %v", z, err)
	}
}

func TestReportID(t *testing.T) {
	a, b, begin, end := domain(t, "a.example"), domain(t, "b.example"), time.Unix(1, 0), time.Unix(2, 0)
	id := ReportID(a, b, begin, end)
	if id != ReportID(a, b, begin, end.UTC()) || !isUniqueID(id) || len(id) != 24 {
		t.Errorf("id %q", id)
	}
	seen := map[string]bool{id: true}
	for _, other := range []string{ReportID(b, a, begin, end), ReportID(a, a, begin, end), ReportID(a, b, begin, end.Add(time.Second)), ReportID(a, b, end, end),
		ReportID(a, b, begin, end, "p=none"), ReportID(a, b, begin, end, "p=none", "1"), ReportID(a, b, begin, end, "p=none 1")} {
		if seen[other] {
			t.Errorf("%s again", other)
		}
		seen[other] = true
	}
}

func TestNotComposed(t *testing.T) {
	for want, change := range map[string]func(*aggregate.Report, *Options, *[]mail.Address){
		"letters and digits": func(r *aggregate.Report, _ *Options, _ *[]mail.Address) { r.ID = "a\"\r\nb" },
		"report's id":        func(r *aggregate.Report, _ *Options, _ *[]mail.Address) { r.ID = "" },
		"nobody":             func(_ *aggregate.Report, _ *Options, to *[]mail.Address) { *to = nil },
		"usable sender":      func(_ *aggregate.Report, o *Options, _ *[]mail.Address) { o.From = mail.Address{} },
		"no submitter":       func(_ *aggregate.Report, o *Options, _ *[]mail.Address) { o.Submitter = mail.Domain{} },
		"no message id":      func(_ *aggregate.Report, o *Options, _ *[]mail.Address) { o.MessageID = "x" },
		"no message":         func(_ *aggregate.Report, o *Options, _ *[]mail.Address) { o.MessageID = "x y@z" },
		"message id":         func(_ *aggregate.Report, o *Options, _ *[]mail.Address) { o.MessageID = "x@y\r\nBcc: z@w" },
		"no date":            func(_ *aggregate.Report, o *Options, _ *[]mail.Address) { o.Now = time.Time{} },
		"US-ASCII":           func(_ *aggregate.Report, _ *Options, to *[]mail.Address) { *to = append(*to, addr(t, "ü@x.example")) },
	} {
		r, o, to := report(t, 1), options(t, aggregate.RFC9990), []mail.Address{addr(t, "a@reader.example")}
		change(r, &o, &to)
		if b, err := Aggregate(r, to, o); !errors.Is(err, ErrOptions) || b != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	var refused *aggregate.Error
	if _, err := Aggregate(&aggregate.Report{ID: "x"}, []mail.Address{addr(t, "a@b.example")}, options(t, aggregate.RFC9990)); !errors.As(err, &refused) {
		t.Errorf("an empty report: %v", err)
	}
}
