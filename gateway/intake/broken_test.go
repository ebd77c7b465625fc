package intake

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/policy"
)

// A client that goes away inside a message has sent no message, also where
// the chunk was to be the last one.
func TestTruncatedMessageIsNoMessage(t *testing.T) {
	for name, data := range map[string]string{
		"DATA":            "DATA\r\nFrom: <a@client.example>\r\n\r\nhalf a li",
		"DATA line":       "DATA\r\nFrom: <a@client.example>\r\n\r\na line\r\n",
		"DATA dot":        "DATA\r\nFrom: <a@client.example>\r\n\r\na line\r\n.",
		"BDAT LAST":       "BDAT 100 LAST\r\nFrom: <a@client.example>\r\n\r\nhalf",
		"BDAT":            "BDAT 100\r\nFrom: <a@client.example>\r\n\r\nhalf",
		"BDAT then QUIT":  "BDAT 28\r\nFrom: <a@client.example>\r\n\r\nQUIT\r\n",
		"BDAT then close": "BDAT 28\r\nFrom: <a@client.example>\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Listener{})
			r.observer.ended = make(chan struct{}, 1)
			r.start(t)
			c := dial(t, r.addr())
			c.write("EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<u@local.test>\r\n" + data)
			if err := c.conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, c.r)
			<-r.observer.ended
			if err := r.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if got := r.acceptor.all(); len(got) != 0 {
				t.Errorf("accepted %q", got[0].final)
			}
		})
	}
}

// An aborted BDAT must not answer for the message after it: go-smtp v0.25.1
// hands the result of a message to whatever message is the current one.
func TestAbortedMessageDoesNotAnswerForTheNext(t *testing.T) {
	r := newRig(t, Listener{}).start(t)
	c := dial(t, r.addr())
	c.want("220")
	c.say("EHLO client.example", "250")
	const begin = "MAIL FROM:<a@client.example>\r\nRCPT TO:<u@local.test>\r\n"
	for range 50 {
		c.write(begin + "BDAT 28\r\nFrom: <a@client.example>\r\n\r\nRSET\r\n" +
			begin + "BDAT 28 LAST\r\nFrom: <a@client.example>\r\n\r\n")
		for range 6 {
			c.want("250")
		}
		c.want("250 2.0.0 Ok: queued as")
	}
	if n := len(r.acceptor.all()); n != 50 {
		t.Errorf("%d messages accepted, want 50", n)
	}
}

// Disk trouble while a message comes in is ours, and temporary.
func TestSpoolTroubleIsTemporary(t *testing.T) {
	r := newRig(t, Listener{})
	r.options.SpoolMemory = 1
	r.options.SpoolDir = filepath.Join(t.TempDir(), "missing")
	r.start(t)
	c := dial(t, r.addr())
	c.want("220")
	c.write(transaction1 + letter + "NOOP\r\n")
	for _, want := range []string{"250", "250", "250", "354", "451 4.3.0 Local error, try again later (", "250"} {
		c.want(want)
	}
	if err := os.Mkdir(r.options.SpoolDir, 0o700); err != nil {
		t.Fatal(err)
	}
	c.write(transaction1 + letter)
	for _, want := range []string{"250", "250", "250", "354", "250 2.0.0"} {
		c.want(want)
	}
}

// The queue that cannot take mail says so before the message comes.
func TestNotReady(t *testing.T) {
	r := newRig(t, Listener{})
	r.options.Ready = func(context.Context) error { return os.ErrPermission }
	r.start(t)
	c := dial(t, r.addr())
	c.want("220")
	c.say("EHLO client.example", "250")
	c.say("MAIL FROM:<a@client.example>", "451 4.3.0")
}

// panicPolicy has a bug.
type panicPolicy struct{ *fakePolicy }

func (panicPolicy) Content(context.Context, policy.Session, mail.Envelope, mail.Header, mail.Body) (policy.Facts, policy.Verdict, mail.Domain) {
	panic("secret detail")
}

// A bug of ours costs one session, and the client hears no detail.
func TestPanicIsOneSessionsTrouble(t *testing.T) {
	r := newRig(t, Listener{})
	r.options.Policy = panicPolicy{r.policy}
	r.start(t)
	c := dial(t, r.addr())
	c.want("220")
	c.write(transaction1 + letter)
	for _, want := range []string{"250", "250", "250", "354"} {
		c.want(want)
	}
	if got := c.want("4"); strings.Contains(got, "secret") {
		t.Errorf("the client heard %q", got)
	}
	dial(t, r.addr()).want("220")
}

// FuzzCommands sends arguments of MAIL and RCPT through a session: whatever
// they are, the server answers, and what it accepts is a plain mailbox of
// local.test that reads back as itself.
func FuzzCommands(f *testing.F) {
	for _, seed := range [][2]string{
		{"<a@client.example>", "<u@local.test>"},
		{"<> SIZE=10 BODY=8BITMIME", `<"victim@evil> NOTIFY=NEVER "@local.test>`},
		{"<a@client.example> SMTPUTF8", "<ü@local.test> ORCPT=rfc822;a+2Bb NOTIFY=SUCCESS,DELAY"},
		{"<@x,@y:a@[192.0.2.1]> RET=FULL ENVID=x", "<u@local.test>\x00"},
		{`<"a\"b"@client.example> AUTH=<>`, "<postmaster>"},
	} {
		f.Add(seed[0], seed[1])
	}
	r := newRig(f, Listener{Limits: Limits{Connections: 100000, ConnectionsPerClient: 100000}}).start(f)
	f.Fuzz(func(t *testing.T, from, to string) {
		before := len(r.acceptor.all())
		conn, err := net.Dial("tcp", r.addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(conn, "EHLO x\r\nMAIL FROM:"+from+"\r\nRCPT TO:"+to+"\r\nBDAT 28 LAST\r\nFrom: <a@client.example>\r\n\r\nQUIT\r\n")
		last := ""
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			last = lines.Text()
		}
		if len(last) < 4 || !strings.Contains("2245", last[:1]) {
			t.Fatalf("the session ended in %q", last)
		}
		for _, m := range r.acceptor.all()[before:] {
			for _, rcpt := range m.Envelope.Recipients {
				a, err := mail.ParseAddress(rcpt.Address.String(), m.Envelope.UTF8)
				if err != nil || a != rcpt.Address || !a.IsDotAtom() || a.Domain().String() != "local.test" {
					t.Fatalf("accepted recipient %q: %v", rcpt.Address, err)
				}
			}
		}
	})
}
