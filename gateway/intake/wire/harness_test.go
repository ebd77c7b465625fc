package wire_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"

	"gatepost/gateway/intake/wire"
	"gatepost/gateway/intake/wire/wiretest"
	"gatepost/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// message is what the backend got.
type message struct {
	from    string
	to      []string
	content string
}

// backend keeps messages. Its hooks may be nil.
type backend struct {
	mu       sync.Mutex
	messages []message
	cut      []mail.Reply // Conn.Refused of messages that did not end
	conns    []*wire.Conn
	atData   func(c *wire.Conn, r io.Reader) error // before the message is read
}

func (b *backend) NewSession(c *smtp.Conn) (smtp.Session, error) {
	conn := c.Conn().(*wire.Conn)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns = append(b.conns, conn)
	return &session{backend: b, conn: conn}, nil
}

func (b *backend) got() []message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]message(nil), b.messages...)
}

func (b *backend) refusals() []mail.Reply {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]mail.Reply(nil), b.cut...)
}

type session struct {
	backend *backend
	conn    *wire.Conn
	mu      sync.Mutex
	now     message
}

func (s *session) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = message{}
}
func (s *session) Logout() error { return nil }
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.from != "" {
		return &smtp.SMTPError{Code: 503, EnhancedCode: smtp.EnhancedCode{5, 5, 1}, Message: "Nested MAIL"}
	}
	s.now = message{from: from}
	s.conn.SetTrace("t" + from)
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if to == "closing@x.test" {
		return &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Enough"}
	}
	s.now.to = append(s.now.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	s.mu.Lock()
	m := s.now
	s.mu.Unlock()
	if s.backend.atData != nil {
		if err := s.backend.atData(s.conn, r); err != nil {
			return err
		}
	}
	content, err := io.ReadAll(r)
	s.backend.mu.Lock()
	defer s.backend.mu.Unlock()
	if err != nil {
		s.backend.cut = append(s.backend.cut, s.conn.Refused())
		return err
	}
	m.content = string(content)
	s.backend.messages = append(s.backend.messages, m)
	return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "Ok: queued as 1"}
}

func (s *session) AuthMechanisms() []string {
	if _, ok := s.conn.TLS(); !ok {
		return nil
	}
	return []string{"PLAIN"}
}

func (s *session) Auth(mech string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "u" || password != "p" {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "Authentication failed"}
		}
		return nil
	}), nil
}

// gateway is a wire with go-smtp behind it.
type gateway struct {
	*backend
	t        testing.TB
	listener *wire.Listener
	settings wire.Settings
	ctx      context.Context
	ended    chan error // what Serve returned, one for each connection
}

func baseSettings() wire.Settings {
	return wire.Settings{Hostname: "gate.test", Chunking: true, Mode: wire.Optional}
}

func newGateway(t testing.TB, s wire.Settings) *gateway {
	t.Helper()
	g := &gateway{backend: &backend{}, t: t, settings: s, ended: make(chan error, 100)}
	g.listener = wire.NewListener(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25})
	server := smtp.NewServer(g.backend)
	wire.Prepare(server)
	server.Domain = s.Hostname
	server.MaxMessageBytes = s.MessageSize
	server.EnableSMTPUTF8 = true
	var wg sync.WaitGroup
	listener := g.listener
	wg.Go(func() { _ = server.Serve(listener) })
	ctx, cancel := context.WithCancel(context.Background())
	g.ctx = ctx
	t.Cleanup(func() {
		cancel()
		listener.Close()
		wg.Wait()
		_ = server.Shutdown(context.Background())
	})
	return g
}

// serve runs the server's end of a connection.
func (g *gateway) serve(nc net.Conn) {
	var wg sync.WaitGroup
	wg.Go(func() { g.ended <- g.listener.Serve(g.ctx, nc, g.settings) })
	g.t.Cleanup(wg.Wait)
}

// dial opens a connection over loopback TCP.
func (g *gateway) dial() *wiretest.Client {
	g.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(g.t, err)
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	must(g.t, err)
	far, err := l.Accept()
	must(g.t, err)
	g.serve(far)
	g.t.Cleanup(func() { near.Close() })
	return wiretest.NewClient(near)
}

// greeted opens a connection and says EHLO.
func (g *gateway) greeted() *wiretest.Client {
	g.t.Helper()
	c := g.dial()
	reply, err := c.Reply()
	must(g.t, err)
	if reply != "220 gate.test ESMTP Service Ready" {
		g.t.Fatalf("greeting %q", reply)
	}
	expect(g.t, c, "EHLO client.test", "250")
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func expect(t testing.TB, c *wiretest.Client, command, prefix string) string {
	t.Helper()
	reply, err := c.Expect(command, prefix)
	must(t, err)
	return reply
}

// wantReply reads a reply that must begin with prefix.
func wantReply(t testing.TB, c *wiretest.Client, prefix string) string {
	t.Helper()
	reply, err := c.Reply()
	must(t, err)
	if len(reply) < len(prefix) || reply[:len(prefix)] != prefix {
		t.Fatalf("got %q, want %q", reply, prefix)
	}
	return reply
}

// wantClosed wants the server to have closed in good order: what it said last
// could be read whatever the client was sending (no reset).
func wantClosed(t testing.TB, c *wiretest.Client) {
	t.Helper()
	if reply, err := c.Reply(); !errors.Is(err, io.EOF) || reply != "" {
		t.Fatalf("want the end, got %q (%v)", reply, err)
	}
}

var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"gate.test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func serverTLS() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{certificate()}} }
func clientTLS() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }
