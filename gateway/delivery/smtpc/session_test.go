package smtpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatepost/auth/sasl"
	"gatepost/gateway/delivery/smtptest"
	"gatepost/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipe makes a Conn and the server's end of it.
func pipe(t *testing.T) (*Conn, net.Conn) {
	t.Helper()
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close(); server.Close() })
	return New(client, Options{Name: "gw.example"}), server
}

func readAll(r io.Reader, n int) string {
	b := make([]byte, n)
	got, _ := io.ReadFull(r, b) // the test compares what came
	return string(b[:got])
}

// counter counts writes.
type counter struct {
	net.Conn
	writes atomic.Int32
}

func (c *counter) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// dial connects to a server and hands out the counter below.
func dial(t *testing.T, s *smtptest.Server, o Options) (*Conn, *counter) {
	t.Helper()
	socket, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	o.Name = "gw.example"
	counted := &counter{Conn: socket}
	c := New(counted, o)
	t.Cleanup(func() { c.Close() })
	return c, counted
}

// greet goes to the end of EHLO.
func greet(t *testing.T, c *Conn) {
	t.Helper()
	if err := c.Greeting(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func address(t *testing.T, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s, true)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func recipients(t *testing.T, list ...string) (out []mail.Recipient) {
	t.Helper()
	for _, s := range list {
		out = append(out, mail.Recipient{Address: address(t, s)})
	}
	return out
}

const hello = `
	S: 220 test
	C: EHLO gw.example
	S: 250-test
	S: 250-SIZE 1000000
	S: 250-8BITMIME
	S: 250-SMTPUTF8
	S: 250-DSN
	S: 250 PIPELINING
`

func TestPipelinedMessageIsTwoWrites(t *testing.T) {
	s := smtptest.New(t, "127.0.0.1:0", nil, hello+`
		C: MAIL FROM:<a@a.example> SIZE=9
		C: RCPT TO:<b@b.example>
		C: RCPT TO:<c@b.example>
		C: DATA
		S: 250 2.1.0 Ok
		S: 250 2.1.5 Ok
		S: 550 5.1.1 unknown
		S: 354 go
		D:
		S: 250 2.0.0 queued as X
		C: QUIT
		S: 221 bye`)
	c, writes := dial(t, s, Options{})
	greet(t, c)
	before := writes.writes.Load()
	answers, err := c.Begin(t.Context(), &Transaction{From: address(t, "a@a.example"), Size: 9, Recipients: recipients(t, "b@b.example", "c@b.example")})
	if err != nil || !answers.Ready() || answers.Accepted() != 1 || answers.Recipients[1].Code != 550 {
		t.Fatalf("answers %+v, %v", answers, err)
	}
	replies, err := c.Content(t.Context(), strings.NewReader("A: b\r\n\r\n.c"), 1, nil)
	if err != nil || len(replies) != 1 || replies[0].Text != "queued as X" {
		t.Fatalf("replies %+v, %v", replies, err)
	}
	if n := writes.writes.Load() - before; n != 2 {
		t.Errorf("%d writes for one message, want 2", n)
	}
	c.Quit()
	if got := s.Messages(); len(got) != 1 || got[0] != "A: b\r\n\r\n..c\r\n.\r\n" {
		t.Errorf("the server got %q", got)
	}
}

func TestLockstep(t *testing.T) {
	s := smtptest.New(t, "127.0.0.1:0", nil, `
		S: 220 test
		C: EHLO gw.example
		S: 500 what
		C: HELO gw.example
		S: 250 test
		C: MAIL FROM:<>
		S: 250 Ok
		C: RCPT TO:<b@b.example>
		S: 450 later
		C: RCPT TO:<c@b.example>
		S: 250 Ok
		C: DATA
		S: 354 go
		D:
		S: 250 Ok`)
	c, _ := dial(t, s, Options{})
	greet(t, c)
	answers, err := c.Begin(t.Context(), &Transaction{Size: 5, EightBit: true, UTF8: true, Return: "FULL", EnvID: "x",
		Recipients: []mail.Recipient{{Address: address(t, "b@b.example"), Notify: mail.NotifyNever}, {Address: address(t, "c@b.example")}}})
	if err != nil || !answers.Ready() || answers.Recipients[0].Code != 450 {
		t.Fatalf("answers %+v, %v", answers, err)
	}
	if _, err := c.Content(t.Context(), strings.NewReader("x: y\r\n"), 1, nil); err != nil {
		t.Fatal(err)
	}
}

func TestParameters(t *testing.T) {
	s := smtptest.New(t, "127.0.0.1:0", nil, hello+`
		C: MAIL FROM:<"a b"@a.example> SIZE=7 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=id+2B+3D1
		C: RCPT TO:<b@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2Bb@b.example
		C: RCPT TO:<é@b.example> NOTIFY=NEVER ORCPT=utf-8;\x{E9}@b.example
		C: RCPT TO:<d@b.example> NOTIFY=FAILURE
		C: DATA
		S: 250 Ok
		S: 550 no
		S: 550 no
		S: 550 no
		S: 503 no recipients
		C: QUIT
		S: 221 bye`)
	c, _ := dial(t, s, Options{})
	greet(t, c)
	answers, err := c.Begin(t.Context(), &Transaction{From: address(t, `"a b"@a.example`), Size: 7, EightBit: true, UTF8: true, Return: "HDRS", EnvID: "id+=1",
		Recipients: []mail.Recipient{
			{Address: address(t, "b@b.example"), Notify: mail.NotifySuccess | mail.NotifyDelay, OriginalType: "rfc822", Original: "x+b@b.example"},
			{Address: address(t, "é@b.example"), Notify: mail.NotifyNever, OriginalType: "utf-8", Original: "é@b.example"},
			{Address: address(t, "d@b.example"), Notify: mail.NotifyFailure}}})
	if err != nil || answers.Ready() || answers.Accepted() != 0 {
		t.Fatalf("answers %+v, %v", answers, err)
	}
	c.Quit()
}

func TestResetAfterRefusedTransaction(t *testing.T) {
	s := smtptest.New(t, "127.0.0.1:0", nil, hello+`
		C: MAIL FROM:<a@a.example>
		C: RCPT TO:<b@b.example>
		C: DATA
		S: 250 Ok
		S: 550 no
		S: 503 no
		C: RSET
		S: 250 Ok
		C: MAIL FROM:<a@a.example>
		C: RCPT TO:<c@b.example>
		C: DATA
		S: 250 Ok
		S: 250 Ok
		S: 354 go
		D:
		S: 250 Ok
		C: MAIL FROM:<a@a.example>
		C: RCPT TO:<d@b.example>
		C: DATA
		S: 250 Ok
		S: 550 no
		S: 354 go on, for nobody
		C: .
		S: 554 no recipients
		C: MAIL FROM:<a@a.example>
		C: RCPT TO:<e@b.example>
		C: DATA
		S: 452 full
		S: 503 no
		S: 503 no`)
	c, _ := dial(t, s, Options{})
	greet(t, c)
	for i, to := range []string{"b@b.example", "c@b.example", "d@b.example", "e@b.example"} {
		answers, err := c.Begin(t.Context(), &Transaction{From: address(t, "a@a.example"), Recipients: recipients(t, to)})
		if err != nil || answers.Ready() != (i == 1) {
			t.Fatalf("%s: answers %+v, %v", to, answers, err)
		}
		if answers.Ready() {
			if _, err := c.Content(t.Context(), strings.NewReader("x: y\r\n"), 1, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A server that refuses MAIL and yet waits for a message with recipients got a
// dot alone: an empty message for them.
func TestNoEmptyMessageForConfusedServers(t *testing.T) {
	for name, o := range map[string]Options{"SMTP": {}, "LMTP": {LMTP: true}} {
		t.Run(name, func(t *testing.T) {
			greeting, rcpt := hello, "250 Ok"
			if o.LMTP {
				greeting, rcpt = strings.Replace(hello, "EHLO", "LHLO", 1), "550 no"
			}
			s := smtptest.New(t, "127.0.0.1:0", nil, greeting+"C: MAIL*\nC: RCPT*\nC: DATA\nS: 550 no\nS: "+rcpt+"\nS: 354 go\nW:")
			c, _ := dial(t, s, o)
			greet(t, c)
			answers, err := c.Begin(t.Context(), &Transaction{From: address(t, "a@a.example"), Recipients: recipients(t, "b@b.example")})
			if !errors.Is(err, ErrReply) || answers.Mail.Code != 550 || c.Usable() {
				t.Errorf("answers %+v, %v, usable %v", answers, err, c.Usable())
			}
			c.Close()
		})
	}
}

func TestManyRecipientsGoInGroups(t *testing.T) {
	var script strings.Builder
	script.WriteString(hello + "C: MAIL FROM:<>\n")
	var list []mail.Recipient
	for i := range 250 {
		list = append(list, recipients(t, "b@b.example")...)
		script.WriteString("C: RCPT TO:<b@b.example>\n")
		if i%100 == 99 {
			if i == 99 {
				script.WriteString("S: 250 Ok\n")
			}
			script.WriteString(strings.Repeat("S: 250 Ok\n", 100))
		}
	}
	script.WriteString("C: DATA\n" + strings.Repeat("S: 250 Ok\n", 50) + "S: 354 go\nD:\nS: 250 Ok")
	s := smtptest.New(t, "127.0.0.1:0", nil, script.String())
	c, _ := dial(t, s, Options{})
	greet(t, c)
	answers, err := c.Begin(t.Context(), &Transaction{Recipients: list})
	if err != nil || answers.Accepted() != 250 || !answers.Ready() {
		t.Fatalf("accepted %d, %v", answers.Accepted(), err)
	}
	if _, err := c.Content(t.Context(), strings.NewReader("x: y\r\n"), 250, nil); err != nil {
		t.Fatal(err)
	}
}

func TestLMTPAnswersForEachRecipient(t *testing.T) {
	s := smtptest.New(t, "127.0.0.1:0", nil, `
		S: 220 test
		C: LHLO gw.example
		S: 250-test
		S: 250 PIPELINING
		C: MAIL FROM:<>
		C: RCPT TO:<b@b.example>
		C: RCPT TO:<c@b.example>
		C: RCPT TO:<d@b.example>
		C: DATA
		S: 250 Ok
		S: 250 Ok
		S: 550 no
		S: 250 Ok
		S: 354 go
		D:
		S: 250 stored
		S: 452 4.2.2 over quota`)
	c, _ := dial(t, s, Options{LMTP: true})
	greet(t, c)
	answers, err := c.Begin(t.Context(), &Transaction{Recipients: recipients(t, "b@b.example", "c@b.example", "d@b.example")})
	if err != nil {
		t.Fatal(err)
	}
	replies, err := c.Content(t.Context(), strings.NewReader("x: y\r\n"), answers.Accepted(), nil)
	if err != nil || len(replies) != 2 || replies[0].Code != 250 || replies[1].Enhanced != (mail.Enhanced{4, 2, 2}) {
		t.Errorf("replies %+v, %v", replies, err)
	}
}

// TestSessionOver runs dialogues that end the session, and wants the stage.
func TestSessionOver(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		stage  Stage
		code   int
	}{
		"greeting refused":     {"S: 554 no\nX:", StageGreeting, 554},
		"greeting dropped":     {"X:", StageGreeting, 0},
		"greeting garbage":     {"S: SSH-2.0-x\nW:", StageGreeting, 0},
		"421 greeting":         {"S: 421 busy\nX:", StageGreeting, 421},
		"421 to EHLO":          {"S: 220 x\nC: EHLO*\nS: 421 busy\nX:", StageHello, 421},
		"HELO refused too":     {"S: 220 x\nC: EHLO*\nS: 502 no\nC: HELO*\nS: 550 no\nW:", StageHello, 550},
		"dropped at MAIL":      {hello + "C: MAIL*\nX:", StageMail, 0},
		"421 to MAIL":          {hello + "C: MAIL*\nC: RCPT*\nC: DATA\nS: 421 4.4.2 idle\nX:", StageMail, 421},
		"421 to RCPT":          {hello + "C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 421 closing\nX:", StageRcpt, 421},
		"dropped at DATA":      {hello + "C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250 Ok\nX:", StageData, 0},
		"dropped after dot":    {hello + "C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250 Ok\nS: 354 go\nD:\nX:", StageFinal, 0},
		"421 after dot":        {hello + "C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250 Ok\nS: 354 go\nD:\nS: 421 oh\nX:", StageFinal, 421},
		"garbage after dot":    {hello + "C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250 Ok\nS: 354 go\nD:\nS: hm\nW:", StageFinal, 0},
		"half a reply to RCPT": {hello + "C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250-Ok\nX:", StageRcpt, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := smtptest.New(t, "127.0.0.1:0", nil, test.script)
			c, _ := dial(t, s, Options{})
			err := deliver(t, t.Context(), c)
			var over *Error
			if !errors.As(err, &over) || over.Stage != test.stage || over.Reply.Code != test.code {
				t.Errorf("got %v", err)
			}
		})
	}
}

// deliver does all steps until one fails.
func deliver(t *testing.T, ctx context.Context, c *Conn) error {
	if err := c.Greeting(ctx); err != nil {
		return err
	}
	if err := c.Hello(ctx); err != nil {
		return err
	}
	answers, err := c.Begin(ctx, &Transaction{Recipients: recipients(t, "b@b.example")})
	if err != nil {
		return err
	}
	_, err = c.Content(ctx, strings.NewReader("x: y\r\n"), answers.Accepted(), nil)
	return err
}

func TestServerSaysWhyBeforeItCloses(t *testing.T) {
	conn, server := pipe(t)
	go func() {
		io.ReadFull(server, make([]byte, 100))
		// Nobody reads the rest; the reply is there when the write gives up.
		server.Write([]byte("552 5.3.4 too big\r\n"))
	}()
	conn.options.Timeouts.DataBlock = 50 * time.Millisecond
	_, err := conn.Content(t.Context(), strings.NewReader(strings.Repeat("long line\r\n", 50_000)), 1, nil)
	var over *Error
	if !errors.As(err, &over) || over.Stage != StageContent || over.Reply.Code != 552 {
		t.Errorf("got %v", err)
	}
}

func TestTimeouts(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		limits Timeouts
		stage  Stage
	}{
		"greeting": {"W:", Timeouts{Greeting: 20 * time.Millisecond}, StageGreeting},
		"EHLO":     {"S: 220 x\nC: EHLO*\nW:", Timeouts{Hello: 20 * time.Millisecond}, StageHello},
		"MAIL":     {hello + "C: MAIL*\nC: RCPT*\nC: DATA\nW:", Timeouts{Mail: 20 * time.Millisecond}, StageMail},
		"RCPT":     {hello + "C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nW:", Timeouts{Rcpt: 20 * time.Millisecond}, StageRcpt},
		"DATA":     {hello + "C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250 Ok\nW:", Timeouts{Data: 20 * time.Millisecond}, StageData},
		"final":    {hello + "C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250 Ok\nS: 354 go\nD:\nW:", Timeouts{DataEnd: 20 * time.Millisecond}, StageFinal},
	} {
		t.Run(name, func(t *testing.T) {
			s := smtptest.New(t, "127.0.0.1:0", nil, test.script)
			c, _ := dial(t, s, Options{Timeouts: test.limits})
			defer c.Close()
			err := deliver(t, t.Context(), c)
			var over *Error
			if !errors.As(err, &over) || over.Stage != test.stage || over.Err == nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestContextEndsAWait(t *testing.T) {
	s := smtptest.New(t, "127.0.0.1:0", nil, "S: 220 x\nC: EHLO*\nW:")
	c, _ := dial(t, s, Options{})
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-s.Waiting(); cancel() }()
	began := time.Now()
	if err := deliver(t, ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > smtptest.Patience/2 {
		t.Errorf("it took %s, and the server ended it", took)
	}
	if c.Usable() {
		t.Error("the connection may be used again")
	}
}

func TestEndedContextStillHearsTheFinalReply(t *testing.T) {
	s := smtptest.New(t, "127.0.0.1:0", nil, hello+"C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250 Ok\nS: 354 go\nD:\nS: 250 Ok\nW:")
	c, _ := dial(t, s, Options{})
	defer c.Close()
	greet(t, c)
	if _, err := c.Begin(t.Context(), &Transaction{Recipients: recipients(t, "b@b.example")}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	replies, err := c.Content(ctx, strings.NewReader("x: y\r\n"), 1, func(context.Context) error {
		c.raw = &cancelOnWrite{Conn: c.raw, cancel: cancel}
		c.stream = c.raw
		return nil
	})
	if err != nil || len(replies) != 1 || replies[0].Code != 250 {
		t.Errorf("replies %+v, %v", replies, err)
	}
}

// cancelOnWrite ends a context when the final dot is on its way.
type cancelOnWrite struct {
	net.Conn
	cancel func()
}

func (c *cancelOnWrite) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.cancel()
	return n, err
}

func TestAlive(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		want   bool
	}{
		"quiet":              {"S: 220 test\nC: EHLO*\nS: 250 test\nW:", true},
		"closed":             {"S: 220 test\nC: EHLO*\nS: 250 test\nX:", false},
		"said more, read":    {"S: 220 test\nC: EHLO*\nS: 250 test\nS: 421 idle\nW:", false},
		"said more, not yet": {"S: 220 test\nC: EHLO*\nS: 250 test\nC: NOOP\nS: 421 idle\nW:", false},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := dial(t, smtptest.New(t, "127.0.0.1:0", nil, test.script), Options{})
			c.raw = c.raw.(*counter).Conn // the socket itself can be looked at
			greet(t, c)
			if strings.Contains(test.script, "NOOP") {
				c.raw.Write([]byte("NOOP\r\n"))
			}
			for deadline := time.Now().Add(5 * time.Second); c.Alive() != test.want && time.Now().Before(deadline); {
				runtime.Gosched() // until what the server did has arrived
			}
			if got := c.Alive(); got != test.want {
				t.Errorf("got %v", got)
			}
			c.Close()
		})
	}
}

func TestLeaseIsAskedBeforeTheDot(t *testing.T) {
	s := smtptest.New(t, "127.0.0.1:0", nil, hello+"C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250 Ok\nS: 354 go\nW:")
	c, _ := dial(t, s, Options{})
	greet(t, c)
	if _, err := c.Begin(t.Context(), &Transaction{Recipients: recipients(t, "b@b.example")}); err != nil {
		t.Fatal(err)
	}
	lost := errors.New("lost")
	_, err := c.Content(t.Context(), strings.NewReader("x: y\r\n"), 1, func(context.Context) error { return lost })
	if !errors.Is(err, lost) || c.Usable() {
		t.Errorf("got %v", err)
	}
	c.Close()
	if got := s.Messages(); len(got) != 0 {
		t.Errorf("the server got %q", got)
	}
}

func TestStartTLS(t *testing.T) {
	authority := smtptest.NewAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{authority.Certificate("mx.example")}}
	s := smtptest.New(t, "127.0.0.1:0", config, `
		S: 220 test
		C: EHLO gw.example
		S: 250-test
		S: 250-DSN
		S: 250 STARTTLS
		C: STARTTLS
		S: 220 go
		T:
		C: EHLO gw.example
		S: 250-test
		S: 250 AUTH PLAIN LOGIN
		C: AUTH PLAIN AHUAcA==
		S: 535 5.7.8 no
		C: AUTH LOGIN
		S: 334 VXNlcm5hbWU6
		C: dQ==
		S: 334 UGFzc3dvcmQ6
		C: cA==
		S: 235 yes
		C: QUIT
		S: 221 bye`)
	c, _ := dial(t, s, Options{})
	greet(t, c)
	if err := c.StartTLS(t.Context(), &tls.Config{RootCAs: authority.Pool(), ServerName: "mx.example"}); err != nil {
		t.Fatal(err)
	}
	if c.Extensions().DSN || !strings.HasPrefix(c.TLS(), "TLS 1.3 ") {
		t.Errorf("extensions %+v, TLS %q", c.Extensions(), c.TLS())
	}
	if err := c.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	plain, _ := sasl.NewClient(sasl.Plain, "u", "p")
	var refused *Error
	if err := c.Authenticate(t.Context(), plain); !errors.As(err, &refused) || refused.Reply.Code != 535 {
		t.Errorf("PLAIN: %v", err)
	}
	login, _ := sasl.NewClient(sasl.Login, "u", "p")
	if err := c.Authenticate(t.Context(), login); err != nil {
		t.Errorf("LOGIN: %v", err)
	}
	c.Quit()
}

func TestPlaintextBehindStartTLSIsRefused(t *testing.T) {
	s := smtptest.New(t, "127.0.0.1:0", nil, "S: 220 x\nC: EHLO*\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nS: 250 AUTH PLAIN\nW:")
	c, _ := dial(t, s, Options{})
	greet(t, c)
	err := c.StartTLS(t.Context(), &tls.Config{ServerName: "mx.example"})
	if !errors.Is(err, ErrInjected) {
		t.Errorf("got %v", err)
	}
	c.Close()
}

func TestEndlessAuthIsCut(t *testing.T) {
	s := smtptest.New(t, "127.0.0.1:0", nil, "S: 220 x\nC: EHLO*\nS: 250 x\nC: AUTH*\n"+strings.Repeat("S: 334 \nC: *\n", maxAuthSteps)+"S: 334 \nW:")
	c, _ := dial(t, s, Options{})
	greet(t, c)
	if err := c.Authenticate(t.Context(), endless{}); !errors.Is(err, ErrReply) {
		t.Errorf("got %v", err)
	}
	c.Close()
}

// endless always has an answer.
type endless struct{}

func (endless) Start() (string, []byte, error) { return "LOGIN", nil, nil }
func (endless) Next(b []byte) ([]byte, error)  { return b, nil }
