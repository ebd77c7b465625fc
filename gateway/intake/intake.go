package intake

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"gatepost/gateway/intake/wire"
	"gatepost/mail"
)

// Intake owns the listening sockets and every connection.
type Intake struct {
	options      Options
	space        *spoolSpace
	authFailures *failures

	mu      sync.Mutex // guards sockets, and one Start, Reload or Shutdown at a time
	sockets map[string]*socket
	stopped bool

	// ctx ends when intake is stopped by force. It is kept because sessions are
	// called by go-smtp, which has no context to pass.
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup // accept loops and services
	// draining ends when a polite shutdown begins.
	draining context.Context
	drain    context.CancelFunc

	live     sync.Mutex
	services map[*service]struct{} // also those whose settings are out of date
}

// New checks the options; what is wrong are *FieldError, joined.
func New(o Options) (*Intake, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &Intake{
		options:      o,
		space:        newSpoolSpace(o.SpoolDir, o.SpoolMemory),
		authFailures: newFailures(o.Now),
		sockets:      map[string]*socket{},
		services:     map[*service]struct{}{},
	}, nil
}

// Start binds all addresses, or none, and begins to serve. ctx ending cuts
// every connection; Shutdown is the polite way. Shutdown must be called.
func (i *Intake) Start(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ctx, i.cancel = context.WithCancel(ctx)
	i.draining, i.drain = context.WithCancel(i.ctx)
	return i.apply(i.options)
}

// Reload takes other options into use: new sessions get them, running ones
// keep theirs. Addresses that stay keep their socket. When it fails, nothing
// has changed. Counters of clients are kept; SpoolDir and SpoolMemory too.
func (i *Intake) Reload(o Options) error {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stopped || i.ctx == nil {
		return errors.New("intake is not running")
	}
	return i.apply(o)
}

// apply opens what is new, then switches over.
func (i *Intake) apply(o Options) error {
	fresh, err := i.open(o)
	if err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, l := range o.Listeners {
		keep[l.Address] = true
		k := fresh[l.Address]
		if k == nil {
			k = i.sockets[l.Address]
		}
		i.retire(k.swap(i.newService(o, l, k.listener.Addr())))
	}
	for address, k := range fresh {
		i.sockets[address] = k
		i.work.Go(func() { k.accept(i.ctx) })
	}
	for address, k := range i.sockets {
		if !keep[address] {
			delete(i.sockets, address)
			k.close()
			i.retire(k.swap(nil))
		}
	}
	i.options = o
	return nil
}

// open binds the addresses that are not bound yet, all or none.
func (i *Intake) open(o Options) (map[string]*socket, error) {
	fresh := map[string]*socket{}
	var errs []error
	for n, l := range o.Listeners {
		if i.sockets[l.Address] != nil {
			continue
		}
		var config net.ListenConfig
		listener, err := config.Listen(i.ctx, "tcp", l.Address)
		if err != nil {
			errs = append(errs, fieldError(fmt.Sprintf("listeners[%d].address", n), "%v", err))
			continue
		}
		fresh[l.Address] = newSocket(listener, o.Logger)
	}
	if len(errs) == 0 {
		return fresh, nil
	}
	for _, k := range fresh {
		k.close()
	}
	return nil, errors.Join(errs...)
}

// retire lets the connections of a service end by themselves.
func (i *Intake) retire(s *service) {
	if s == nil {
		return
	}
	i.work.Go(func() {
		s.stop()
		i.live.Lock()
		defer i.live.Unlock()
		delete(i.services, s)
	})
}

// sayGoodbye tells all clients that are between messages to come again.
func (i *Intake) sayGoodbye() {
	i.drain()
	i.live.Lock()
	defer i.live.Unlock()
	for s := range i.services {
		s.wire.Shutdown()
	}
}

// Addrs are the addresses that are bound, by the name of the listener.
func (i *Intake) Addrs() map[string]net.Addr {
	i.mu.Lock()
	defer i.mu.Unlock()
	out := map[string]net.Addr{}
	for _, k := range i.sockets {
		out[k.current().listener.Name] = k.listener.Addr()
	}
	return out
}

// Shutdown stops accepting, tells idle clients 421 and waits for messages
// that come in. When ctx ends the rest is cut. It returns when nothing of
// intake runs any more.
func (i *Intake) Shutdown(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ctx == nil {
		return nil
	}
	i.stopped = true
	for address, k := range i.sockets {
		delete(i.sockets, address)
		k.close()
		i.retire(k.swap(nil))
	}
	i.sayGoodbye()
	done := make(chan struct{})
	go func() {
		defer close(done)
		i.work.Wait()
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("connections were cut: %w", ctx.Err())
	}
	i.cancel()
	<-done
	return err
}

// refuseConnection says 421 before the banner (RFC 5321 section 3.1). It
// never blocks: what does not fit into the socket's buffer is lost.
func (s *service) refuseConnection(nc net.Conn, p peer, reason string) {
	defer nc.Close()
	s.turnedAway(p, mail.ReplyTooManyConnections, errors.New(reason))
	if s.listener.TLS.Mode == TLSImplicit {
		return // it would not be understood
	}
	_ = nc.SetWriteDeadline(time.Now().Add(time.Second)) // the client may be gone
	_, _ = fmt.Fprintf(nc, "%s\r\n", mail.ReplyTooManyConnections)
}

// turnedAway tells the observer of a connection that got no banner.
func (s *service) turnedAway(p peer, reply mail.Reply, err error) {
	s.Observer.Refused(Refusal{At: s.Now(), Stage: StageConnect, Reply: reply, Err: err, Session: Session{
		Listener: s.listener.Name, Addr: p.addr.Addr(), Port: p.addr.Port(), Proxy: p.proxy, Started: s.Now()}})
}

func isHandshake(err error) bool { return errors.Is(err, wire.ErrHandshake) }
