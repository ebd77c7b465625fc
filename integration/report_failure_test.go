package integration

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
)

const failingZone = `
fails.test.             TXT  "v=spf1 -all"
_dmarc.fails.test.      TXT  "v=DMARC1; p=reject; fo=1; ruf=mailto:ruf@fails.test"
outside.test.           TXT  "v=spf1 -all"
_dmarc.outside.test.    TXT  "v=DMARC1; p=none; ruf=mailto:ruf@collector.test,mailto:victim@elsewhere.test"
outside.test._report._dmarc.collector.test. TXT "v=DMARC1"
`

func reportFailures(vars map[string]string) {
	vars["policy"] = "}\nreport: {dmarc_failure: {enabled: true, from: dmarc@example.test, org: Example}"
}

// lookupTXT asks the site's DNS.
func (s *site) lookupTXT(name string) ([]string, error) {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.vars["dns"])
	}}
	ctx, cancel := context.WithTimeout(s.t.Context(), dialWait)
	defer cancel()
	return r.LookupTXT(ctx, name)
}

// TestFailureReport: who forges a domain whose owner asks for it makes us
// report it once, redacted, signed, to verified addresses only; refused mail
// too.
func TestFailureReport(t *testing.T) {
	t.Parallel()
	s := startSite(t, failingZone, reportFailures)
	s.keys()
	forged := strings.Replace(letter("alice@fails.test", "bob@example.test", "forged", "private text"), "Subject: forged", "Subject: private words", 1)
	for range 3 {
		send(t, fromStranger, s.mx, 550, "carol@fails.test", "bob@example.test", forged)
	}
	m := s.world.wait(t, "Feedback-Type: auth-failure")
	s.settled()
	if n := len(s.world.all()); n != 1 || m.From != "dmarc@example.test" || len(m.To) != 1 || m.To[0] != "ruf@fails.test" {
		t.Errorf("%d messages, from %s to %v", n, m.From, m.To)
	}
	text := string(m.Data)
	contains(t, strings.ReplaceAll(text, "\r\n ", " "), "multipart/report; report-type=feedback-report", "Auto-Submitted: auto-generated", "Reported-Domain: fails.test", "Auth-Failure: dmarc",
		"Delivery-Result: reject", "Identity-Alignment: dkim, spf", "Source-IP: "+fromStranger, "dmarc=fail", "SPF-DNS: txt : fails.test : \"v=spf1 -all\"", "Subject: [redacted]", "@fails.test>")
	for _, private := range []string{"alice", "carol", "bob", "private"} {
		if strings.Contains(text, private) {
			t.Errorf("the report tells %q:\n%s", private, text)
		}
	}
	found, err := dkim.VerifyWithOptions(strings.NewReader(text), &dkim.VerifyOptions{LookupTXT: s.lookupTXT})
	if err != nil || len(found) == 0 || found[0].Err != nil || found[0].Domain != "example.test" {
		t.Errorf("signatures: %+v, %v", found, err)
	}
	// Accepted mail, and a destination elsewhere that wishes for it.
	send(t, fromStranger, s.mx, 250, "a@outside.test", "bob@example.test", letter("a@outside.test", "bob@example.test", "accepted", "text"))
	m = s.world.wait(t, "Reported-Domain: outside.test")
	s.settled()
	if len(m.To) != 1 || m.To[0] != "ruf@collector.test" {
		t.Errorf("to %v", m.To)
	}
	contains(t, string(m.Data), "Delivery-Result: delivered")
	checkAccount(t, s.gate)
}

// TestNoFailureReports: by default none is sent.
func TestNoFailureReports(t *testing.T) {
	t.Parallel()
	s := startSite(t, failingZone, nil)
	send(t, fromStranger, s.mx, 550, "carol@fails.test", "bob@example.test", letter("alice@fails.test", "bob@example.test", "forged", "text"))
	send(t, fromStranger, s.mx, 250, "a@outside.test", "bob@example.test", letter("a@outside.test", "bob@example.test", "accepted", "text"))
	s.inside.wait(t, "Subject: accepted")
	s.settled()
	if n := len(s.world.all()); n != 0 {
		t.Errorf("%d messages left", n)
	}
}
