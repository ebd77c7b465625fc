package wire

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/mail"
)

// Conn is the virtual connection that go-smtp reads from and writes to: one
// TLS state of one TCP connection. Sessions find it by
// smtpConn.Conn().(*wire.Conn).
type Conn struct {
	link    *link
	tls     *tls.Conn     // as it was when the Conn began
	done    chan struct{} // closed with the Conn
	once    sync.Once
	upgrade atomic.Bool // ended by STARTTLS: a handshake and another Conn follow
	closed  atomic.Bool

	// What follows is guarded by link.mu.
	line  []byte // go-smtp reads this next,
	chunk []byte // then this
	asked ask    // what line asked of go-smtp
	reply []byte // what go-smtp has answered to it so far

	verb     string  // of the client's command
	greeted  bool    // before STARTTLS: this greeting is swallowed
	authing  bool    // the next line belongs to an AUTH exchange
	resumed  []byte  // a line to take before others are read
	skipping bool    // the rest of the line was refused already
	ending   bool    // no more is read
	message  *filter // the message that go-smtp is receiving, or nil
	body     *body   // what the client is sending of it, or nil
	scratch  []byte

	said     sync.Mutex // guards what sessions say and ask from any goroutine
	refused  mail.Reply
	trace    string
	prepared bool          // Prepare is in place
	begun    chan struct{} // gets one for each call of Data
	broken   bool          // the message that go-smtp receives must not be accepted
}

func newConn(k *link, greeted bool) *Conn {
	return &Conn{link: k, tls: k.tls, done: make(chan struct{}), begun: make(chan struct{}, 1), greeted: greeted}
}

// TLS is the state of TLS, and whether there is TLS. The client's certificate
// is PeerCertificates[0] of it.
func (c *Conn) TLS() (tls.ConnectionState, bool) {
	if c.tls == nil {
		return tls.ConnectionState{}, false
	}
	return c.tls.ConnectionState(), true
}

// Value is Settings.Value.
func (c *Conn) Value() any { return c.link.Value }

// Shutdown makes the connection say 421 4.3.2 and close as soon as no message
// is coming in. It returns at once and may be called from anywhere; a STARTTLS
// in between does not lose it.
func (c *Conn) Shutdown() { c.link.shutdown() }

// Refused tells why the wire refused the message whose reader just ended in
// smtp.ErrDataReset; zero when the client broke off, by RSET or by leaving.
func (c *Conn) Refused() mail.Reply {
	c.said.Lock()
	defer c.said.Unlock()
	return c.refused
}

// SetTrace names the transaction in the wire's own refusals of its message.
// The session calls it at MAIL; it holds until the next call.
func (c *Conn) SetTrace(id string) {
	c.said.Lock()
	defer c.said.Unlock()
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

// SetDeadline does nothing: deadlines are those of Settings.
func (c *Conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (c *Conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// Read gives go-smtp a command line, or octets of a chunk. A chunk is in memory
// before its command is given, so that none can end early.
func (c *Conn) Read(b []byte) (int, error) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if len(c.line) == 0 && len(c.chunk) == 0 {
		if c.closed.Load() { // go-smtp reads on behind QUIT
			return 0, io.EOF
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	from := &c.line
	if len(c.line) == 0 {
		from = &c.chunk
	}
	n := copy(b, *from)
	*from = (*from)[n:]
	return n, nil
}

// next settles the reply to what go-smtp got last and finds what it gets now.
// The end is always io.EOF for go-smtp, which adds words of its own to others.
func (c *Conn) next() error {
	for {
		c.settle()
		if c.ending {
			return c.leave(nil)
		}
		step := c.command
		if c.body != nil {
			step = c.receive
		}
		if err := step(); err != nil {
			return c.leave(err)
		}
		if len(c.line) > 0 {
			return nil
		}
	}
}

// leave says why the connection ends, where the client may want to know.
func (c *Conn) leave(err error) error {
	k := c.link
	c.ending = true
	switch {
	case errors.Is(err, ErrShutdown):
		c.violatedBy(err, mail.ReplyShuttingDown)
	case errors.Is(err, ErrTimeout):
		c.violatedBy(err, mail.ReplyTimeout)
	case err == nil, errors.Is(err, io.EOF) && c.body == nil && c.message == nil:
	case k.err == nil:
		k.err = err
	}
	if err := k.flush(); err != nil && k.err == nil {
		k.err = err
	}
	return io.EOF
}

// Write takes replies of go-smtp. They wait until they are whole.
func (c *Conn) Write(b []byte) (int, error) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	c.reply = append(c.reply, b...)
	return len(b), nil
}

// Close sends what is held and ends the Conn. go-smtp calls it when it is done,
// or from elsewhere to cut the connection.
func (c *Conn) Close() error {
	c.once.Do(func() {
		defer close(c.done)
		c.closed.Store(true)
		k := c.link
		linger := false
		if k.mu.TryLock() { // else another goroutine is at work: cut it off
			c.lastWords()
			if err := k.flush(); err != nil && k.err == nil {
				k.err = err
			}
			linger = k.linger
			k.mu.Unlock()
		}
		if !c.upgrade.Load() {
			k.close(linger)
		}
	})
	return nil
}

var _ net.Conn = (*Conn)(nil)
