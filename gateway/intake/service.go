package intake

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/emersion/go-smtp"

	"gatepost/gateway/intake/wire"
	"gatepost/mail"
)

// service is one listener with one generation of settings: what a connection
// began with, it keeps until it ends.
type service struct {
	Services
	scrubber
	listener   Listener
	hostname   string
	postmaster mail.Address
	trusted    []netip.Prefix
	tls        *tls.Config
	space      *spoolSpace

	authFailuresOf *failures
	messages       *messages
	// accepting is the context of the queue's work: it ends when intake is
	// stopped by force, not when a client goes away.
	accepting context.Context
	draining  context.Context

	wire    *wire.Listener
	server  *smtp.Server
	serving sync.WaitGroup // go-smtp's accept loop
	clients sync.WaitGroup // connections
}

// newService begins to serve; stop must be called.
func (i *Intake) newService(o Options, l Listener, addr net.Addr) *service {
	s := &service{
		Services:       o.Services,
		scrubber:       newScrubber(o.AuthservID, o.Hostname, o.StripInbound),
		listener:       l,
		hostname:       o.Hostname,
		postmaster:     o.Postmaster,
		trusted:        prefixes(l.ProxyTrusted),
		tls:            tlsConfig(l, o.Certificates, o.ClientCA),
		space:          i.space,
		authFailuresOf: i.authFailures,
		messages:       newMessages(),
		accepting:      i.ctx,
		draining:       i.draining,
		wire:           wire.NewListener(addr),
	}
	s.server = smtp.NewServer(smtp.BackendFunc(s.NewSession))
	s.server.Domain = o.Hostname
	s.server.MaxMessageBytes = l.Limits.MessageSize
	s.server.EnableSMTPUTF8 = true
	s.server.EnableDSN = true
	s.server.ErrorLog = slog.NewLogLogger(o.Logger.With("listener", l.Name).Handler(), slog.LevelError)
	wire.Prepare(s.server)
	i.live.Lock()
	i.services[s] = struct{}{}
	i.live.Unlock()
	s.serving.Go(func() {
		if err := s.server.Serve(s.wire); err != nil {
			s.Logger.Debug("SMTP server ended", "listener", l.Name, "error", err)
		}
	})
	return s
}

// stop ends what newService began, when no connection is left or will come.
func (s *service) stop() {
	s.clients.Wait()
	// go-smtp closes what its Serve has been told of: where that has not begun
	// yet, it would accept for ever.
	if err := s.wire.Close(); err != nil {
		s.Logger.Debug("wire closed", "listener", s.listener.Name, "error", err)
	}
	if err := s.server.Shutdown(s.accepting); err != nil {
		s.Logger.Debug("SMTP server closed", "listener", s.listener.Name, "error", err)
	}
	s.serving.Wait()
	s.messages.close()
}

// serve runs one connection until it ends.
func (s *service) serve(ctx context.Context, nc net.Conn, counts *connections) {
	stop := context.AfterFunc(s.draining, func() { nc.Close() })
	identified, p, err := identify(nc, s.trusted)
	stop()
	if err != nil {
		if !errors.Is(err, errProbe) {
			s.turnedAway(p, mail.Reply{}, err)
		}
		nc.Close()
		return
	}
	c := s.newConnection(ctx, p)
	defer c.end()
	if !p.anonymous {
		if !counts.enterClient(c.prefix, s.listener.Limits.ConnectionsPerClient) {
			s.refuseConnection(nc, p, "too many connections of this client")
			return
		}
		defer counts.leaveClient(c.prefix)
	}
	s.Observer.SessionStarted(c.snapshot())
	err = s.wire.Serve(c.ctx, identified, s.wireSettings(c))
	facts := c.snapshot()
	if isHandshake(err) {
		s.Observer.Handshake(facts, err)
	}
	s.Observer.SessionEnded(facts, s.Now().Sub(c.started), err)
}

// wireSettings is what the wire needs for this connection.
func (s *service) wireSettings(c *connection) wire.Settings {
	l := s.listener
	w := wire.Settings{
		Hostname: s.hostname, TLS: s.tls, Mode: wire.Mode(l.TLS.Mode),
		DataNewline: wire.Newline(l.BareNewline.Data), BDATNewline: wire.Newline(l.BareNewline.BDAT),
		MessageSize: l.Limits.MessageSize, Command: l.Limits.CommandTimeout, Data: l.Limits.DataTimeout,
		Session: l.Limits.SessionTimeout, Chunking: !l.NoChunking, JunkCommands: l.Limits.JunkCommands, Postmaster: s.postmaster,
		Peer: c.peer.addr, Local: c.peer.local, OnError: c.fault, Value: c,
	}
	if s.tls == nil && w.Mode == wire.Optional {
		w.Mode = wire.Off
	}
	if c.peer.anonymous {
		w.RestrictTo = []string{"EHLO", "HELO", "NOOP", "QUIT"}
	}
	return w
}
