package wire

import (
	"errors"
	"io"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// errUnprepared ends a connection whose go-smtp server Prepare did not see.
var errUnprepared = errors.New("go-smtp server without wire.Prepare")

// Prepare sets up a go-smtp server to stand behind the wire. It switches off
// what the wire does itself: TLS, deadlines, line length. It allows AUTH
// without TLS as go-smtp sees it; the session offers mechanisms only where
// Conn.TLS says so. MaxMessageBytes stays with the caller: the same size as
// Settings.MessageSize, for SIZE.
//
// It also stands between go-smtp and the sessions, to break off a message. RSET
// would not do: go-smtp v0.25.1 does not wait for the Data call of the message
// that RSET ended, and may take its result for that of the next message.
// Instead the message is ended as if it were whole, its reader gives
// smtp.ErrDataReset in place of io.EOF, and go-smtp waits for Data to return.
func Prepare(server *smtp.Server) {
	server.TLSConfig = nil
	server.AllowInsecureAuth = true
	server.MaxLineLength = 0
	server.ReadTimeout = 0
	server.WriteTimeout = 0
	server.Backend = guardedBackend{server.Backend}
}

type guardedBackend struct{ smtp.Backend }

func (b guardedBackend) NewSession(c *smtp.Conn) (smtp.Session, error) {
	s, err := b.Backend.NewSession(c)
	conn, ok := c.Conn().(*Conn)
	if err != nil || !ok {
		return s, err
	}
	conn.said.Lock()
	defer conn.said.Unlock()
	conn.prepared = true
	guarded := guardedSession{s, conn}
	if auth, ok := s.(smtp.AuthSession); ok {
		return struct {
			guardedSession
			authenticator
		}{guarded, auth}, nil
	}
	return guarded, nil
}

// authenticator is what smtp.AuthSession adds to smtp.Session.
type authenticator interface {
	AuthMechanisms() []string
	Auth(mech string) (sasl.Server, error)
}

type guardedSession struct {
	smtp.Session
	conn *Conn
}

func (s guardedSession) Data(r io.Reader) error {
	s.conn.begun <- struct{}{}
	return s.Session.Data(guardedReader{r, s.conn})
}

// guardedReader does not end in io.EOF when the message was broken off.
type guardedReader struct {
	io.Reader
	conn *Conn
}

func (r guardedReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err == io.EOF && r.conn.isBroken() {
		err = smtp.ErrDataReset
	}
	return n, err
}

// awaitData waits until go-smtp has called Data. It looks for the session only
// in the goroutine it does that in, and panics when a client that left at once
// has ended the session before.
func (c *Conn) awaitData() {
	select {
	case <-c.begun:
	case <-c.done:
	}
}

func (c *Conn) isPrepared() bool {
	c.said.Lock()
	defer c.said.Unlock()
	return c.prepared
}

func (c *Conn) isBroken() bool {
	c.said.Lock()
	defer c.said.Unlock()
	return c.broken
}
