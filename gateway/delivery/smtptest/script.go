// Package smtptest plays written dialogues of an SMTP server to clients under
// test, over real sockets on the loopback network.
//
// A dialogue is a text of lines:
//
//	S: 220 ready          the server says this line
//	C: EHLO gw.example    the client must say this line; "*" at its end stands for any rest
//	D:                    the client sends message data up to and with the final dot
//	T:                    TLS begins
//	W:                    the server waits until the client closes
//	X:                    the server closes
//
// What the server says is written when it next listens or closes, in one
// piece. When the dialogue ends, the server closes.
package smtptest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience is how long a server waits for a client before the test fails.
const Patience = 20 * time.Second

// Server plays one dialogue per connection, in order.
type Server struct {
	t         testing.TB
	listener  net.Listener
	config    *tls.Config
	dialogues []string
	running   sync.WaitGroup
	waiting   chan struct{}

	mu       sync.Mutex
	messages []string
	played   int
}

// New starts a server on address ("127.0.0.2:0"). At the end of the test it
// must have played every dialogue to its end.
func New(t testing.TB, address string, config *tls.Config, dialogues ...string) *Server {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatalf("listen on %s: %v", address, err)
	}
	s := &Server{t: t, listener: listener, config: config, dialogues: dialogues, waiting: make(chan struct{}, len(dialogues))}
	s.running.Go(s.accept)
	t.Cleanup(s.stop)
	return s
}

// Addr is where the server listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Waiting yields once for each dialogue that has come to its "W:" line.
func (s *Server) Waiting() <-chan struct{} { return s.waiting }

// Messages gives the data that arrived, with doubled dots and the final dot.
func (s *Server) Messages() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.messages...)
}

func (s *Server) stop() {
	s.listener.Close()
	s.running.Wait()
	if s.played < len(s.dialogues) {
		s.t.Errorf("server %s: %d of %d dialogues were played", s.Addr(), s.played, len(s.dialogues))
	}
}

func (s *Server) accept() {
	for i := 0; ; i++ {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		if i >= len(s.dialogues) {
			s.t.Errorf("server %s: connection %d was not expected", s.Addr(), i+1)
			conn.Close()
			continue
		}
		s.running.Go(func() {
			defer conn.Close()
			p := &player{s: s, raw: conn, conn: conn, in: bufio.NewReader(conn)}
			if err := p.play(s.dialogues[i]); err != nil {
				s.t.Errorf("server %s, connection %d: %v", s.Addr(), i+1, err)
			}
			s.mu.Lock()
			s.played++
			s.mu.Unlock()
		})
	}
}

// player is one connection.
type player struct {
	s         *Server
	raw, conn net.Conn
	in        *bufio.Reader
	out       bytes.Buffer
}

func (p *player) play(dialogue string) error {
	for i, line := range strings.Split(strings.TrimSpace(dialogue), "\n") {
		line = strings.TrimSpace(line)
		verb, text, _ := strings.Cut(line, ":")
		text = strings.TrimPrefix(text, " ")
		p.raw.SetDeadline(time.Now().Add(Patience))
		if err := p.act(verb, text); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("line %d (%s): %w", i+1, line, err)
		}
	}
	return p.flush()
}

func (p *player) act(verb, text string) error {
	switch verb {
	case "S":
		p.out.WriteString(text + "\r\n")
		return nil
	case "C":
		return p.expect(text)
	case "D":
		return p.data()
	case "T":
		return p.handshake()
	case "W":
		_ = p.flush() // the client may be gone already
		p.s.waiting <- struct{}{}
		_, _ = io.Copy(io.Discard, p.conn)
		return io.EOF
	case "X":
		_ = p.flush()
		return io.EOF
	case "":
		return nil
	}
	return fmt.Errorf("unknown verb %q", verb)
}

func (p *player) flush() error {
	_, err := p.conn.Write(p.out.Bytes())
	p.out.Reset()
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func (p *player) expect(want string) error {
	if p.in.Buffered() == 0 {
		if err := p.flush(); err != nil {
			return err
		}
	}
	got, err := p.in.ReadString('\n')
	if err != nil {
		return fmt.Errorf("the client did not say it: %v", err) // not io.EOF, which is an end
	}
	got = strings.TrimSuffix(got, "\r\n")
	prefix, wild := strings.CutSuffix(want, "*")
	if got != want && !(wild && strings.HasPrefix(got, prefix)) {
		return fmt.Errorf("the client said %q", got)
	}
	return nil
}

func (p *player) data() error {
	if err := p.flush(); err != nil {
		return err
	}
	var b strings.Builder
	for {
		line, err := p.in.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return fmt.Errorf("data ended after %d octets: %v", b.Len(), err)
		}
		if line == ".\r\n" {
			break
		}
	}
	p.s.mu.Lock()
	p.s.messages = append(p.s.messages, b.String())
	p.s.mu.Unlock()
	return nil
}

func (p *player) handshake() error {
	if err := p.flush(); err != nil {
		return err
	}
	server := tls.Server(p.raw, p.s.config)
	if err := server.Handshake(); err != nil {
		return io.EOF // the client's test says whether that was right
	}
	p.conn, p.in = server, bufio.NewReader(server)
	return nil
}
