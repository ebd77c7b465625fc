package gateway

import (
	"net/netip"
	"testing"
	"time"

	"gatepost/auth/dmarc"
	"gatepost/gateway/intake"
	"gatepost/mail"
	"gatepost/policy"
	"gatepost/report/tally"
)

const countText = "domains: [{name: a.test, next_hop: next, recipients: {accept: all}}]\nreport:\n  inbox: [reports@a.test]\n  dmarc_aggregate: {from: out@a.test"

// TestWhatIsCounted: mail of strangers, but none of what reports are made of.
func TestWhatIsCounted(t *testing.T) {
	record, err := dmarc.ParseRecord("v=DMARC1; p=none; rua=mailto:d@b.test")
	if err != nil {
		t.Fatal(err)
	}
	b := domainOf("b.test")
	for _, c := range []struct {
		name, config, to string
		role             mail.Role
		report           bool
		action           policy.Action
		want             int64
	}{
		{"mail", "}\n", "x@a.test", mail.RoleMX, false, policy.Accept, 1},
		{"refused mail", "}\n", "x@a.test", mail.RoleMX, false, policy.Reject, 1},
		{"relayed mail", "}\n", "x@a.test", mail.RoleRelay, false, policy.Accept, 0},
		{"our own mail", "}\n", "x@a.test", mail.RoleInternal, false, policy.Accept, 0},
		{"a report", "}\n", "x@a.test", mail.RoleMX, true, policy.Accept, 0},
		{"to the inbox of reports", "}\n", "Reports@a.test", mail.RoleMX, false, policy.Accept, 0},
		{"to the sender of reports", "}\n", "OUT@a.test", mail.RoleMX, false, policy.Accept, 0},
		{"not wanted", ", count: false}\n", "x@a.test", mail.RoleMX, false, policy.Accept, 0},
	} {
		g := offline(t, countText+c.config, time.Now)
		facts := policy.Facts{Proved: true, Report: c.report, From: addressOf("x@b.test"),
			DMARC: dmarc.Result{Value: "fail", From: b, PolicyDomain: b, Policy: "none", Record: record}}
		session := intake.Session{Role: c.role, Addr: netip.MustParseAddr("192.0.2.1")}
		envelope := mail.Envelope{Recipients: []mail.Recipient{{Address: addressOf(c.to)}}}
		(&counter{g.live, g.tally}).add(g.now(), &session, &envelope, &facts, &policy.Verdict{Action: c.action})
		if err := g.tally.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		sum, err := g.tally.Sum(t.Context(), tally.DayOf(g.now()), b)
		if err != nil || sum.Messages != c.want {
			t.Errorf("%s: %d counted, want %d, %v", c.name, sum.Messages, c.want, err)
		}
	}
}
