package intake

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// What the accept loop waits after an error, such as no free file descriptor.
const (
	acceptPause    = 5 * time.Millisecond
	acceptMaxPause = time.Second
)

// socket is one bound address. It outlives the services behind it.
type socket struct {
	listener net.Listener
	logger   *slog.Logger
	counts   connections

	mu      sync.Mutex
	service *service
}

func newSocket(l net.Listener, logger *slog.Logger) *socket {
	return &socket{listener: l, logger: logger}
}

// swap puts another service behind the socket and gives the old one.
func (k *socket) swap(s *service) *service {
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.service
	k.service = s
	return old
}

func (k *socket) current() *service {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.service
}

// acquire gives the service for one more connection, which calls
// service.clients.Done; nil when there is none any more.
func (k *socket) acquire() *service {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.service != nil {
		k.service.clients.Add(1)
	}
	return k.service
}

func (k *socket) close() {
	if err := k.listener.Close(); err != nil {
		k.logger.Debug("close listening socket", "addr", k.listener.Addr().String(), "error", err)
	}
}

// accept takes connections until the socket is closed.
func (k *socket) accept(ctx context.Context) {
	pause := acceptPause
	for {
		nc, err := k.listener.Accept()
		if err == nil {
			pause = acceptPause
			k.admit(ctx, nc)
			continue
		}
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		k.logger.Error("accept a connection", "addr", k.listener.Addr().String(), "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		pause = min(2*pause, acceptMaxPause)
	}
}

// admit lets a connection in, if there is room.
func (k *socket) admit(ctx context.Context, nc net.Conn) {
	s := k.acquire()
	if s == nil {
		nc.Close()
		return
	}
	if !k.counts.enter(s.listener.Limits.Connections) {
		defer s.clients.Done()
		s.refuseConnection(nc, peer{addr: addrPort(nc.RemoteAddr())}, "too many connections")
		return
	}
	go func() {
		defer s.clients.Done()
		defer k.counts.leave()
		s.serve(ctx, nc, &k.counts)
	}()
}
