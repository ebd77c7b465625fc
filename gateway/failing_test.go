package gateway

import (
	"testing"
	"time"

	"gatepost/mail"
)

// TestFailureSettings: the configuration decides; what goes to addresses that
// take or send reports is never reported.
func TestFailureSettings(t *testing.T) {
	g := offline(t, "domains: [{name: a.test, next_hop: next, recipients: {accept: all}}]\nreport:\n  inbox: [reports@a.test]\n  dmarc_aggregate: {from: daily@a.test}\n"+
		"  dmarc_failure: {enabled: true, from: single@a.test, org: Org, per_domain_per_day: 3, per_hour: 7}\n", time.Now)
	s := g.live.failureSettings()
	if !s.Enabled || s.From != addressOf("single@a.test") || s.Org != "Org" || s.PerDomain != 3 || s.PerHour != 7 || s.DNS == nil || s.Submitter.IsZero() {
		t.Errorf("%+v", s)
	}
	for name, want := range map[string]bool{"a.test": true, "sub.a.test": true, "b.test": false, "xa.test": false} {
		if s.Ours(domainOf(name)) != want {
			t.Errorf("%s is ours: %t", name, !want)
		}
	}
	for to, want := range map[string]bool{"x@a.test": false, "REPORTS@a.test": true, "daily@a.test": true, "Single@a.test": true} {
		e := &mail.Envelope{Recipients: []mail.Recipient{{Address: addressOf("y@a.test")}, {Address: addressOf(to)}}}
		if g.live.aboutReports(e) != want {
			t.Errorf("%s takes or sends reports: %t", to, !want)
		}
	}
	if off := offline(t, "domains: [{name: a.test, next_hop: next, recipients: {accept: all}}]\n", time.Now).live.failureSettings(); off.Enabled || off.PerDomain != 10 || off.PerHour != 60 {
		t.Errorf("by default: %+v", off)
	}
	if a, b := redactKey([]byte("k")), sampleKey([]byte("k")); string(a) == string(b) {
		t.Error("two uses of the seal key give one key")
	}
}
