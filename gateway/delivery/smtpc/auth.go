package smtpc

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/emersion/go-sasl"

	"gatepost/mail"
)

// maxAuthSteps is more than any mechanism needs.
const maxAuthSteps = 8

// Authenticate logs in (RFC 4954). The caller sees to it that the connection
// is encrypted.
func (c *Conn) Authenticate(ctx context.Context, client sasl.Client) error {
	defer c.begin(ctx)()
	mechanism, initial, err := client.Start()
	if err != nil {
		return c.fail(StageAuth, fmt.Errorf("begin AUTH: %w", err))
	}
	line := "AUTH " + mechanism
	if initial != nil {
		line += " " + encodeInitial(initial)
	}
	reply, err := c.command(StageAuth, c.options.Timeouts.Hello, line)
	for step := 0; err == nil && reply.Code == 334; step++ {
		if step == maxAuthSteps {
			return c.fail(StageAuth, fmt.Errorf("%w: endless AUTH", ErrReply))
		}
		reply, err = c.answer(client)
	}
	if err == nil && reply.Code/100 != 2 {
		return &Error{Stage: StageAuth, Reply: reply}
	}
	return err
}

// answer responds to one challenge.
func (c *Conn) answer(client sasl.Client) (mail.Reply, error) {
	challenge, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(c.replies.lines)))
	if err != nil {
		return mail.Reply{}, c.fail(StageAuth, fmt.Errorf("%w: challenge is not base64", ErrReply))
	}
	response, err := client.Next(challenge)
	if err != nil {
		return mail.Reply{}, c.fail(StageAuth, fmt.Errorf("answer AUTH challenge: %w", err))
	}
	return c.command(StageAuth, c.options.Timeouts.Hello, base64.StdEncoding.EncodeToString(response))
}

// encodeInitial writes an initial response; "=" is an empty one (RFC 4954
// section 4).
func encodeInitial(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}
