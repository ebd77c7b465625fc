package integration

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// terminate sends SIGTERM.
func (g *gate) terminate() {
	g.t.Helper()
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		g.t.Fatal(err)
	}
}

// ended waits for the end of the process and wants exit status 0.
func (g *gate) ended(bound time.Duration) {
	g.t.Helper()
	select {
	case err := <-g.exited:
		g.cmd = nil
		if err != nil {
			g.t.Errorf("the gateway ended with %v\n%s", err, tail(g.log.String()))
		}
	case <-time.After(bound):
		g.t.Errorf("the gateway did not end within %s", bound)
	}
}

// TestShutdown: SIGTERM makes the node unready at once, idle sessions get 421,
// nobody new gets in, a running DATA is finished, its message is kept, and the
// exit status is 0.
func TestShutdown(t *testing.T) {
	t.Parallel()
	end, in := startSink(t, nil), freeAddress(t)
	g := newGate(t, relayConfig+"shutdown_grace: 15s\n", relayVars(end, in))
	g.start()
	idle, running, chunked := mustDial(t, in), mustDial(t, in), mustDial(t, in)
	idle.expect(t, 250, "EHLO idle.test")
	for _, d := range []*dialogue{running, chunked} {
		d.expect(t, 250, "EHLO running.test")
		d.expect(t, 250, "MAIL FROM:<a@sender.test>")
		d.expect(t, 250, "RCPT TO:<b@rcpt.test>")
	}
	running.expect(t, 354, "DATA")
	text := letter("a@sender.test", "b@rcpt.test", "half way", "first half")
	if err := running.send(text); err != nil {
		t.Fatal(err)
	}
	other := letter("a@sender.test", "b@rcpt.test", "in chunks", strings.Repeat("line\r\n", 20000))
	chunked.expect(t, 250, "BDAT 60000\r\n"+other[:59998])
	g.terminate()
	if code, text, err := idle.reply(); err != nil || code != 421 {
		t.Errorf("the idle session: %q, %v", text, err)
	}
	if code := g.ready(); code != http.StatusServiceUnavailable {
		t.Errorf("ready: %d", code)
	}
	if d, err := dial(in); err == nil {
		d.conn.Close()
		t.Error("a new session was opened")
	}
	running.expect(t, 250, "second half\r\n.")
	chunked.expect(t, 250, "BDAT 60000 LAST\r\n"+other[60000:119998])
	g.ended(20 * time.Second)
	g.start() // what was not delivered is in the queue
	contains(t, string(end.wait(t, "half way").Data), "first half\r\nsecond half\r\n")
	end.wait(t, "in chunks")
	waitEmpty(t, g)
	checkAccount(t, g)
}

// TestShutdownGraceEnds: a client that never finishes does not hold it up.
func TestShutdownGraceEnds(t *testing.T) {
	t.Parallel()
	end, in := startSink(t, nil), freeAddress(t)
	g := newGate(t, relayConfig+"shutdown_grace: 2s\n", relayVars(end, in))
	g.start()
	d := mustDial(t, in)
	d.expect(t, 250, "EHLO slow.test")
	d.expect(t, 250, "MAIL FROM:<a@sender.test>")
	d.expect(t, 250, "RCPT TO:<b@rcpt.test>")
	d.expect(t, 354, "DATA")
	began := time.Now()
	g.terminate()
	g.ended(10 * time.Second)
	if took := time.Since(began); took < time.Second {
		t.Errorf("it waited only %s for the running DATA", took)
	}
	if code, text, err := d.reply(); err == nil && code != 421 {
		t.Errorf("the slow client was told %q", text)
	}
}

// TestShutdownWhileDelivering: a delivery under way is finished or tried again
// later; nothing is lost and nothing arrives twice.
func TestShutdownWhileDelivering(t *testing.T) {
	t.Parallel()
	end, in := startSink(t, nil), freeAddress(t)
	entered, release := make(chan struct{}, 10), make(chan struct{})
	end.OnData = func(*received) error {
		entered <- struct{}{}
		<-release
		return nil
	}
	g := newGate(t, relayConfig+"shutdown_grace: 15s\n", relayVars(end, in))
	g.start()
	if code, text, err := deliver(in, "client.test", "a@sender.test", []string{"b@rcpt.test"}, letter("a@sender.test", "b@rcpt.test", "under way", "x")); err != nil || code != 250 {
		t.Fatalf("%q, %v", text, err)
	}
	<-entered
	g.terminate()
	waitFor(t, 10*time.Second, "the node to be unready", func() bool { return g.ready() != http.StatusOK })
	close(release)
	g.ended(20 * time.Second)
	g.start()
	waitEmpty(t, g)
	if n := len(end.all()); n != 1 {
		t.Errorf("it arrived %d times", n)
	}
	checkAccount(t, g)
}

// TestShutdownWithDeadNextHop: what waits in the queue does not hold it up.
func TestShutdownWithDeadNextHop(t *testing.T) {
	t.Parallel()
	end, in := startSink(t, nil), freeAddress(t)
	end.OnMail = func(string) error { return smtpError(421, smtp.EnhancedCode{4, 3, 2}, "not now") }
	g := startGate(t, relayConfig, relayVars(end, in))
	for range 10 {
		if code, text, err := deliver(in, "client.test", "a@sender.test", []string{"b@rcpt.test"}, letter("a@sender.test", "b@rcpt.test", "waits", "x")); err != nil || code != 250 {
			t.Fatalf("%q, %v", text, err)
		}
	}
	g.terminate()
	g.ended(10 * time.Second)
	end.OnMail = nil
	g.start()
	waitEmpty(t, g)
	if n := len(end.all()); n != 10 {
		t.Errorf("%d messages arrived, want 10", n)
	}
}
