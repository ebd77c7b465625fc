package dnsx

import (
	"context"
	"net/netip"
	"slices"
)

// maxReverseNames is how many names of one address are checked: RFC 7208
// section 4.6.4 sets the same bound for its ptr mechanism.
const maxReverseNames = 10

// ForwardConfirmed finds the names of an address and the first of them that
// leads back to it (the iprev method, RFC 8601 section 3). The name is empty
// when none does; the error is then Temporary if another try could change
// that, and an IsNotFound one if the address has no name at all.
func (r *Resolver) ForwardConfirmed(ctx context.Context, ip netip.Addr) (names []string, confirmed string, err error) {
	ip = ip.Unmap().WithZone("")
	answer, err := r.PTR(ctx, ip)
	if err != nil {
		return nil, "", err
	}
	names = answer.Records[:min(len(answer.Records), maxReverseNames)]
	var temporary error
	for _, name := range names {
		forward, err := r.sameFamily(ctx, ip, name)
		if err == nil && slices.Contains(forward.Records, ip) {
			return names, name, nil
		}
		if IsTemporary(err) {
			temporary = err
		}
	}
	return names, "", temporary
}

func (r *Resolver) sameFamily(ctx context.Context, ip netip.Addr, name string) (Answer[netip.Addr], error) {
	if ip.Is4() {
		return r.A(ctx, name)
	}
	return r.AAAA(ctx, name)
}
