package intake

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxyTimeout is how long a balancer may take for its header; the protocol
// wants it in the first packet.
const proxyTimeout = 10 * time.Second

var (
	errNoProxyHeader = errors.New("no PROXY header from a trusted source")
	errProxyHeader   = errors.New("PROXY header from a source that is not trusted")
	// errProbe: a balancer looks whether the port is open.
	errProbe = errors.New("a trusted source said nothing")
)

// peer is who stands at the other end.
type peer struct {
	addr  netip.AddrPort // of the client; of the balancer where anonymous
	local netip.AddrPort // where the client connected to
	proxy netip.AddrPort // of the balancer; invalid without one
	// anonymous: the balancer speaks for itself (LOCAL) or does not know the
	// client (UNKNOWN). No mail is taken: the balancer is never a client.
	anonymous bool
}

// mayRelay tells whether the address can be a relay client's. A connection
// that the balancer's own host made has the balancer's address.
func (p peer) mayRelay() bool {
	return !p.anonymous && p.addr.Addr() != p.proxy.Addr()
}

// identify finds out who is connected. On a listener behind a balancer a
// trusted source must begin with a PROXY header, any other must not send one.
func identify(nc net.Conn, trusted []netip.Prefix) (net.Conn, peer, error) {
	socket := peer{addr: addrPort(nc.RemoteAddr()), local: addrPort(nc.LocalAddr())}
	if len(trusted) == 0 {
		return nc, socket, nil
	}
	for _, p := range trusted {
		if p.Contains(socket.addr.Addr()) {
			return readProxy(nc, socket)
		}
	}
	return &unproxied{Conn: nc}, socket, nil
}

// readProxy reads the header of a trusted source.
func readProxy(nc net.Conn, socket peer) (net.Conn, peer, error) {
	heard := &hearing{Conn: nc}
	pc := proxyproto.NewConn(heard, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(proxyTimeout))
	h := pc.ProxyHeader()
	switch {
	case h == nil && !heard.anything:
		return nil, socket, errProbe
	case h == nil:
		return nil, socket, errNoProxyHeader
	}
	p := peer{addr: socket.addr, local: socket.local, proxy: socket.addr}
	source, ok := h.SourceAddr.(*net.TCPAddr)
	if !h.Command.IsProxy() || !ok || !addrPort(source).IsValid() {
		p.anonymous = true
		return pc, p, nil
	}
	p.addr = addrPort(source)
	if local := addrPort(h.DestinationAddr); local.IsValid() {
		p.local = local
	}
	return pc, p, nil
}

// addrPort gives the address of a socket, IPv4-mapped forms as IPv4.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// hearing knows whether the other end ever said anything.
type hearing struct {
	net.Conn
	anything bool
}

// Read implements io.Reader.
func (c *hearing) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.anything = c.anything || n > 0
	return n, err
}

// unproxied fails where the client begins with a PROXY header.
type unproxied struct {
	net.Conn
	seen []byte
	over bool // it did not
}

// Read looks at the first octets until they cannot be a header any more.
func (c *unproxied) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.over {
		return n, err
	}
	c.seen = append(c.seen, p[:min(n, len(proxyproto.SIGV2))]...)
	if bytes.HasPrefix(c.seen, []byte("PROXY ")) || bytes.HasPrefix(c.seen, proxyproto.SIGV2) {
		return 0, fmt.Errorf("%w: %v", errProxyHeader, c.RemoteAddr())
	}
	c.over = len(c.seen) >= len(proxyproto.SIGV2)
	if c.over {
		c.seen = nil
	}
	return n, err
}
