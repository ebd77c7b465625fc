package wiretest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"
)

// Client is an SMTP client that sends what it is told, octet for octet.
type Client struct {
	Conn    net.Conn
	Timeout time.Duration // of one write and of one line of a reply
	r       *bufio.Reader
}

// NewClient speaks over nc. It does not wait for the greeting.
func NewClient(nc net.Conn) *Client {
	return &Client{Conn: nc, Timeout: 20 * time.Second, r: bufio.NewReader(nc)}
}

// Send writes octets as they are.
func (c *Client) Send(octets string) error {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.Timeout)); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	if _, err := c.Conn.Write([]byte(octets)); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// Reply reads one reply, its lines joined by LF without CR.
func (c *Client) Reply() (string, error) {
	var lines []string
	if err := c.Conn.SetReadDeadline(time.Now().Add(c.Timeout)); err != nil {
		return "", fmt.Errorf("set deadline: %w", err)
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return strings.Join(append(lines, line), "\n"), fmt.Errorf("read reply: %w", err)
		}
		if !strings.HasSuffix(line, "\r\n") {
			return "", fmt.Errorf("reply line without CRLF: %q", line)
		}
		lines = append(lines, strings.TrimSuffix(line, "\r\n"))
		if len(line) < 6 || line[3] != '-' {
			return strings.Join(lines, "\n"), nil
		}
	}
}

// Do sends a command and reads its reply.
func (c *Client) Do(command string) (string, error) {
	if err := c.Send(command + "\r\n"); err != nil {
		return "", err
	}
	return c.Reply()
}

// Expect sends a command and wants a reply that begins with prefix.
func (c *Client) Expect(command, prefix string) (string, error) {
	reply, err := c.Do(command)
	if err == nil && !strings.HasPrefix(reply, prefix) {
		err = fmt.Errorf("%s: got %q, want %q", command, reply, prefix)
	}
	return reply, err
}

// StartTLS goes on in TLS.
func (c *Client) StartTLS(config *tls.Config) error {
	if _, err := c.Expect("STARTTLS", "220"); err != nil {
		return err
	}
	conn := tls.Client(c.Conn, config)
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	c.Conn, c.r = conn, bufio.NewReader(conn)
	return nil
}

// Message sends one message in form, from and to being mailboxes, and gives the
// reply to it. It finds out whether the server is still in step: VRFY must be
// the next command it sees.
func (c *Client) Message(form Form, from, to, sent string) (string, error) {
	if _, err := c.Expect("MAIL FROM:<"+from+"> BODY=8BITMIME", "250"); err != nil {
		return "", err
	}
	if _, err := c.Expect("RCPT TO:<"+to+">", "250"); err != nil {
		return "", err
	}
	if form == DATA {
		if _, err := c.Expect("DATA", "354"); err != nil {
			return "", err
		}
		return c.answered(sent)
	}
	return c.answered(fmt.Sprintf("BDAT %d LAST\r\n%s", len(sent), sent))
}

func (c *Client) answered(octets string) (string, error) {
	errs := make(chan error, 1)
	go func() { errs <- c.Send(octets + "VRFY step\r\n") }()
	reply, err := c.Reply()
	if sendErr := <-errs; err == nil {
		err = sendErr
	}
	if err != nil {
		return reply, err
	}
	step, err := c.Reply()
	if err == nil && !strings.HasPrefix(step, "252") {
		err = fmt.Errorf("out of step behind %q: %q", reply, step)
	}
	return reply, err
}
