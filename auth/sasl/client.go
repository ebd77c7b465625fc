package sasl

import (
	"fmt"

	"github.com/emersion/go-sasl"
)

// NewClient begins one exchange with a server that wants to know who we are.
func NewClient(mechanism, user, password string) (sasl.Client, error) {
	switch mechanism {
	case Plain:
		return sasl.NewPlainClient("", user, password), nil
	case Login:
		return &loginClient{answers: []string{user, password}}, nil
	}
	return nil, fmt.Errorf("%w %q", ErrMechanism, mechanism)
}

// loginClient answers two challenges, however a server words them: Exchange
// says "Username:", others "User Name" with a NUL behind it.
type loginClient struct{ answers []string }

// Start gives no initial response: not every server takes one with LOGIN.
func (c *loginClient) Start() (mechanism string, initial []byte, err error) {
	return Login, nil, nil
}

// Next answers the first challenge with the user, the second with the password.
func (c *loginClient) Next([]byte) ([]byte, error) {
	if len(c.answers) == 0 {
		return nil, fmt.Errorf("LOGIN: %w", sasl.ErrUnexpectedServerChallenge)
	}
	answer := c.answers[0]
	c.answers = c.answers[1:]
	return []byte(answer), nil
}
