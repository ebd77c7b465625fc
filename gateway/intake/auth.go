package intake

import (
	"errors"
	"slices"

	gosasl "github.com/emersion/go-sasl"

	"gatepost/auth/sasl"
	"gatepost/mail"
)

// failureFactor times auth_failures is what one client may fail in an hour.
const failureFactor = 10

// AuthMechanisms is what EHLO offers (RFC 4954 section 3): nothing outside of
// TLS. go-smtp asks at EHLO and not at HELO.
func (s *session) AuthMechanisms() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.extended = true
	if !s.secure || s.user != "" || !s.offersAuth() {
		return nil
	}
	return s.listener.Mechanisms
}

// offersAuth tells whether a client of this listener can authenticate at all.
func (s *session) offersAuth() bool {
	return s.Authenticator != nil && len(s.listener.Mechanisms) > 0 && !s.peer.anonymous
}

// Auth begins an exchange (RFC 4954 section 4).
func (s *session) Auth(mechanism string) (gosasl.Server, error) {
	if reply := s.mayAuth(mechanism); !reply.IsZero() {
		return nil, s.refuse(Refusal{Stage: StageAuth, Reply: reply})
	}
	x := &exchange{session: s, mechanism: mechanism}
	server, err := sasl.NewServer(mechanism, x.check)
	if err != nil {
		return nil, s.refuse(Refusal{Stage: StageAuth, Reply: mail.ReplyAuthMechanism, Err: err})
	}
	x.server = server
	return x, nil
}

func (s *session) mayAuth(mechanism string) mail.Reply {
	s.mu.Lock()
	busy, user := s.tx != nil, s.user
	s.mu.Unlock()
	switch {
	case user != "" || busy: // RFC 4954 section 4
		return mail.ReplyBadSequence
	case !s.offersAuth():
		return mail.ReplyNotImplemented
	case !s.secure:
		return mail.ReplyAuthEncrypt
	case !slices.Contains(s.listener.Mechanisms, mechanism):
		return mail.ReplyAuthMechanism
	case !s.mayTryAuth():
		return mail.ReplyAuthTooMany
	}
	return mail.Reply{}
}

// exchange is one AUTH command with its challenges.
type exchange struct {
	session   *session
	server    gosasl.Server
	mechanism string
	user      string
}

// check asks the authenticator.
func (x *exchange) check(user, password string) error {
	x.user = user
	return x.session.Authenticator.Verify(x.session.ctx, user, password)
}

// Next takes one response; its errors are replies.
func (x *exchange) Next(response []byte) ([]byte, bool, error) {
	challenge, done, err := x.server.Next(response)
	switch {
	case err != nil:
		return nil, false, x.failed(err)
	case done:
		x.succeeded()
	}
	return challenge, done, nil
}

func (x *exchange) succeeded() {
	s := x.session
	s.mu.Lock()
	s.user = x.user
	s.mu.Unlock()
	facts := s.learn(func(f *Session) { f.User, f.Role = x.user, s.role(x.user) })
	s.Observer.Authenticated(facts, x.mechanism, x.user, nil)
}

func (x *exchange) failed(err error) error {
	s := x.session
	reply := mail.ReplyAuthTemporary
	switch {
	case errors.Is(err, sasl.ErrSyntax):
		reply = mail.ReplyArguments
		s.authFailed()
	case errors.Is(err, sasl.ErrCredentials), errors.Is(err, sasl.ErrIdentity):
		reply = mail.ReplyAuthFailed
		s.authFailed()
	}
	user := mail.SafeText(x.user, 255)
	s.Observer.Authenticated(s.snapshot(), x.mechanism, user, err)
	return s.refuse(Refusal{Stage: StageAuth, Reply: reply, Err: err})
}
