package wire

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"gatepost/mail"
)

// Conn is the virtual connection that go-smtp reads from and writes to: one
// TLS state of one TCP connection. Sessions find it by
// smtpConn.Conn().(*wire.Conn).
type Conn struct {
	link *link
	done chan struct{} // closed with the Conn
	once sync.Once

	upgrade bool // ended by STARTTLS: a handshake and another Conn follow

	mu      sync.Mutex
	refused mail.Reply
	trace   string
}

func newConn(k *link, greeted bool) *Conn {
	return &Conn{link: k, done: make(chan struct{})}
}

// TLS is the state of TLS, and whether there is TLS. The client's certificate
// is PeerCertificates[0] of it.
func (c *Conn) TLS() (tls.ConnectionState, bool) { return c.link.tlsState() }

// Value is Settings.Value.
func (c *Conn) Value() any { return c.link.Value }

// Shutdown makes the connection say 421 4.3.2 and close as soon as no message
// is coming in. It returns at once and may be called from anywhere; a STARTTLS
// in between does not lose it.
func (c *Conn) Shutdown() { c.link.shutdown() }

// Refused tells why the wire refused the message whose reader just ended in
// smtp.ErrDataReset; zero when the client broke off, by RSET or by leaving.
func (c *Conn) Refused() mail.Reply {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused
}

// SetTrace names the transaction in the wire's own refusals of its message.
// The session calls it at MAIL; it holds until the next call.
func (c *Conn) SetTrace(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trace = id
}

// RemoteAddr is Settings.Peer, or the far end of the socket.
func (c *Conn) RemoteAddr() net.Addr { return addrOr(c.link.Peer, c.link.nc.RemoteAddr()) }

// LocalAddr is Settings.Local, or the near end of the socket.
func (c *Conn) LocalAddr() net.Addr { return addrOr(c.link.Local, c.link.nc.LocalAddr()) }

func addrOr(ap netip.AddrPort, other net.Addr) net.Addr {
	if ap.IsValid() {
		return net.TCPAddrFromAddrPort(ap)
	}
	return other
}

// SetDeadline, SetReadDeadline and SetWriteDeadline do nothing: deadlines are
// those of Settings.
func (c *Conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (c *Conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// Read gives go-smtp a command line or a part of a chunk.
func (c *Conn) Read(b []byte) (int, error) { return 0, io.EOF }

// Write takes replies of go-smtp.
func (c *Conn) Write(b []byte) (int, error) { return len(b), nil }

// Close sends what is held and ends the Conn.
func (c *Conn) Close() error {
	c.once.Do(func() { close(c.done) })
	return nil
}

var _ net.Conn = (*Conn)(nil)
