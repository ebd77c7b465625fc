package quickstart

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/emersion/go-smtp"
)

// nextHop is the built-in next hop: an SMTP server that accepts everything
// and keeps it in a Maildir.
type nextHop struct {
	server  *smtp.Server
	maildir string
	count   atomic.Int64
	done    chan error
}

func startNextHop(address, maildir string) (*nextHop, error) {
	for _, d := range []string{"tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(maildir, d), 0o700); err != nil {
			return nil, fmt.Errorf("make the Maildir of the built-in next hop: %w", err)
		}
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for the built-in next hop: %w", err)
	}
	h := &nextHop{maildir: maildir, done: make(chan error, 1)}
	h.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &hopSession{hop: h}, nil }))
	h.server.Domain = "mailbox.gatepost.test"
	h.server.EnableSMTPUTF8, h.server.EnableDSN = true, true
	h.server.MaxLineLength = 1 << 20
	go func() { h.done <- h.server.Serve(l) }()
	return h, nil
}

// Close stops the server and waits for it.
func (h *nextHop) Close() error {
	h.server.Close()
	if err := <-h.done; err != nil && !errors.Is(err, smtp.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// hopSession is one connection to the built-in next hop.
type hopSession struct {
	hop  *nextHop
	from string
}

// Mail implements smtp.Session.
func (s *hopSession) Mail(from string, _ *smtp.MailOptions) error { s.from = from; return nil }

// Rcpt implements smtp.Session.
func (s *hopSession) Rcpt(string, *smtp.RcptOptions) error { return nil }

// Data keeps the message: written under tmp, then moved to new.
func (s *hopSession) Data(r io.Reader) error {
	name := fmt.Sprintf("%d_%d.quickstart", os.Getpid(), s.hop.count.Add(1))
	tmp := filepath.Join(s.hop.maildir, "tmp", name)
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "Return-Path: <%s>\r\n", s.from)
	if err == nil {
		_, err = io.Copy(f, r)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(s.hop.maildir, "new", name))
}

// Reset implements smtp.Session.
func (s *hopSession) Reset() { s.from = "" }

// Logout implements smtp.Session.
func (s *hopSession) Logout() error { return nil }
