package intake

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is one connection of a dialogue.
type client struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
	last []string // lines of the last reply
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, conn: conn, r: bufio.NewReader(conn)}
}

func (c *client) write(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, s); err != nil {
		c.t.Fatalf("write %.60q: %v", s, err)
	}
}

// reply reads one whole reply and gives its last line.
func (c *client) reply() string {
	c.t.Helper()
	c.last = nil
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("read a reply: %v (so far %q)", err, c.last)
		}
		line = strings.TrimRight(line, "\r\n")
		c.last = append(c.last, line)
		if len(line) < 4 || line[3] != '-' {
			return line
		}
	}
}

// say sends a line and wants a reply.
func (c *client) say(line, want string) string {
	c.t.Helper()
	c.write(line + "\r\n")
	return c.want(want)
}

func (c *client) want(want string) string {
	c.t.Helper()
	got := c.reply()
	if !strings.HasPrefix(got, want) {
		c.t.Fatalf("got %q, want %q", got, want)
	}
	return got
}

// closed wants the end of the connection.
func (c *client) closed() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err == nil {
		rest, _ := c.r.ReadString('\n')
		c.t.Fatalf("connection is open and says %q", string(b)+rest)
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatal("connection is open")
	}
}

func (c *client) startTLS() {
	c.t.Helper()
	tc := tls.Client(c.conn, &tls.Config{ServerName: "mx.test", InsecureSkipVerify: true})
	if err := tc.Handshake(); err != nil {
		c.t.Fatalf("handshake: %v", err)
	}
	c.conn, c.r = tc, bufio.NewReader(tc)
}

// TestDialogues plays testdata/dialogues. In a file, lines "key: value" before
// the first "---" set the scene; then
//
//	C: line        the client sends line and CRLF
//	R: "a\r\n"     the client sends these octets
//	%90            the client sends 90 times "x"
//	S: 250 2.0.0   the server's whole reply ends in a line that begins so
//	S+ text        that reply has a line with this text
//	S- text        and none with this
//	T:             handshake of the client
//	X:             the server closes the connection
//	@2             the lines that follow are of connection 2
//	M: text        the last accepted message holds this text (\r\n for line ends)
//	M! text        and not this
//	N: 2           so many messages were accepted
//	O: text        the observer heard a line with this text
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/dialogues/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogues: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			playAll(t, string(b))
		})
	}
}

// playAll plays the scenes of a file, which "=== name" separates.
func playAll(t *testing.T, text string) {
	for i, scene := range strings.Split(text, "\n=== ")[1:] {
		name, rest, _ := strings.Cut(scene, "\n")
		t.Run(fmt.Sprintf("%02d-%s", i+1, strings.ReplaceAll(name, " ", "-")), func(t *testing.T) {
			head, body, ok := strings.Cut("\n"+rest, "\n---\n")
			if !ok {
				t.Fatal("no --- line")
			}
			play(t, setScene(t, head).start(t), body)
		})
	}
}

func setScene(t *testing.T, head string) *rig {
	t.Helper()
	r := newRig(t, Listener{})
	l := &r.options.Listeners[0]
	for _, line := range strings.Split(head, "\n") {
		key, value, ok := strings.Cut(line, ": ")
		if !ok {
			continue
		}
		number, _ := strconv.Atoi(value)
		switch key {
		case "role":
			l.Role = value
		case "tls":
			l.TLS.Mode = value
		case "mechanisms":
			l.Mechanisms = strings.Fields(value)
		case "newline":
			l.BareNewline = BareNewline{value, value}
		case "proxy":
			l.ProxyTrusted = strings.Fields(value)
		case "relay":
			l.RelayClients = []string{"printers"}
			r.policy.clients["printers"] = []netip.Prefix{netip.MustParsePrefix(value)}
		case "ptr":
			r.policy.ptr = value
		case "accept":
			r.acceptor.fail = value
		case "message_size":
			l.Limits.MessageSize = int64(number)
		case "header_size":
			l.Limits.HeaderSize = int64(number)
		case "recipients":
			l.Limits.RecipientsPerMessage = number
		case "connections":
			l.Limits.Connections = number
		case "per_client":
			l.Limits.ConnectionsPerClient = number
		case "errors":
			l.Limits.ErrorsPerSession = number
		case "junk":
			l.Limits.JunkCommands = number
		case "auth_failures":
			l.Limits.AuthFailures = number
		case "hops":
			l.Limits.ReceivedHops = number
		case "command_timeout":
			l.Limits.CommandTimeout = time.Duration(number) * time.Millisecond
		default:
			t.Fatalf("unknown key %q", key)
		}
	}
	return r
}

func play(t *testing.T, r *rig, body string) {
	clients := map[string]*client{}
	who := "1"
	addr := r.addr()
	for n, line := range strings.Split(body, "\n") {
		if strings.HasPrefix(line, "@") {
			who = line[1:]
			continue
		}
		if line == "" || line[0] == '#' {
			continue
		}
		if len(line) < 2 {
			t.Fatalf("line %d: %q", n+1, line)
		}
		c := clients[who]
		if c == nil && strings.Contains("CRSTX%", line[:1]) {
			c = dial(t, addr)
			clients[who] = c
		}
		if line[0] == '%' {
			n, _ := strconv.Atoi(line[1:])
			c.write(strings.Repeat("x", n))
			continue
		}
		arg := strings.TrimPrefix(line[2:], " ")
		if problem := step(c, r, line[:2], arg); problem != "" {
			t.Fatalf("line %d: %s: %s", n+1, line, problem)
		}
	}
}

func step(c *client, r *rig, op, arg string) string {
	messages := r.acceptor.all()
	switch op {
	case "C:":
		c.write(arg + "\r\n")
	case "R:":
		raw, err := strconv.Unquote(arg)
		if err != nil {
			return err.Error()
		}
		c.write(raw)
	case "S:":
		if got := c.reply(); !strings.HasPrefix(got, arg) {
			return fmt.Sprintf("got %q", got)
		}
	case "S+", "S-":
		if has := slices.ContainsFunc(c.last, func(s string) bool { return strings.Contains(s, arg) }); has != (op == "S+") {
			return fmt.Sprintf("reply %q", c.last)
		}
	case "T:":
		c.startTLS()
	case "X:":
		c.closed()
	case "M:", "M!":
		want := strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\t`, "\t").Replace(arg)
		if len(messages) == 0 {
			return "no message was accepted"
		}
		last := messages[len(messages)-1]
		text := fmt.Sprintf("from=%s hold=%q role=%s user=%s client=%s vouched=%s confirmed=%t utf8=%t ret=%s envid=%q body=%s",
			last.Envelope.From.Path(), last.hold, last.Origin.Role, last.Origin.User, last.Origin.Client, last.Origin.From,
			last.Origin.Confirmed, last.Envelope.UTF8, last.Envelope.Return, last.Envelope.EnvID, last.Envelope.Body)
		for _, rcpt := range last.Envelope.Recipients {
			text += fmt.Sprintf("\nto=%s notify=%d orcpt=%s;%q", rcpt.Address.Path(), rcpt.Notify, rcpt.OriginalType, rcpt.Original)
		}
		text += "\n\n" + last.final
		if strings.Contains(text, want) != (op == "M:") {
			return fmt.Sprintf("message:\n%s", text)
		}
	case "N:":
		if fmt.Sprint(len(messages)) != arg {
			return fmt.Sprintf("%d messages", len(messages))
		}
	case "O:":
		// What ends a message may be told a moment after the reply.
		for end := time.Now().Add(10 * time.Second); !strings.Contains(r.observer.text(), arg); runtime.Gosched() {
			if time.Now().After(end) {
				return "observer heard:\n" + r.observer.text()
			}
		}
	default:
		return "unknown operation"
	}
	return ""
}
