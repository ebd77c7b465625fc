package integration

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// dialogue is a raw SMTP connection: what is sent is sent as it is.
type dialogue struct {
	conn net.Conn
	r    *bufio.Reader
}

// dialWait bounds every step of a dialogue.
const dialWait = 20 * time.Second

func dialTCP(address string) (net.Conn, error) { return net.DialTimeout("tcp", address, dialWait) }

// dial connects and reads the banner.
func dial(address string) (*dialogue, error) {
	c, err := dialTCP(address)
	if err != nil {
		return nil, err
	}
	return greeted(c)
}

func newDialogue(c net.Conn) *dialogue { return &dialogue{c, bufio.NewReader(c)} }

// greeted reads the banner of a new connection.
func greeted(c net.Conn) (*dialogue, error) {
	d := newDialogue(c)
	if code, text, err := d.reply(); err != nil || code != 220 {
		c.Close()
		return nil, fmt.Errorf("banner: %d %s %v", code, text, err)
	}
	return d, nil
}

// mustDial is dial for tests that need the connection.
func mustDial(t testing.TB, address string) *dialogue {
	t.Helper()
	d, err := dial(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.conn.Close() })
	return d
}

// reply reads one reply, all its lines.
func (d *dialogue) reply() (code int, text string, err error) {
	d.conn.SetReadDeadline(time.Now().Add(dialWait))
	var lines []string
	for {
		line, err := d.r.ReadString('\n')
		if err != nil {
			return 0, strings.Join(lines, "\n"), err
		}
		line = strings.TrimRight(line, "\r\n")
		if len(line) < 3 {
			return 0, line, fmt.Errorf("reply %q", line)
		}
		lines = append(lines, line)
		if len(line) == 3 || line[3] == ' ' {
			code, err = strconv.Atoi(line[:3])
			return code, strings.Join(lines, "\n"), err
		}
	}
}

// send writes octets as they are.
func (d *dialogue) send(s string) error {
	d.conn.SetWriteDeadline(time.Now().Add(dialWait))
	_, err := d.conn.Write([]byte(s))
	return err
}

// cmd sends a line and reads the reply.
func (d *dialogue) cmd(line string) (code int, text string, err error) {
	if err := d.send(line + "\r\n"); err != nil {
		return 0, "", err
	}
	return d.reply()
}

// expect is cmd for a code that must come.
func (d *dialogue) expect(t testing.TB, code int, line string) string {
	t.Helper()
	got, text, err := d.cmd(line)
	if err != nil || got != code {
		t.Fatalf("%.100q: got %q, %v; want %d", line, text, err, code)
	}
	return text
}

// startTLS goes on encrypted; certificates are not verified, for they are made in the test.
func (d *dialogue) startTLS() error {
	code, text, err := d.cmd("STARTTLS")
	if err != nil || code != 220 {
		return fmt.Errorf("STARTTLS: %s %v", text, err)
	}
	c := tls.Client(d.conn, &tls.Config{InsecureSkipVerify: true})
	d.conn.SetDeadline(time.Now().Add(dialWait))
	if err := c.Handshake(); err != nil {
		return err
	}
	d.conn, d.r = c, bufio.NewReader(c)
	return nil
}

// deliver sends one message in a session of its own and gives the reply to
// the final dot, or the first reply that refused.
func deliver(address, helo, from string, to []string, data string) (code int, text string, err error) {
	d, err := dial(address)
	if err != nil {
		return 0, "", err
	}
	defer d.conn.Close()
	if code, text, err = d.cmd("EHLO " + helo); err != nil || code != 250 {
		return code, text, err
	}
	return d.transaction(from, to, data)
}

// transaction sends one message on an open session.
func (d *dialogue) transaction(from string, to []string, data string) (code int, text string, err error) {
	if code, text, err = d.cmd("MAIL FROM:<" + from + ">"); err != nil || code != 250 {
		return code, text, err
	}
	for _, r := range to {
		if code, text, err = d.cmd("RCPT TO:<" + r + ">"); err != nil || code != 250 {
			return code, text, err
		}
	}
	if code, text, err = d.cmd("DATA"); err != nil || code != 354 {
		return code, text, err
	}
	data = strings.ReplaceAll(strings.ReplaceAll(data, "\r\n", "\n"), "\n", "\r\n")
	data = strings.ReplaceAll("\r\n"+data, "\r\n.", "\r\n..")[2:]
	if !strings.HasSuffix(data, "\r\n") {
		data += "\r\n"
	}
	return d.cmd(data + ".")
}

// queuedID is the id in "250 2.0.0 Ok: queued as ID".
func queuedID(t testing.TB, reply string) string {
	t.Helper()
	i := strings.LastIndex(reply, "queued as ")
	if i < 0 {
		t.Fatalf("no queue id in %q", reply)
	}
	return strings.Trim(reply[i+len("queued as "):], " \r\n.")
}

// letter is a small message.
func letter(from, to, subject, body string) string {
	return "From: " + from + "\r\nTo: " + to + "\r\nSubject: " + subject + "\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n" +
		"Message-ID: <" + strings.ReplaceAll(subject, " ", ".") + "@test>\r\n\r\n" + body + "\r\n"
}
