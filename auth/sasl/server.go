package sasl

import (
	"errors"
	"fmt"

	"github.com/emersion/go-sasl"
)

// The mechanisms of this package.
const (
	Plain = sasl.Plain
	Login = sasl.Login
)

// Credentials in octets: RFC 4616 section 2 leaves 255 to each; passwords of
// applications are longer at times.
const (
	maxUser     = 255
	maxPassword = 1024
)

var (
	// ErrMechanism reports a mechanism that is not one of this package.
	ErrMechanism = errors.New("unknown SASL mechanism")
	// ErrSyntax reports a response that the mechanism does not allow.
	ErrSyntax = errors.New("malformed SASL response")
	// ErrIdentity reports a client that wants to act as somebody else.
	ErrIdentity = errors.New("authorization identity differs from the user")
)

// Check tells with nil that password is the user's.
type Check func(user, password string) error

// Mechanisms lists what NewServer and NewClient know.
func Mechanisms() []string { return []string{Plain, Login} }

// NewServer begins one exchange of a client that wants to prove who it is.
func NewServer(mechanism string, check Check) (sasl.Server, error) {
	switch mechanism {
	case Plain:
		return &plainServer{check: check}, nil
	case Login:
		return &loginServer{check: check}, nil
	}
	return nil, fmt.Errorf("%w %q", ErrMechanism, mechanism)
}

// plainServer is PLAIN by go-sasl, with our limits and errors.
type plainServer struct {
	check Check
	inner sasl.Server
	err   error
}

// Next takes one response (RFC 4616 section 2).
func (s *plainServer) Next(response []byte) ([]byte, bool, error) {
	if s.inner == nil {
		s.inner = sasl.NewPlainServer(s.authenticate)
	}
	challenge, done, err := s.inner.Next(response)
	switch {
	case s.err != nil:
		return nil, false, s.err
	case err != nil:
		return nil, false, fmt.Errorf("%w: PLAIN", ErrSyntax)
	}
	return challenge, done, nil
}

func (s *plainServer) authenticate(identity, user, password string) error {
	if identity != "" && identity != user {
		s.err = ErrIdentity
	} else {
		s.err = checkLimits(user, password, s.check)
	}
	return s.err
}

// loginServer is LOGIN: user name and password are asked for one by one. A
// client may send the user name as initial response.
type loginServer struct {
	check    Check
	asked    bool
	gotUser  bool
	finished bool
	user     string
}

// Next takes one response, or nil where AUTH came without one.
func (s *loginServer) Next(response []byte) ([]byte, bool, error) {
	switch {
	case s.finished:
		return nil, false, fmt.Errorf("%w: LOGIN is over", ErrSyntax)
	case response == nil && !s.asked:
		s.asked = true
		return []byte("Username:"), false, nil
	case !s.gotUser:
		s.gotUser, s.user = true, string(response)
		if len(s.user) > maxUser {
			return nil, false, fmt.Errorf("%w: user name of %d octets", ErrSyntax, len(s.user))
		}
		return []byte("Password:"), false, nil
	}
	s.finished = true
	if err := checkLimits(s.user, string(response), s.check); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}

func checkLimits(user, password string, check Check) error {
	if user == "" || len(user) > maxUser || len(password) > maxPassword {
		return fmt.Errorf("%w: user name of %d, password of %d octets", ErrSyntax, len(user), len(password))
	}
	return check(user, password)
}
