package wire_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/gateway/intake/wire"
	"gatepost/gateway/intake/wire/wiretest"
	"gatepost/mail"
)

// slowly runs a client in a bubble and tells how long the connection lasted
// from then on, and why it ended.
func slowly(t *testing.T, s wire.Settings, script string, client func(c *wiretest.Client)) (lasted time.Duration, last string, ended error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, s)
		c := g.pipe()
		wantReply(t, c, "220")
		expect(t, c, "EHLO x", "250")
		play(t, c, script)
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { last, _ = c.Reply() })
		wg.Go(func() { client(c) })
		ended = <-g.ended
		lasted = time.Since(start)
		wg.Wait()
		if len(g.got()) != 0 {
			t.Error("a message was accepted")
		}
	})
	return lasted, last, ended
}

// every sends octets again and again until the connection ends.
func every(pause time.Duration, octets string) func(*wiretest.Client) {
	return func(c *wiretest.Client) {
		for c.Send(octets) == nil {
			time.Sleep(pause)
		}
	}
}

func TestDeadlines(t *testing.T) {
	const data = transaction + "C: DATA\nS: 354"
	line := strings.Repeat("x", 998) + "\r\n"
	for _, row := range []struct {
		name, script string
		client       func(*wiretest.Client)
		want         time.Duration
	}{
		{"idle", "", func(*wiretest.Client) {}, 5 * time.Minute},
		{"a command that trickles in", "", every(20*time.Second, "N"), 5 * time.Minute},
		{"a refused line that trickles in", "C+ \\n\nS: 500", every(20*time.Second, "N"), 5 * time.Minute},
		{"a message that does not come", data, func(*wiretest.Client) {}, 30 * time.Second},
		{"a message that stops", data, func(c *wiretest.Client) { _ = c.Send(strings.Repeat(line, 1000)) }, 5 * time.Minute},
		{"a message that trickles in", data, every(time.Second, "x"), 30 * time.Second},
		{"a message below the rate", data, every(10*time.Second, line), 50 * time.Second},
		{"a message without end", data, every(time.Second, line), 10 * time.Minute},
		{"a message of BDAT that trickles in", transaction + "C: BDAT 1000 LAST", every(time.Second, "x"), 30 * time.Second},
		{"a chunk without end", transaction + "C: BDAT 1000000000 LAST", every(time.Second, line), 10 * time.Minute},
		{"chunks that stop", transaction + "C+ BDAT 1\\r\\nx\nS: 250", func(*wiretest.Client) {}, 5 * time.Minute},
		{"a refused message that trickles in", transaction + "C+ DATA\\r\\n\nS: 354\nC+ \\x00", every(time.Second, "x"), 30 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			lasted, last, ended := slowly(t, baseSettings(), row.script, row.client)
			if lasted.Round(time.Second) != row.want || !errors.Is(ended, wire.ErrTimeout) || last != mail.ReplyTimeout.String() {
				t.Errorf("%v: %q, %v; want %v", lasted, last, ended, row.want)
			}
		})
	}
}

// A client that is busy all the time still has to leave.
func TestSessionTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, baseSettings())
		c := g.pipe()
		start := time.Now()
		wantReply(t, c, "220")
		reply, err := "", error(nil)
		for err == nil && !strings.HasPrefix(reply, "421") {
			time.Sleep(time.Minute - time.Second)
			reply, err = c.Do("NOOP")
		}
		if took := time.Since(start); took.Round(time.Minute) != 30*time.Minute || !errors.Is(<-g.ended, wire.ErrTimeout) {
			t.Errorf("%q after %v", reply, took)
		}
	})
}

// A client that reads nothing does not hold the connection for ever.
func TestWriteDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, baseSettings())
		g.pipe()
		start := time.Now()
		if err := <-g.ended; err == nil || time.Since(start) != 5*time.Minute {
			t.Errorf("ended with %v after %v", err, time.Since(start))
		}
	})
}

// What the gateway itself takes is not the client's slowness.
func TestOurTimeIsNotTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, baseSettings())
		g.atData = func(_ *wire.Conn, r io.Reader) error {
			_, err := io.CopyN(io.Discard, r, 1)
			time.Sleep(9 * time.Minute)
			return err
		}
		c := g.pipe()
		wantReply(t, c, "220")
		expect(t, c, "EHLO x", "250")
		reply, err := c.Message(wiretest.BDAT, "a@x.test", "b@x.test", strings.Repeat("x", 60000)+"\r\n")
		if err != nil || !strings.HasPrefix(reply, "250") {
			t.Errorf("%q, %v", reply, err)
		}
	})
}

func TestShutdownOfAnIdleConnection(t *testing.T) {
	for _, script := range []string{"C: EHLO x\nS: 250", "C: EHLO x\nS: 250" + transaction, "C+ NO", "C: EHLO x\nS: 250\nC: AUTH PLAIN\nS: 334"} {
		g := newGateway(t, baseSettings())
		c := g.dial()
		wantReply(t, c, "220")
		play(t, c, script)
		g.listener.Shutdown()
		wantReply(t, c, "421 4.3.2")
		wantClosed(t, c)
		if err := <-g.ended; !errors.Is(err, wire.ErrShutdown) {
			t.Errorf("ended with %v", err)
		}
		late := g.dial()
		wantReply(t, late, "220")
		wantReply(t, late, "421 4.3.2")
	}
}

// A message that is coming in is taken and answered before the 421; a command
// pipelined behind it is not.
func TestShutdownLetsAMessageFinish(t *testing.T) {
	for name, script := range map[string][2]string{
		"DATA":           {"C: DATA\nS: 354\nC: x", "C+ .\\r\\nNOOP\\r\\n\nS: 250 2.0.0 Ok"},
		"inside a chunk": {"C+ BDAT 5 LAST\\r\\nab", "C+ cde\nS: 250 2.0.0 Ok"},
		"between chunks": {"C+ BDAT 1\\r\\na\nS: 250", "C+ BDAT 1\\r\\nb\nS: 250\nC: BDAT 0 LAST\nS: 250 2.0.0 Ok"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, baseSettings())
			begun := make(chan bool, 1)
			g.atData = func(*wire.Conn, io.Reader) error { begun <- true; return nil }
			c := g.greeted()
			play(t, c, transaction+script[0])
			<-begun
			g.conns[0].Shutdown()
			play(t, c, script[1]+"\nS: 421 4.3.2\nS! ")
			if len(g.got()) != 1 {
				t.Errorf("%d messages", len(g.got()))
			}
		})
	}
}

// Shutdown before STARTTLS counts behind it.
func TestShutdownSurvivesSTARTTLS(t *testing.T) {
	s := baseSettings()
	s.TLS = serverTLS()
	g := newGateway(t, s)
	c := g.greeted()
	must(t, c.StartTLS(clientTLS()))
	g.conns[0].Shutdown()
	wantReply(t, c, "421 4.3.2")
}

// The end of the context cuts the connection.
func TestContextCuts(t *testing.T) {
	g := newGateway(t, baseSettings())
	ctx, cancel := context.WithCancel(g.ctx)
	g.ctx = ctx
	c := g.greeted()
	play(t, c, transaction+"C: DATA\nS: 354\nC: x")
	cancel()
	<-g.ended
	if reply, err := c.Reply(); err == nil || reply != "" {
		t.Errorf("got %q", reply)
	}
	if len(g.got()) != 0 {
		t.Error("a message was accepted")
	}
}

// A client that leaves inside a message leaves none behind.
func TestClientLeavesInsideAMessage(t *testing.T) {
	for _, script := range []string{
		transaction + "C: DATA\nS: 354\nC: x\nC+ .",
		transaction + "C+ BDAT 5 LAST\\r\\nabcd",
		transaction + "C+ BDAT 5\\r\\nabcde\nS: 250",
		transaction + "C+ BDAT 50000\\r\\n" + strings.Repeat("x", 40000),
	} {
		g := newGateway(t, baseSettings())
		c := g.greeted()
		play(t, c, script)
		c.Conn.Close()
		if err := <-g.ended; err == nil {
			t.Errorf("%.80q ended without an error", script)
		}
		if len(g.got()) != 0 {
			t.Errorf("%.80q: a message was accepted", script)
		}
		for _, r := range g.refusals() {
			if !r.IsZero() {
				t.Errorf("%.80q: the session was told %v", script, r)
			}
		}
	}
}

// Whoever pipelines everything and shuts the sending side gets every reply.
func TestHalfClose(t *testing.T) {
	g := newGateway(t, baseSettings())
	c := g.dial()
	must(t, c.Send("EHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"))
	must(t, c.Conn.(interface{ CloseWrite() error }).CloseWrite())
	for _, want := range []string{"220", "250", "250", "250", "354", "250", "221"} {
		wantReply(t, c, want)
	}
	wantClosed(t, c)
}

// Close from elsewhere, as go-smtp's Server.Close does, does not wait for a
// client that reads nothing.
func TestCloseFromElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := wire.NewListener(nil)
		near, far := net.Pipe()
		defer near.Close()
		var wg sync.WaitGroup
		wg.Go(func() { _ = l.Serve(t.Context(), far, baseSettings()) })
		conn, err := l.Accept()
		must(t, err)
		_, err = conn.Write([]byte("220 nobody reads this\r\n"))
		must(t, err)
		wg.Go(func() { _, err = conn.Read(make([]byte, 100)) })
		synctest.Wait()
		start := time.Now()
		must(t, conn.Close())
		wg.Wait()
		if time.Since(start) != 0 || err != io.EOF {
			t.Errorf("took %v, %v", time.Since(start), err)
		}
	})
}

// The judging of a message took until after the end of the session: it was
// accepted, the 250 was not sent any more, and the client sent it again.
func TestReplyToAnAcceptedMessageGoesOutThoughTheSessionIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := baseSettings()
		s.Session = time.Minute
		g := newGateway(t, s)
		g.atData = func(*wire.Conn, io.Reader) error { time.Sleep(2 * time.Minute); return nil }
		c := g.pipe()
		wantReply(t, c, "220")
		expect(t, c, "EHLO x", "250")
		play(t, c, transaction+"C: DATA\nS: 354\nC: x\nC: .\nS: 250 2.0.0 Ok\nS: 421 4.4.2")
		if len(g.got()) != 1 {
			t.Errorf("%d messages", len(g.got()))
		}
	})
}
