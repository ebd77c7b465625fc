package intake

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/mail"
	"gatepost/policy"
)

// silentDNS never answers.
type silentDNS struct{ *fakePolicy }

func (silentDNS) Reverse(ctx context.Context, _ netip.Addr) policy.IPRev {
	<-ctx.Done()
	return policy.IPRev{Value: "temperror", Reason: ctx.Err().Error()}
}

// DNS that does not answer holds a message up for a while only.
func TestReverseIsWaitedForBriefly(t *testing.T) {
	for role, want := range map[mail.Role]time.Duration{mail.RoleMX: reverseWait, mail.RoleRelay: reverseWaitRelay} {
		synctest.Test(t, func(t *testing.T) {
			c := &connection{service: &service{Services: Services{Policy: silentDNS{}}}, reverseDone: make(chan struct{})}
			c.peer.addr = netip.MustParseAddrPort("192.0.2.1:25")
			c.ctx, c.cancel = context.WithCancel(t.Context())
			defer c.end()
			c.lookUp()
			c.lookUp()
			start := time.Now()
			got := c.reverse(t.Context(), role)
			if took := time.Since(start); took != want || got.Value != "temperror" || got.Addr != c.peer.addr.Addr() {
				t.Errorf("%s: %v after %v, want to wait %v", role, got, took, want)
			}
		})
	}
}

func TestReverse(t *testing.T) {
	c := &connection{service: &service{Services: Services{Policy: &fakePolicy{ptr: "client.example"}}}, reverseDone: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(t.Context())
	defer c.end()
	c.lookUp()
	if got := c.reverse(t.Context(), mail.RoleMX); got.Name != "client.example" {
		t.Errorf("%+v", got)
	}
}
