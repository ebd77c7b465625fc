package smtpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"strconv"
	"strings"

	"gatepost/mail"
)

// Extensions is what the server offers in its reply to EHLO.
type Extensions struct {
	Pipelining   bool
	EightBitMIME bool
	SMTPUTF8     bool
	DSN          bool
	StartTLS     bool
	Size         bool
	MaxSize      int64    // 0: no limit told
	Auth         []string // mechanisms in upper case
}

// Extensions gives what the server offers.
func (c *Conn) Extensions() Extensions { return c.ext }

// Host is what the server calls itself in its reply to EHLO.
func (c *Conn) Host() string { return c.host }

// Greeting waits for the server's first word (RFC 5321 section 3.1).
func (c *Conn) Greeting(ctx context.Context) error {
	defer c.begin(ctx)()
	reply, err := c.reply(StageGreeting, c.options.Timeouts.Greeting)
	if err == nil && reply.Code/100 != 2 {
		return &Error{Stage: StageGreeting, Reply: reply}
	}
	return err
}

// Hello says who we are and learns what the server offers. A server that does
// not know EHLO is greeted with HELO (RFC 5321 section 3.2).
func (c *Conn) Hello(ctx context.Context) error {
	defer c.begin(ctx)()
	c.ext, c.host = Extensions{}, ""
	verb := "EHLO "
	if c.options.LMTP {
		verb = "LHLO " // RFC 2033 section 4.1
	}
	reply, err := c.command(StageHello, c.options.Timeouts.Hello, verb+c.options.Name)
	if err != nil {
		return err
	}
	if reply.Code/100 == 2 {
		c.ext = parseExtensions(c.replies.lines)
		first, _, _ := bytes.Cut(c.replies.lines, []byte("\n"))
		host, _, _ := strings.Cut(string(first), " ")
		c.host = mail.SafeText(host, maxReplyText)
		return nil
	}
	if reply.Code/100 == 5 && !c.options.LMTP {
		reply, err = c.command(StageHello, c.options.Timeouts.Hello, "HELO "+c.options.Name)
	}
	if err == nil && reply.Code/100 != 2 {
		return &Error{Stage: StageHello, Reply: reply}
	}
	return err
}

// parseExtensions reads the lines behind the first (RFC 5321 section 4.1.1.1).
func parseExtensions(lines []byte) Extensions {
	var e Extensions
	_, rest, _ := bytes.Cut(lines, []byte("\n"))
	for line := range bytes.SplitSeq(rest, []byte("\n")) {
		words := strings.Fields(strings.ToUpper(string(line)))
		if len(words) == 0 {
			continue
		}
		switch keyword, params := words[0], words[1:]; keyword {
		case "PIPELINING":
			e.Pipelining = true
		case "8BITMIME":
			e.EightBitMIME = true
		case "SMTPUTF8":
			e.SMTPUTF8 = true
		case "DSN":
			e.DSN = true
		case "STARTTLS":
			e.StartTLS = true
		case "SIZE":
			e.Size = true
			e.MaxSize = parseSize(params)
		case "AUTH":
			e.Auth = append(e.Auth, params...)
		default: // "AUTH=LOGIN PLAIN" of servers older than RFC 2554
			if first, ok := strings.CutPrefix(keyword, "AUTH="); ok {
				e.Auth = append(append(e.Auth, first), params...)
			}
		}
	}
	return e
}

// parseSize reads the limit of SIZE; none and 0 mean no limit (RFC 1870 section 4).
func parseSize(params []string) int64 {
	if len(params) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(params[0], 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// StartTLS encrypts the connection (RFC 3207). Hello must follow. An *Error
// with a Reply says that the server refused and the session is still plain.
func (c *Conn) StartTLS(ctx context.Context, config *tls.Config) error {
	end := c.begin(ctx)
	reply, err := c.command(StageStartTLS, c.options.Timeouts.Hello, "STARTTLS")
	end()
	switch {
	case err != nil:
		return err
	case reply.Code != 220:
		return &Error{Stage: StageStartTLS, Reply: reply}
	case c.replies.in.Buffered() > 0:
		return c.fail(StageTLS, ErrInjected)
	}
	return c.Handshake(ctx, config)
}

// Handshake encrypts the connection before the greeting (RFC 8314 section 3.3)
// or behind STARTTLS. What the server offered before is forgotten.
func (c *Conn) Handshake(ctx context.Context, config *tls.Config) error {
	defer c.begin(ctx)()
	c.arm(c.options.Timeouts.TLS)
	client := tls.Client(c.raw, config)
	if err := client.Handshake(); err != nil {
		return c.fail(StageTLS, c.cause(err))
	}
	c.stream, c.replies = client, newReplyReader(client)
	c.ext, c.tls = Extensions{}, describeTLS(client.ConnectionState())
	return nil
}
