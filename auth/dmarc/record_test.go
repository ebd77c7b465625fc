package dmarc

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestParseRecord(t *testing.T) {
	many := "mailto:a@b.example" + strings.Repeat(",mailto:a@b.example", 30)
	for _, c := range []struct {
		txt    string
		change func(*Record) // of the default record; nil: not a DMARC record
	}{
		{"v=DMARC1", func(*Record) {}},
		{"v=DMARC1;", func(*Record) {}},
		{"V = DMARC1 ;", func(*Record) {}},
		{"v=DMARC1; p=reject", func(r *Record) { r.Policy = "reject" }},
		{"v=DMARC1;p=Reject;SP=none", func(r *Record) { r.Policy, r.Subdomains = "reject", "none" }},
		{"v=DMARC1;\tp \t= quarantine ; np=reject", func(r *Record) { r.Policy, r.NonExistent = "quarantine", "reject" }},
		{"v=DMARC1; x=1; =; ; p=reject; unknown", func(r *Record) { r.Policy = "reject" }},
		{"v=DMARC1; sp=reject; p=quarantine", func(r *Record) { r.Policy, r.Subdomains = "quarantine", "reject" }},
		{"v=DMARC1; p=none; p=reject", func(*Record) {}},
		{"v=DMARC1; adkim=s; aspf=S", func(r *Record) { r.DKIMStrict, r.SPFStrict = true, true }},
		{"v=DMARC1; adkim=x; aspf=", func(*Record) {}},
		{"v=DMARC1; psd=Y; t=y", func(r *Record) { r.PSD, r.HasT, r.Testing = "y", true, true }},
		{"v=DMARC1; psd=n; t=n", func(r *Record) { r.PSD, r.HasT = "n", true }},
		{"v=DMARC1; psd=x; t=maybe", func(*Record) {}},
		{"v=DMARC1; pct=0", func(r *Record) { r.Pct, r.HasPct = 0, true }},
		{"v=DMARC1; pct=100", func(r *Record) { r.HasPct = true }},
		{"v=DMARC1; pct=101", func(*Record) {}},
		{"v=DMARC1; pct=-1", func(*Record) {}},
		{"v=DMARC1; pct=50%", func(*Record) {}},
		{"v=DMARC1; rf=afrf:iodef; ri=3600", func(r *Record) { r.FailureFormat, r.Interval = "afrf", 3600 }},
		{"v=DMARC1; ri=99999999999", func(*Record) {}},
		{"v=DMARC1; fo=1:d", func(*Record) {}}, // without ruf it means nothing
		{"v=DMARC1; fo=D: s ; ruf=mailto:a@b.example", func(r *Record) {
			r.FailureOptions, r.Failure = []string{"d", "s"}, []ReportURI{{URI: "mailto:a@b.example"}}
		}},
		{"v=DMARC1; ruf=; fo=1:1:9:d:1", func(r *Record) { r.FailureOptions = []string{"1", "d"} }},
		{"v=DMARC1; fo=1:d:s:0; ruf=x", func(r *Record) { r.FailureOptions = []string{"d", "s", "0"} }},
		{"v=DMARC1; fo=9:x; ruf=x", func(*Record) {}},
		{"v=DMARC1; fo=; ruf=x", func(*Record) {}},
		{"v=DMARC1; rua=MAILTO:a@b.example!1K,mailto:a%21b@b.example!2g!x,mailto:a@b.example!0,mailto:c@b.example!4294967295t, ,mailto:a@b.example!-1,mailto:a b@c.example", func(r *Record) {
			r.Aggregate = []ReportURI{{"MAILTO:a@b.example", 1024}, {"mailto:c@b.example", math.MaxUint64}}
		}},
		{"v=DMARC1; rua=mailto:a@b.example!10m , https://b.example/x,nonsense,mailto:nobody", func(r *Record) {
			r.Aggregate = []ReportURI{{"mailto:a@b.example", 10 << 20}, {URI: "https://b.example/x"}}
		}},
		{"v=DMARC1; ruf=mailto:a@b.example!5,mailto:a@b.example!x", func(r *Record) {
			r.Failure = []ReportURI{{"mailto:a@b.example", 5}}
		}},
		{"v=DMARC1; rua=" + many, func(r *Record) {
			for range maxReportURIs {
				r.Aggregate = append(r.Aggregate, ReportURI{URI: "mailto:a@b.example"})
			}
		}},
		{"v=DMARC1; p=bogus; sp=reject; rua=mailto:a@b.example", func(r *Record) {
			r.Flaw, r.Aggregate = `p="bogus"`, []ReportURI{{URI: "mailto:a@b.example"}}
		}},
		{"v=DMARC1; p=reject; np=bogus; rua=mailto:a@b.example", func(r *Record) {
			r.Flaw, r.Aggregate = `np="bogus"`, []ReportURI{{URI: "mailto:a@b.example"}}
		}},
		{"", nil},
		{"v=DMARC1 p=none", nil},
		{" v=DMARC1", nil},
		{"v=dmarc1; p=none", nil},
		{"v=DMARC2; p=none", nil},
		{"v=DMARC10; p=none", nil},
		{"p=none; v=DMARC1", nil},
		{"v=spf1 -all", nil},
		{"v=DMARC1; " + strings.Repeat("x", maxRecordLength), nil},
	} {
		got, err := ParseRecord(c.txt)
		if c.change == nil {
			if !errors.Is(err, ErrNotDMARC) {
				t.Errorf("%.60q: %+v, %v", c.txt, got, err)
			}
			continue
		}
		want := Record{Policy: "none", PSD: "u", Pct: 100, FailureOptions: []string{"0"}}
		c.change(&want)
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%.60q:\n got %+v, %v\nwant %+v", c.txt, got, err, want)
		}
	}
}

func TestUnknownPolicyWithoutReportsIsUnusable(t *testing.T) {
	for _, txt := range []string{"v=DMARC1; p=bogus", "v=DMARC1; p=", "v=DMARC1; p=none; sp=x", "v=DMARC1; p=reject; np=y; rua=nonsense"} {
		if r, err := ParseRecord(txt); !errors.Is(err, ErrUnusable) || r == nil || r.Policy != "none" {
			t.Errorf("%q: %+v %v", txt, r, err)
		}
	}
}

func TestWalkHasAtMostEightNames(t *testing.T) {
	for domain, want := range map[string]string{
		"com":                                  "[com]",
		"a.mail.example.com":                   "[a.mail.example.com mail.example.com example.com com]",
		"a.b.c.d.e.f.g.com":                    "[a.b.c.d.e.f.g.com b.c.d.e.f.g.com c.d.e.f.g.com d.e.f.g.com e.f.g.com f.g.com g.com com]",
		"a.b.c.d.e.f.g.h.i.j.mail.example.com": "[a.b.c.d.e.f.g.h.i.j.mail.example.com g.h.i.j.mail.example.com h.i.j.mail.example.com i.j.mail.example.com j.mail.example.com mail.example.com example.com com]",
	} {
		if got := fmt.Sprint(path(domain)); got != want {
			t.Errorf("%s: %s", domain, got)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, seed := range []string{
		"v=DMARC1; p=reject; sp=none; np=quarantine; t=y; psd=n; pct=20; adkim=s; aspf=s; fo=1:d; rua=mailto:a@b.example!10m; ri=86400; rf=afrf",
		"v=DMARC1;", "v=DMARC1;p=x;rua=mailto:@", "V=DMARC1;;;===;p", "v=DMARC1; rua=,,,!,mailto:%00@x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, txt string) {
		r, err := ParseRecord(txt)
		if errors.Is(err, ErrNotDMARC) {
			return
		}
		policies := map[string]bool{"none": true, "quarantine": true, "reject": true}
		if r == nil || !policies[r.Policy] || r.Subdomains != "" && !policies[r.Subdomains] || r.NonExistent != "" && !policies[r.NonExistent] {
			t.Fatalf("policies of %q: %+v", txt, r)
		}
		if r.Pct < 0 || r.Pct > 100 || len(r.Aggregate) > maxReportURIs || len(r.Failure) > maxReportURIs || len(r.FailureOptions) == 0 {
			t.Fatalf("bounds of %q: %+v", txt, r)
		}
		if (r.Flaw != "" && len(r.Aggregate) == 0) != errors.Is(err, ErrUnusable) {
			t.Fatalf("%q: flaw %q, error %v", txt, r.Flaw, err)
		}
	})
}
