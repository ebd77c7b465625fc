package spf

import (
	"context"
	"net/netip"

	"gatepost/dnsx"
)

var clientAddress = netip.MustParseAddr("192.0.2.1")

// nowhere is a resolver that finds nothing.
type nowhere struct{ Resolver }

func (nowhere) PTR(context.Context, netip.Addr) (dnsx.Answer[string], error) {
	return dnsx.Answer[string]{}, &dnsx.Error{Kind: dnsx.NXDomain}
}
