package wire_test

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatepost/gateway/intake/wire"
	"gatepost/gateway/intake/wire/wiretest"
)

// ways are how a connection may be protected.
var ways = []string{"plain", "STARTTLS", "implicit TLS"}

func (g *gateway) by(way string) *wiretest.Client {
	g.t.Helper()
	if way != "implicit TLS" {
		c := g.greeted()
		if way == "STARTTLS" {
			must(g.t, c.StartTLS(clientTLS()))
			expect(g.t, c, "EHLO client.test", "250")
		}
		return c
	}
	c := g.dial()
	conn := tls.Client(c.Conn, clientTLS())
	must(g.t, conn.Handshake())
	c = wiretest.NewClient(conn)
	wantReply(g.t, c, "220")
	expect(g.t, c, "EHLO client.test", "250")
	return c
}

// TestByteTable runs the whole table over every way and form on one
// connection each, so that a case that loses step breaks the next one too.
func TestByteTable(t *testing.T) {
	for _, way := range ways {
		for _, form := range []wiretest.Form{wiretest.DATA, wiretest.BDAT} {
			for _, policy := range []wire.Newline{wire.Reject, wire.Normalize} {
				t.Run(fmt.Sprintf("%s/%s/%s", way, form, policy), func(t *testing.T) { runTable(t, way, form, policy) })
			}
		}
	}
}

func runTable(t *testing.T, way string, form wiretest.Form, policy wire.Newline) {
	s := baseSettings()
	s.TLS = serverTLS()
	s.DataNewline, s.BDATNewline = policy, policy
	if way == "implicit TLS" {
		s.Mode = wire.Implicit
	}
	g := newGateway(t, s)
	c := g.by(way)
	for _, row := range wiretest.Cases() {
		if !slices.Contains(row.Forms, form) {
			continue
		}
		want := row.Reject
		if policy == wire.Normalize {
			want = row.Normalize
		}
		before := len(g.got())
		reply, err := c.Message(form, "a@x.test", "b@x.test", row.Sent)
		if err != nil {
			t.Fatalf("%s: %v", row.Name, err)
		}
		checkOutcome(t, row.Name, reply, want, g.got()[before:])
	}
}

func checkOutcome(t *testing.T, name, reply string, want wiretest.Outcome, got []message) {
	t.Helper()
	if !want.Refused.IsZero() {
		if reply != want.Refused.String()+" (ta@x.test)" || len(got) != 0 {
			t.Errorf("%s: %q and %d messages, want %q", name, reply, len(got), want.Refused)
		}
		return
	}
	if !strings.HasPrefix(reply, "250 2.0.0 Ok: queued as ") || len(got) != 1 {
		t.Errorf("%s: %q and %d messages, want one", name, reply, len(got))
		return
	}
	if got[0].content != want.Content {
		t.Errorf("%s: got %.300q (%d), want %.300q (%d)", name, got[0].content, len(got[0].content), want.Content, len(want.Content))
	}
}
