package wire

import (
	"context"
	"crypto/tls"
	"net"
)

// link is one TCP connection, with or without TLS on it.
type link struct {
	Settings
	nc  net.Conn  // the socket
	tls *tls.Conn // on top of it, or nil
}

func newLink(nc net.Conn, s Settings) *link { return &link{Settings: s, nc: nc} }

func (k *link) close()                              { k.nc.Close() }
func (k *link) cut()                                { k.nc.Close() }
func (k *link) shutdown()                           {}
func (k *link) reason() error                       { return nil }
func (k *link) handshake(ctx context.Context) error { return nil }
func (k *link) tlsState() (tls.ConnectionState, bool) {
	if k.tls == nil {
		return tls.ConnectionState{}, false
	}
	return k.tls.ConnectionState(), true
}
