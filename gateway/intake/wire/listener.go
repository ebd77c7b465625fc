package wire

import (
	"context"
	"net"
	"sync"
)

// Listener hands virtual connections to go-smtp. One go-smtp server goes with
// one Listener: go server.Serve(listener).
type Listener struct {
	accept chan *Conn
	closed chan struct{}
	addr   net.Addr
	blocks blocks

	mu       sync.Mutex
	links    map[*link]struct{}
	shutdown bool
}

// NewListener makes a Listener; addr is what Addr says.
func NewListener(addr net.Addr) *Listener {
	return &Listener{
		accept: make(chan *Conn),
		closed: make(chan struct{}),
		addr:   addr,
		links:  make(map[*link]struct{}),
	}
}

// Accept waits for the next virtual connection, a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. Connections being served go on, but none can begin.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

// Addr is the address that NewListener was told.
func (l *Listener) Addr() net.Addr { return l.addr }

// Serve runs one TCP connection until it ends, and closes it. When ctx ends
// the connection is cut. The error tells why it ended, unless the client left.
func (l *Listener) Serve(ctx context.Context, nc net.Conn, s Settings) error {
	k := newLink(nc, s.withDefaults(), &l.blocks)
	defer k.cut()
	if !l.add(k) {
		return net.ErrClosed
	}
	defer l.remove(k)
	stop := context.AfterFunc(ctx, k.cut)
	defer stop()

	if k.Mode == Implicit {
		if err := k.handshake(ctx); err != nil {
			return err
		}
	}
	for greeted := false; ; greeted = true {
		c := newConn(k, greeted)
		select {
		case l.accept <- c:
		case <-l.closed:
			return net.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
		<-c.done
		if !c.upgrade.Load() {
			return k.reason()
		}
		if err := k.handshake(ctx); err != nil {
			return err
		}
	}
}

// Shutdown makes every connection say 421 4.3.2 and close as soon as no
// message is coming in on it.
func (l *Listener) Shutdown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shutdown = true
	for k := range l.links {
		k.shutdown()
	}
}

func (l *Listener) add(k *link) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return false
	default:
	}
	if l.shutdown {
		k.shutdown()
	}
	l.links[k] = struct{}{}
	return true
}

func (l *Listener) remove(k *link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.links, k)
}

var _ net.Listener = (*Listener)(nil)
