package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"gatepost/mail"
)

// ErrHandshake reports a TLS handshake that failed. The connection closes: a
// client that asked for TLS must not go on without (RFC 3207 section 4.1).
var ErrHandshake = errors.New("TLS handshake failed")

// startTLS answers STARTTLS (RFC 3207 section 4).
func (c *Conn) startTLS(arg []byte) error {
	k := c.link
	switch {
	case k.tls != nil:
		c.refuse(mail.ReplyBadSequence.WithText("TLS is active already"))
	case k.Mode == Off:
		c.refuse(mail.ReplyNotImplemented)
	case !hasCertificate(k.TLS):
		c.refuse(mail.ReplyTLSUnavailable)
	case len(arg) > 0:
		c.refuse(mail.ReplyArguments)
	case len(k.in.unread()) > 0:
		// Octets behind STARTTLS came in plaintext; whoever put them there wants
		// them taken for a part of the TLS session (CVE-2011-0411).
		c.violated(mail.ReplyStartTLSPipe)
	default:
		c.put(mail.Reply{Code: 220, Enhanced: mail.Enhanced{2, 0, 0}, Text: "Ready to start TLS"})
		if err := k.flush(); err != nil {
			return err
		}
		c.upgrade.Store(true)
		c.ending = true
	}
	return nil
}

// offersTLS tells whether STARTTLS would work now.
func (c *Conn) offersTLS() bool {
	k := c.link
	return k.tls == nil && k.Mode != Off && hasCertificate(k.TLS) && k.allows("STARTTLS")
}

func hasCertificate(config *tls.Config) bool {
	return config != nil &&
		(len(config.Certificates) > 0 || config.GetCertificate != nil || config.GetConfigForClient != nil)
}

// handshake puts TLS on the socket. It runs between two Conns.
func (k *link) handshake(ctx context.Context) error {
	if !hasCertificate(k.TLS) {
		return fmt.Errorf("%w: no certificate", ErrHandshake)
	}
	by := time.Now().Add(k.Handshake)
	if k.end.Before(by) {
		by = k.end
	}
	if err := k.nc.SetDeadline(by); err != nil {
		return fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	conn := tls.Server(k.nc, withoutTickets(k.TLS))
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tls = conn
	return nil
}

// withoutTickets switches session tickets off, whichever way the configuration
// is found: Exchange Online gives up on STARTTLS when it gets one.
func withoutTickets(config *tls.Config) *tls.Config {
	out := config.Clone()
	out.SessionTicketsDisabled = true
	if choose := config.GetConfigForClient; choose != nil {
		out.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(hello)
			if chosen == nil || err != nil {
				return nil, err
			}
			return withoutTickets(chosen), nil
		}
	}
	return out
}
