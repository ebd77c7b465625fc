package policy

import (
	"context"
	"fmt"
	"net/netip"

	"gatepost/dnsx"
	"gatepost/mail"
)

// IPRev is the result of the reverse DNS check (RFC 8601 sections 2.7.3 and 3).
type IPRev struct {
	Value string     `json:"value"` // pass, fail, temperror, permerror; empty: not asked
	Addr  netip.Addr `json:"addr,omitzero"`
	// Name leads back to Addr; empty unless Value is pass.
	Name   string `json:"name,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Reverse makes the reverse DNS check of a client.
func (e *Engine) Reverse(ctx context.Context, addr netip.Addr) IPRev {
	if e.proofs.Reverse == nil || !addr.IsValid() {
		return IPRev{}
	}
	names, confirmed, err := e.proofs.Reverse.ForwardConfirmed(ctx, addr)
	out := IPRev{Addr: addr, Name: mail.SafeText(confirmed, 255)}
	switch {
	case confirmed != "":
		out.Value = "pass"
	case dnsx.IsTemporary(err):
		out.Value, out.Reason = "temperror", "DNS gives no answer now"
	case len(names) == 0:
		out.Value, out.Reason = "permerror", "no reverse DNS name"
	default:
		out.Value, out.Reason = "fail", mail.SafeText(fmt.Sprintf("%s does not lead back to the address", names[0]), 300)
	}
	return out
}
