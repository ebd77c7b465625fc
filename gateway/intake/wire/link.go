package wire

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// What Serve returns, wrapped, besides ErrHandshake.
var (
	ErrTimeout  = errors.New("client too slow")
	ErrShutdown = errors.New("shutting down")
	ErrViolated = errors.New("client broke the protocol")
)

const (
	lingerTime   = time.Second // for a client to read our last words before the socket closes
	lingerOctets = 256 << 10
	holdReplies  = 16 << 10 // replies are sent when there are so many octets of them
)

// link is one TCP connection, with or without TLS on it. It outlives the Conns
// that go-smtp sees.
type link struct {
	Settings
	nc  net.Conn  // the socket
	tls *tls.Conn // on top of it, or nil
	end time.Time // of the session

	// mu guards what follows. Conn.Read holds it, except while it waits for
	// the client; a Conn.Close from elsewhere only tries it.
	mu     sync.Mutex
	in     input
	out    []byte // replies that were not sent yet
	err    error  // why the connection ended
	linger bool   // our last words must reach the client
	junk   int    // commands since the last message that moved no mail

	wait    sync.Mutex // guards what follows, never held for long
	idle    bool       // waiting for a command, may be told to leave
	leaving bool
}

func newLink(nc net.Conn, s Settings, b *blocks) *link {
	k := &link{Settings: s, nc: nc, end: time.Now().Add(s.Session)}
	k.in.blocks = b
	k.in.small = make([]byte, smallBuffer)
	k.in.data = k.in.small
	return k
}

// stream is where plaintext comes from and goes to.
func (k *link) stream() net.Conn {
	if k.tls != nil {
		return k.tls
	}
	return k.nc
}

// fill waits for octets of the client until by, sending what is held first. An
// idle wait can be ended by shutdown.
func (k *link) fill(by time.Time, idle bool) error {
	if err := k.flush(); err != nil {
		return err
	}
	if k.end.Before(by) {
		by = k.end
	}
	if err := k.startWait(by, idle); err != nil {
		return err
	}
	room, stream := k.in.room(), k.stream()
	k.mu.Unlock()
	n, err := stream.Read(room)
	k.mu.Lock()
	leave := k.endWait()
	k.in.w += n
	switch {
	case n > 0:
		return nil // an error will come again
	case leave:
		return ErrShutdown
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return err
}

func (k *link) startWait(by time.Time, idle bool) error {
	k.wait.Lock()
	defer k.wait.Unlock()
	if idle && k.leaving {
		return ErrShutdown
	}
	k.idle = idle
	if err := k.nc.SetReadDeadline(by); err != nil {
		return fmt.Errorf("set read deadline: %w", err)
	}
	return nil
}

// endWait tells whether an idle wait was ended by shutdown.
func (k *link) endWait() bool {
	k.wait.Lock()
	defer k.wait.Unlock()
	leave := k.idle && k.leaving
	k.idle = false
	return leave
}

// shutdown ends an idle wait, now or as soon as there is one.
func (k *link) shutdown() {
	k.wait.Lock()
	defer k.wait.Unlock()
	k.leaving = true
	if k.idle {
		_ = k.nc.SetReadDeadline(time.Unix(1, 0)) // the wait ends by itself when this fails
	}
}

func (k *link) mustLeave() bool {
	k.wait.Lock()
	defer k.wait.Unlock()
	return k.leaving
}

// flush sends the replies that are held.
func (k *link) flush() error {
	if len(k.out) == 0 {
		return nil
	}
	now := time.Now()
	by := now.Add(k.Command)
	if k.end.Before(by) { // so that its last replies go out: 421, and 250 before it
		by = later(k.end, now).Add(lingerTime)
	}
	if err := k.nc.SetWriteDeadline(by); err != nil {
		return fmt.Errorf("set write deadline: %w", err)
	}
	_, err := k.stream().Write(k.out)
	k.out = k.out[:0]
	if err != nil {
		return fmt.Errorf("send replies: %w", err)
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// cut ends the connection without a word.
func (k *link) cut() { _ = k.nc.Close() }

// close ends the connection. Where our last words matter it lets the client
// read them: closing a socket with unread octets would reset it (RFC 1122
// section 4.2.2.13).
func (k *link) close(linger bool) {
	if linger {
		k.drain()
	}
	_ = k.stream().Close()
}

func (k *link) drain() {
	half, ok := k.nc.(interface{ CloseWrite() error })
	if !ok {
		return
	}
	if k.tls != nil {
		_ = k.tls.CloseWrite()
	}
	if half.CloseWrite() != nil || k.nc.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(k.nc, lingerOctets))
}

// reason is why the connection ended; nil when the client left between commands.
func (k *link) reason() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}
