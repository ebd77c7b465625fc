package gateway

import (
	"encoding/json"
	"testing"

	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
	"gatepost/gateway/intake"
	"gatepost/mail"
	"gatepost/policy"
)

// A sender of reports is known by what his mail proves, and cannot become
// many by names below his own.
func TestReportSender(t *testing.T) {
	from, err := mail.ParseAddress("r@dmarc.reporter.co.uk", false)
	if err != nil {
		t.Fatal(err)
	}
	pass := func(name string) (d mail.Domain) {
		if d, err = mail.ParseDomain(name); err != nil {
			t.Fatal(err)
		}
		return d
	}
	sender := spf.Result{Value: "pass", Domain: pass("a.bounce.example.com")}
	signatures := []dkim.Result{{Value: "fail", Domain: pass("other.net")}, {Value: "pass", Domain: pass("x.esp.net")}}
	for _, c := range []struct {
		name  string
		facts policy.Facts
		want  string
	}{
		{"DMARC", policy.Facts{From: from, SPF: sender, DKIM: signatures, DMARC: dmarc.Result{Value: "pass"}}, "reporter.co.uk"},
		{"a signature", policy.Facts{From: from, SPF: sender, DKIM: signatures, DMARC: dmarc.Result{Value: "fail"}}, "esp.net"},
		{"the reverse-path", policy.Facts{From: from, SPF: sender, DKIM: signatures[:1]}, "example.com"},
		{"nothing", policy.Facts{From: from, SPF: spf.Result{Value: "softfail", Domain: sender.Domain}, DKIM: signatures[:1]}, ""},
		{"a public suffix", policy.Facts{SPF: spf.Result{Value: "pass", Domain: pass("co.uk")}}, "co.uk"},
	} {
		facts, err := json.Marshal(intake.Record{Facts: c.facts})
		if err != nil {
			t.Fatal(err)
		}
		if got := reportSender(&mail.Message{Facts: facts}); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	for _, facts := range []string{"", "{", "{}"} {
		if got := reportSender(&mail.Message{Facts: []byte(facts)}); got != "" {
			t.Errorf("%q: %q", facts, got)
		}
	}
}
