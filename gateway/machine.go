package gateway

import (
	"net"
	"net/netip"
)

// machineAddresses are the addresses of this machine's interfaces. Loopback
// is among them: mail to an MX at 127.0.0.1 would come back to us.
func machineAddresses() []netip.Addr {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
}
