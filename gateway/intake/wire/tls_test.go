package wire_test

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"

	"gatepost/gateway/intake/wire"
	"gatepost/gateway/intake/wire/wiretest"
)

func TestSTARTTLSAnswers(t *testing.T) {
	for _, row := range []struct {
		name   string
		with   func(*wire.Settings)
		script string
	}{
		{"off", func(s *wire.Settings) { s.Mode = wire.Off }, "C: STARTTLS\nS: 502 5.5.1"},
		{"no certificate", func(s *wire.Settings) { s.TLS = nil }, "C: STARTTLS\nS: 454 4.7.0"},
		{"empty configuration", func(s *wire.Settings) { s.TLS = &tls.Config{} }, "C: STARTTLS\nS: 454 4.7.0"},
		{"argument", func(s *wire.Settings) {}, "C: STARTTLS now\nS: 501 5.5.4"},
		{"a longer word", func(s *wire.Settings) {}, "C: STARTTLSX\nS: 500"},
		{"data behind", func(s *wire.Settings) {}, "C+ STARTTLS\\r\\nEHLO evil\\r\\n\nS: 554 5.5.1\nS! "},
		{"pipelined with what is before", func(s *wire.Settings) {}, "C+ NOOP\\r\\nSTARTTLS\\r\\nX\nS: 250\nS: 554 5.5.1\nS! "},
		{"required", func(s *wire.Settings) { s.Mode = wire.Required }, "C: MAIL FROM:<a@x.test>\nS: 530 5.7.0\nC: AUTH PLAIN\nS: 530\nC: VRFY x\nS: 530\nC: BDAT 6 LAST\nC: QUIT\nS: 530\nC: NOOP\nS: 250\nC: STARTTLS\nS: 220"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := baseSettings()
			s.TLS = serverTLS()
			row.with(&s)
			c := newGateway(t, s).greeted()
			play(t, c, row.script)
		})
	}
}

// Nothing carries over: not the hello, not the transaction, not the greeting.
func TestSTARTTLSBeginsAnew(t *testing.T) {
	s := baseSettings()
	s.TLS, s.Mode = serverTLS(), wire.Required
	g := newGateway(t, s)
	c := g.greeted()
	if reply := expect(t, c, "EHLO x", "250"); !strings.Contains(reply, "STARTTLS") || strings.Contains(reply, "AUTH") {
		t.Errorf("before TLS: %q", reply)
	}
	must(t, c.StartTLS(clientTLS()))
	play(t, c, "C: MAIL FROM:<a@x.test>\nS: 503")
	if reply := expect(t, c, "EHLO x", "250"); strings.Contains(reply, "STARTTLS") || !strings.Contains(reply, "AUTH PLAIN") {
		t.Errorf("in TLS: %q", reply)
	}
	play(t, c, "C: STARTTLS\nS: 503\nC: AUTH PLAIN AHUAcA==\nS: 235"+transaction+"C: DATA\nS: 354\nC: .\nS: 250\nC: QUIT\nS: 221\nS! ")
	if _, ok := g.conns[0].TLS(); ok {
		t.Error("the Conn before STARTTLS claims TLS")
	}
	if state, ok := g.conns[1].TLS(); !ok || state.Version != tls.VersionTLS13 {
		t.Errorf("TLS state %v %v", state.Version, ok)
	}
	if err := <-g.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

// A message under way by BDAT does not outlive STARTTLS.
func TestSTARTTLSDropsTheMessage(t *testing.T) {
	s := baseSettings()
	s.TLS = serverTLS()
	g := newGateway(t, s)
	c := g.greeted()
	play(t, c, transaction+"C+ BDAT 2\\r\\nab\nS: 250")
	must(t, c.StartTLS(clientTLS()))
	play(t, c, "C: EHLO x\nS: 250\nC: BDAT 0 LAST\nS: 503\nC: QUIT\nS: 221")
	if len(g.got()) != 0 {
		t.Error("message accepted")
	}
}

func TestNoSessionTickets(t *testing.T) {
	direct := serverTLS()
	chosen := &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return direct, nil }}
	for _, config := range []*tls.Config{direct, chosen} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			s := baseSettings()
			s.TLS = config
			g := newGateway(t, s)
			cache := &ticketCache{ClientSessionCache: tls.NewLRUClientSessionCache(4)}
			c := g.greeted()
			must(t, c.StartTLS(&tls.Config{InsecureSkipVerify: true, ServerName: "gate.test", ClientSessionCache: cache, MaxVersion: version}))
			play(t, c, "C: EHLO x\nS: 250\nC: QUIT\nS: 221\nS! ")
			if cache.tickets != 0 {
				t.Errorf("%x: got %d session tickets", version, cache.tickets)
			}
		}
	}
	if direct.SessionTicketsDisabled {
		t.Error("the caller's configuration was changed")
	}
}

type ticketCache struct {
	tls.ClientSessionCache
	tickets int
}

func (c *ticketCache) Put(key string, state *tls.ClientSessionState) {
	if state != nil {
		c.tickets++
	}
	c.ClientSessionCache.Put(key, state)
}

// A failed handshake closes: no plaintext session goes on.
func TestFailedHandshakeCloses(t *testing.T) {
	s := baseSettings()
	s.TLS = serverTLS()
	g := newGateway(t, s)
	c := g.greeted()
	play(t, c, "C: STARTTLS\nS: 220\nC: EHLO still plaintext")
	for {
		reply, err := c.Reply() // an alert may come first
		if err != nil {
			break
		}
		if strings.HasPrefix(reply, "250") {
			t.Fatalf("plaintext goes on: %q", reply)
		}
	}
	if err := <-g.ended; !errors.Is(err, wire.ErrHandshake) {
		t.Errorf("ended with %v", err)
	}
}

func TestImplicitWithoutCertificate(t *testing.T) {
	s := baseSettings()
	s.Mode = wire.Implicit
	g := newGateway(t, s)
	wantClosed(t, g.dial())
	if err := <-g.ended; !errors.Is(err, wire.ErrHandshake) {
		t.Errorf("ended with %v", err)
	}
}

func TestHandshakeDeadline(t *testing.T) {
	config := serverTLS()
	synctest.Test(t, func(t *testing.T) {
		s := baseSettings()
		s.TLS, s.Mode = config, wire.Implicit
		g := newGateway(t, s)
		start := time.Now()
		g.pipe()
		if err := <-g.ended; !errors.Is(err, wire.ErrHandshake) || time.Since(start) != 30*time.Second {
			t.Errorf("ended with %v after %v", err, time.Since(start))
		}
	})
}

// pipe opens a connection over net.Pipe, for tests in a bubble of synctest.
func (g *gateway) pipe() *wiretest.Client {
	near, far := net.Pipe()
	g.serve(far)
	g.t.Cleanup(func() { near.Close() })
	c := wiretest.NewClient(near)
	c.Timeout = 24 * time.Hour
	return c
}

// A go-smtp server that Prepare has not seen gets no mail.
func TestUnpreparedServer(t *testing.T) {
	g := newGateway(t, baseSettings())
	l := wire.NewListener(&net.TCPAddr{})
	server := smtp.NewServer(&backend{})
	server.MaxLineLength = 0
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { l.Close(); <-done })
	g.listener = l
	c := g.dial()
	play(t, c, "S: 220\nC: EHLO x\nS: 451 4.3.0\nS! ")
	if err := <-g.ended; err == nil || !strings.Contains(err.Error(), "wire.Prepare") {
		t.Errorf("ended with %v", err)
	}
}
