package policy

import (
	"context"
	"fmt"
	"net/netip"

	"gatepost/auth/spf"
	"gatepost/mail"
)

// UpstreamRule is one entry of policy.upstreams: filters of ours that mail
// passes before it comes here.
type UpstreamRule struct {
	Addresses []string // of every trusted hop, prefixes too
	Hops      int      // the most Received fields that these hops write; 0 means 1
}

type upstream struct {
	addresses []netip.Prefix
	hops      int
}

// maxUpstreamHops bounds how far the walk goes.
const maxUpstreamHops = 10

// Upstream is the client that a trusted upstream recorded and that is judged
// in the place of the one that connected. It is zero where no upstream
// connected.
type Upstream struct {
	By   netip.Addr `json:"by,omitzero"`   // the upstream, which connected
	Addr netip.Addr `json:"addr,omitzero"` // the client it recorded
	Helo string     `json:"helo,omitempty"`
	Hops int        `json:"hops,omitempty"` // Received fields that were read
	// Reason says why no client was found. Then there is nobody whom SPF
	// could judge: its result is none, never pass.
	Reason string `json:"reason,omitempty"`
}

// Hidden tells whether the message came through an upstream and nobody knows
// from whom: the connection's address is a filter of ours, and tells nothing.
func (u Upstream) Hidden() bool { return u.By.IsValid() && !u.Addr.IsValid() }

// upstreamOf finds the client behind an upstream. The fields are read from
// the newest on, and only as long as a trusted hop wrote them: the first
// client that is not one of the trusted addresses is the one.
func (e *Engine) upstreamOf(s Session, h mail.Header) Upstream {
	if s.Role != mail.RoleMX {
		return Upstream{}
	}
	for _, u := range e.upstreams {
		if containsAddr(u.addresses, s.Addr) {
			return u.walk(s.Addr, h.All("Received"))
		}
	}
	return Upstream{}
}

func (u upstream) walk(by netip.Addr, fields []mail.Field) Upstream {
	found := Upstream{By: by.Unmap()}
	for found.Hops < u.hops {
		if found.Hops >= len(fields) {
			found.Addr, found.Helo = netip.Addr{}, ""
			found.Reason = fmt.Sprintf("upstream %s: there is no Received field of hop %d", found.By, found.Hops+1)
			return found
		}
		last, err := parseReceived(fields[found.Hops].Value())
		found.Hops++
		if err != nil {
			found.Reason = fmt.Sprintf("upstream %s: the Received field of hop %d cannot be read: %v", found.By, found.Hops, err)
			found.Addr, found.Helo = netip.Addr{}, ""
			return found
		}
		found.Addr, found.Helo = last.addr, last.helo
		if !containsAddr(u.addresses, last.addr) {
			break
		}
	}
	return found
}

// checkSPF checks the client that is judged.
func (e *Engine) checkSPF(ctx context.Context, q *inquiry, u Upstream) spf.Result {
	switch {
	case u.Reason != "":
		return spf.Result{Value: "none", Domain: q.env.From.Domain(), Identity: spf.MailFrom, Reason: u.Reason}
	case u.Addr.IsValid():
		return e.proofs.SPF.Check(ctx, u.Addr, u.Helo, q.env.From)
	}
	return e.proofs.SPF.Check(ctx, q.session.Addr, q.session.Helo, q.env.From)
}

// checkReverse looks up the name of the client that is judged.
func (e *Engine) checkReverse(ctx context.Context, s Session, u Upstream) IPRev {
	switch {
	case u.Reason != "":
		return IPRev{}
	case u.Addr.IsValid():
		return e.Reverse(ctx, u.Addr)
	case s.IPRev.Value != "":
		return s.IPRev
	}
	return e.Reverse(ctx, s.Addr)
}

func (p *problems) upstreams(list []UpstreamRule, exempt []netip.Prefix) []upstream {
	var out []upstream
	for i, r := range list {
		path := fmt.Sprintf("policy.upstreams[%d]", i)
		u := upstream{addresses: p.prefixes(path+".addresses", r.Addresses), hops: max(r.Hops, 1)}
		if len(r.Addresses) == 0 {
			p.add(path+".addresses", "an upstream is known by its addresses: list at least one")
		}
		if RelaysForEveryone(u.addresses) {
			p.add(path+".addresses", "these addresses together are the whole internet: anyone could claim to be any client")
		}
		if r.Hops < 0 || r.Hops > maxUpstreamHops {
			p.add(path+".hops", "expected 1 to %d", maxUpstreamHops)
		}
		for j, a := range u.addresses {
			for _, x := range exempt {
				if x.Overlaps(a) {
					p.add(fmt.Sprintf("%s.addresses[%d]", path, j), "%s of policy.exempt holds it too: its mail would never be judged", x)
				}
			}
		}
		out = append(out, u)
	}
	return out
}
