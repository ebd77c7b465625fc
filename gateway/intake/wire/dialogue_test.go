package wire_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"gatepost/gateway/intake/wire"
	"gatepost/gateway/intake/wire/wiretest"
	"gatepost/mail"
)

// play runs a dialogue. "C:" is a line of the client, "C+" octets without CRLF
// (both with Go escapes), "S:" how the next reply begins, "S!" the end.
func play(t *testing.T, c *wiretest.Client, script string) {
	t.Helper()
	if script == "" {
		return
	}
	for i, line := range strings.Split(strings.TrimSpace(script), "\n") {
		mark, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		octets, err := strconv.Unquote(`"` + strings.ReplaceAll(rest, `"`, `\"`) + `"`)
		must(t, err)
		switch mark {
		case "C:":
			err = c.Send(octets + "\r\n")
		case "C+":
			err = c.Send(octets)
		case "S:":
			var reply string
			if reply, err = c.Reply(); err == nil && !strings.HasPrefix(reply, octets) {
				err = fmt.Errorf("got %q, want %q", reply, octets)
			}
		case "S!":
			wantClosed(t, c)
		default:
			t.Fatalf("line %d: %q", i+1, line)
		}
		if err != nil {
			t.Fatalf("line %d (%s): %v", i+1, line, err)
		}
	}
}

const transaction = `
	C: MAIL FROM:<a@x.test>
	S: 250
	C: RCPT TO:<b@x.test>
	S: 250
	`

// Each dialogue begins behind EHLO unless it is "bare", and ends in step.
func TestDialogues(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, d := range []struct{ name, script string }{
		{"bare helo-empty", "C: HELO\nS: 501\nC: EHLO\nS: 501"},
		{"bare mail-before-helo", "C: MAIL FROM:<me@localhost>\nS: 503 5.5.1"},
		{"bare data-first", "C: DATA\nS: 503 5.5.1"},
		{"bare rcpt first", "C: RCPT TO:<a@x.test>\nS: 503 5.5.1"},
		{"bare auth first", "C: AUTH PLAIN\nS: 503 5.5.1"},
		{"bare helo", "C: HELO x\nS: 250 gate.test"},
		{"data-no-rcpt", "C: MAIL FROM:<a@b.test>\nS: 250\nC: DATA\nS: 503"},
		{"rcpt-no-mail", "C: RCPT TO:<u@x.test>\nS: 503"},
		{"double-mail", "C: MAIL FROM:<a@b.test>\nS: 250\nC: MAIL FROM:<c@b.test>\nS: 503"},
		{"unknown", "C: WRONG\nS: 500\nC: LHLO x\nS: 500\nC: XX\nS: 500\nC: NOOPx\nS: 500\nC: NOOP\\tx\nS: 500"},
		{"not offered", "C: EXPN list\nS: 502\nC: TURN\nS: 502"},
		{"empty line", "C: \nS: 500 5.5.2"},
		{"blanks only", "C:    \nS: 500 5.5.2"},
		{"go-smtp never gives up", strings.Repeat("C: WRONG\nS: 500\nC: \nS: 500\nC: X\nS: 500\n", 7)},
		{"line-too-long", "C: HELO " + long(1000) + "\nS: 500 5.5.2 Line too long"},
		{"longest line", "C: NOOP " + long(505) + "\nS: 250"},
		{"one octet more", "C: NOOP " + long(506) + "\nS: 500 5.5.2 Line too long"},
		{"much too long", "C: NOOP " + long(100000) + "\nS: 500 5.5.2 Line too long"},
		{"long MAIL", "C: MAIL FROM:<a@x.test> AUTH=" + long(2015) + "\nS: 500 5.5.4\nC: MAIL FROM:<a@x.test> AUTH=" + long(2021) + "\nS: 500 5.5.2 Line too long"},
		{"pipelined", "C+ MAIL FROM:<a@x.test>\\r\\nRCPT TO:<b@x.test>\\r\\nDATA\\r\\n\nS: 250\nS: 250\nS: 354 End data\nC: .\nS: 250"},
		{"ehlo-resets", "C: MAIL FROM:<a@x.test>\nS: 250\nC: EHLO y\nS: 250\nC: RCPT TO:<b@x.test>\nS: 503"},
		{"rset", "C: MAIL FROM:<a@x.test>\nS: 250\nC: RSET\nS: 250\nC: RCPT TO:<b@x.test>\nS: 503"},
		{"noop-arg", "C: NOOP anything\nS: 250"},
		{"vrfy", "C: VRFY u\nS: 252"},
		{"case", "C: eHlO x\nS: 250\nC: mAiL fRoM:<a@b.test>\nS: 250\nC: rCpT tO:<a@b.test>\nS: 250\nC: dAtA\nS: 354\nC: .\nS: 250"},
		{"blanks behind", "C: NOOP  \nS: 250\nC: RSET \\t\nS: 250" + transaction + "C: DATA \nS: 354\nC: .\nS: 250"},
		{"DATA with argument", transaction + "C: DATA now\nS: 501"},
		{"auth-not-tls", "C: AUTH PLAIN\nS: 334\nC: *\nS: 501"},
		{"auth", "C: AUTH PLAIN AHUAcA==\nS: 235\nC: AUTH PLAIN AHUAcA==\nS: 503"},
		{"auth in steps", "C: AUTH PLAIN\nS: 334\nC: AHUAcA==\nS: 235\nC: WRONG\nS: 500"},
		{"auth that is no base64", "C: AUTH PLAIN !\nS: 501 5.5.2\nC: AUTH PLAIN\nS: 334\nC: !\nS: 501 5.5.2"},
		{"auth with the name of a command", "C: AUTH PLAIN\nS: 334\nC: QUIT\nS: 454 4.7.0 sasl"},
		{"auth response longer than a command", "C: AUTH PLAIN\nS: 334\nC: " + strings.Repeat("AAAA", 3000) + "\nS: 454 4.7.0 sasl"},
		{"auth response too long", "C: AUTH PLAIN\nS: 334\nC: " + strings.Repeat("AAAA", 4000) + "\nS: 500 5.5.2\nC: AUTH PLAIN AHUAcA==\nS: 235"},
		{"auth response with NUL", "C: AUTH PLAIN\nS: 334\nC: AAA\\x00\nS: 500 5.5.2\nC: AUTH PLAIN AHUAcA==\nS: 235"},
		{"size declared", "C: MAIL FROM:<a@b.test> SIZE=999999999\nS: 552 5.3.4"},
	} {
		t.Run(d.name, func(t *testing.T) {
			s := baseSettings()
			s.MessageSize = 1 << 20
			c := newGateway(t, s).dial()
			wantReply(t, c, "220")
			if !strings.HasPrefix(d.name, "bare ") {
				expect(t, c, "EHLO x", "250")
			}
			play(t, c, d.script)
			play(t, c, "C: VRFY step\nS: 252\nC: QUIT\nS: 221\nS! ")
		})
	}
}

// A bad line costs its own reply, at once, and nothing of the lines around it.
func TestBadLineKeepsItsNeighbours(t *testing.T) {
	for _, bad := range []string{
		"NOOP\nNOOP", "\n", "NOOP\rNOOP", "\rNOOP", "NOOP\r", "NO\x00OP", "\x00", "NOOP \n.\n QUIT", "EHLO a\nMAIL FROM:<a@x.test>\nRCPT TO:<b@x.test>",
	} {
		t.Run(fmt.Sprintf("%q", bad), func(t *testing.T) {
			c := newGateway(t, baseSettings()).greeted()
			must(t, c.Send("VRFY a\r\n"+bad+"\r\nVRFY b\r\n"))
			for _, want := range []string{"252", "500 5.5.2", "252"} {
				wantReply(t, c, want)
			}
			if !strings.ContainsAny(bad, "\n\x00") {
				return // a CR alone may still become a CRLF
			}
			must(t, c.Send(bad))
			wantReply(t, c, "500 5.5.2")
			must(t, c.Send("x\r\nVRFY c\r\n"))
			wantReply(t, c, "252")
		})
	}
}

// One octet at a time, a dialogue is the same.
func TestOctetByOctet(t *testing.T) {
	g := newGateway(t, baseSettings())
	c := g.greeted()
	octets := "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n..x\r\n\r\n.\r\nNOOP\nx\r\nMAIL FROM:<c@x.test>\r\nRCPT TO:<b@x.test>\r\nBDAT 3\r\na\r\nBDAT 2 LAST\r\n\nb"
	for i := range octets {
		must(t, c.Send(octets[i:i+1]))
	}
	for _, want := range []string{"250", "250", "354", "250 2.0.0 Ok: queued", "500", "250", "250", "250 2.0.0 3 octets", "250 2.0.0 Ok: queued"} {
		wantReply(t, c, want)
	}
	got := g.got()
	if len(got) != 2 || got[0].content != ".x\r\n\r\n" || got[1].content != "a\r\n\r\nb" {
		t.Errorf("got %q", got)
	}
}

// Only CRLF "." CRLF ends a message, also where a read ends between a bare LF
// and the dot: who sees an end there takes the rest for commands.
func TestEndOfDataIsNotSeenBehindABareNewline(t *testing.T) {
	for octets, want := range map[string]string{
		"a\n.\r\nb\r\n.\r\n":   "a\r\n.\r\nb\r\n",
		"a\n..\r\nb\r\n.\r\n":  "a\r\n..\r\nb\r\n",
		"a\r.\r\nb\r\n.\r\n":   "a\r\n.\r\nb\r\n",
		"a\r\n.\nb\r\n.\r\n":   "a\r\n\r\nb\r\n",
		"a\r\r\n.\r\nNOOP\r\n": "a\r\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			s := baseSettings()
			s.DataNewline = wire.Normalize
			g := newGateway(t, s)
			c := g.pipe()
			wantReply(t, c, "220")
			expect(t, c, "EHLO x", "250")
			play(t, c, transaction+"C: DATA\nS: 354")
			for i := range octets { // each is a read of its own
				if c.Send(octets[i:i+1]) != nil || len(g.got()) > 0 {
					break
				}
				synctest.Wait()
			}
			if got := g.got(); len(got) != 1 || got[0].content != want {
				t.Errorf("%q: got %q", octets, got)
			}
		})
	}
}

func TestUnknownManyEndsIn421(t *testing.T) {
	s := baseSettings()
	var errors atomic.Int32
	s.OnError = func(f wire.Fault) bool {
		if f.Verb != "" || f.Reply != mail.ReplyUnknownCommand || !f.Own {
			t.Errorf("fault %+v", f)
		}
		return errors.Add(1) == 10
	}
	g := newGateway(t, s)
	c := g.greeted()
	must(t, c.Send(strings.Repeat("WRONG\r\n", 20)))
	for range 10 {
		wantReply(t, c, "500 5.5.1")
	}
	wantReply(t, c, "421 4.7.0")
	wantClosed(t, c)
	if errors.Load() != 10 {
		t.Errorf("%d errors told", errors.Load())
	}
}

// Refusals of go-smtp and the session are told too, with their codes.
func TestErrorsOfOthersAreTold(t *testing.T) {
	s := baseSettings()
	faults := make(chan wire.Fault, 10)
	s.OnError = func(f wire.Fault) bool { faults <- f; return false }
	c := newGateway(t, s).greeted()
	play(t, c, "C: MAIL FROM:nonsense\nS: 501\nC: RCPT TO:<a@x.test>\nS: 503")
	want := mail.Reply{Code: 501, Enhanced: mail.Enhanced{5, 5, 2}, Text: "Was expecting MAIL arg syntax of FROM:<address>"}
	if f := <-faults; f.Verb != "MAIL" || f.Own || f.Reply != want {
		t.Errorf("fault %+v", f)
	}
	if f := <-faults; f.Verb != "RCPT" || f.Reply.Code != 503 {
		t.Errorf("fault %+v", f)
	}
}

func TestHTTPIsSentAway(t *testing.T) {
	g := newGateway(t, baseSettings())
	c := g.dial()
	// So much that the server does not read it all: closing must not reset the
	// connection before its reply was read.
	must(t, c.Send("POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<a@x.test>\r\n"+strings.Repeat("x", 60000)))
	wantReply(t, c, "220")
	wantReply(t, c, "500 5.5.1")
	wantClosed(t, c)
	if len(g.conns) != 0 {
		t.Error("a session began")
	}
}

func TestSessionEndsConnectionBy421(t *testing.T) {
	c := newGateway(t, baseSettings()).greeted()
	play(t, c, "C: MAIL FROM:<a@x.test>\nS: 250\nC: RCPT TO:<closing@x.test>\nS: 421 4.7.0 Enough\nS! ")
}

func TestEHLO(t *testing.T) {
	for _, row := range []struct {
		name string
		with func(*wire.Settings)
		want string
	}{
		{"all", func(s *wire.Settings) {}, "PIPELINING 8BITMIME ENHANCEDSTATUSCODES CHUNKING SMTPUTF8 SIZE=50 STARTTLS"},
		{"off", func(s *wire.Settings) { s.Mode = wire.Off }, "PIPELINING 8BITMIME ENHANCEDSTATUSCODES CHUNKING SMTPUTF8 SIZE=50"},
		{"no certificate", func(s *wire.Settings) { s.TLS = nil }, "PIPELINING 8BITMIME ENHANCEDSTATUSCODES CHUNKING SMTPUTF8 SIZE=50"},
		{"no CHUNKING", func(s *wire.Settings) { s.Chunking = false }, "PIPELINING 8BITMIME ENHANCEDSTATUSCODES SMTPUTF8 SIZE=50 STARTTLS"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := baseSettings()
			s.TLS, s.MessageSize = serverTLS(), 50
			row.with(&s)
			c := newGateway(t, s).dial()
			wantReply(t, c, "220")
			want := "250-gate.test\n250-" + strings.ReplaceAll(row.want, " ", "\n250-")
			i := strings.LastIndex(want, "250-")
			want = strings.ReplaceAll(want[:i]+"250 "+want[i+4:], "=", " ")
			if reply := expect(t, c, "EHLO x", "250"); reply != want {
				t.Errorf("got\n%s\nwant\n%s", reply, want)
			}
		})
	}
}

func TestPostmaster(t *testing.T) {
	s := baseSettings()
	postmaster, err := mail.ParseAddress("hostmaster@example.com", false)
	must(t, err)
	s.Postmaster = postmaster
	g := newGateway(t, s)
	c := g.greeted()
	play(t, c, `
		C: MAIL FROM:<a@x.test>
		S: 250
		C: RCPT TO:<postmaster>
		S: 250
		C: rcpt to:<PostMaster>
		S: 250
		C: RCPT TO:<postmasters>
		S: 501
		C: RCPT TO:<postmaster@x.test>
		S: 250
		C: DATA
		S: 354
		C: .
		S: 250`)
	if got := g.got(); fmt.Sprint(got[0].to) != "[hostmaster@example.com hostmaster@example.com postmaster@x.test]" {
		t.Errorf("got %v", got)
	}
}

func TestRestrictTo(t *testing.T) {
	s := baseSettings()
	s.TLS, s.RestrictTo = serverTLS(), []string{"EHLO", "NOOP", "QUIT"}
	c := newGateway(t, s).dial()
	wantReply(t, c, "220")
	if reply := expect(t, c, "EHLO x", "250"); strings.Contains(reply, "STARTTLS") {
		t.Errorf("got %q", reply)
	}
	play(t, c, "C: NOOP\nS: 250\nC: MAIL FROM:<a@x.test>\nS: 554 5.7.1\nC: STARTTLS\nS: 554\nC: BDAT 6\nC: QUIT\\r\nS: 554 5.7.1\nC: WRONG\nS: 500\nC: QUIT\nS: 221")
}

func TestAddresses(t *testing.T) {
	s := baseSettings()
	s.Peer, s.Local = netip.MustParseAddrPort("192.0.2.1:1024"), netip.MustParseAddrPort("[2001:db8::1]:25")
	s.Value = "mine"
	g := newGateway(t, s)
	g.greeted()
	conn := g.conns[0]
	if conn.RemoteAddr().String() != "192.0.2.1:1024" || conn.LocalAddr().String() != "[2001:db8::1]:25" || conn.Value() != "mine" {
		t.Errorf("got %v %v %v", conn.RemoteAddr(), conn.LocalAddr(), conn.Value())
	}
}

// countedConn counts the writes of the server.
type countedConn struct {
	net.Conn
	writes atomic.Int32
}

func (c *countedConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

// Pipelined commands cost one write.
func TestRepliesAreHeld(t *testing.T) {
	g := newGateway(t, baseSettings())
	near, far := net.Pipe()
	counted := &countedConn{Conn: far}
	g.serve(counted)
	t.Cleanup(func() { near.Close() })
	c := wiretest.NewClient(near)
	wantReply(t, c, "220")
	commands := strings.Repeat("NOOP\r\n", 50) + "EHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nBDAT 2 LAST\r\nxxVRFY a\r\n"
	must(t, c.Send(commands))
	for range 54 {
		wantReply(t, c, "250")
	}
	wantReply(t, c, "252")
	if n := counted.writes.Load(); n != 2 {
		t.Errorf("%d writes, want the greeting and one more", n)
	}
}

// A refusal by the session, early or late, waits for the end of the message.
func TestRefusalOfTheSessionKeepsStep(t *testing.T) {
	for _, early := range []bool{true, false} {
		t.Run(fmt.Sprint("early=", early), func(t *testing.T) {
			g := newGateway(t, baseSettings())
			g.atData = func(_ *wire.Conn, r io.Reader) error {
				if !early {
					_, _ = io.Copy(io.Discard, r)
				}
				return errPolicy()
			}
			c := g.greeted()
			big := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 4000)
			for _, form := range []wiretest.Form{wiretest.DATA, wiretest.BDAT, wiretest.DATA} {
				sent := big
				if form == wiretest.DATA {
					sent += ".\r\n"
				}
				reply, err := c.Message(form, "a@x.test", "b@x.test", sent)
				must(t, err)
				if reply != "550 5.7.1 Refused by policy" {
					t.Errorf("got %q", reply)
				}
			}
		})
	}
}
