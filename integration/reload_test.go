package integration

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReload: SIGHUP takes a new configuration into use, and no session, not
// even a running DATA, notices.
func TestReload(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	idle := session(t, fromWorld, s.mx)
	running := session(t, fromWorld, s.mx)
	running.expect(t, 250, "MAIL FROM:<a@good.test>")
	running.expect(t, 250, "RCPT TO:<bob@example.test>")
	running.expect(t, 354, "DATA")
	idle.expect(t, 250, "MAIL FROM:<a@good.test>")
	idle.expect(t, 550, "RCPT TO:<new@new.test>")
	if err := s.rewrite("domains:\n", "domains:\n  - {name: new.test, next_hop: inside, recipients: {accept: all}}\n"); err != nil {
		t.Fatal(err)
	}
	s.hangup(`"msg":"configuration taken into use"`)
	idle.expect(t, 250, "RCPT TO:<new@new.test>")
	running.expect(t, 250, letter("a@good.test", "bob@example.test", "across a reload", "x")+".")
	s.inside.wait(t, "across a reload")
	send(t, fromWorld, s.mx, 250, "a@good.test", "new@new.test", letter("a@good.test", "new@new.test", "to the new domain", "x"))
	s.inside.wait(t, "to the new domain")
}

// hangup sends SIGHUP and waits for a line in the log.
func (g *gate) hangup(line string) {
	g.t.Helper()
	before := strings.Count(g.log.String(), line)
	if err := g.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		g.t.Fatal(err)
	}
	waitFor(g.t, 20*time.Second, line, func() bool { return strings.Count(g.log.String(), line) > before })
}

// TestBrokenReload: the old configuration stays, and everything wrong with the
// new one is said, in the log and on the command line.
func TestBrokenReload(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	if err := s.rewrite("role: mx, relay_clients: [exchange]}", "role: mx, relay_clients: [nobody]}"); err != nil {
		t.Fatal(err)
	}
	if err := s.rewrite("postmaster:", "postmasters:"); err != nil {
		t.Fatal(err)
	}
	s.hangup("the old one stays")
	out, err := s.run("reload")
	if err == nil {
		t.Errorf("reload of a broken file ended with 0:\n%s", out)
	}
	for _, text := range []string{out, s.log.String()} {
		contains(t, text, "postmasters: unknown key", "nobody")
	}
	contains(t, s.mustRun("queue", "stats"), "queued 0") // the command line works on
	send(t, fromExchange, s.mx, 250, "bob@example.test", "carl@world.test", letter("bob@example.test", "carl@world.test", "old configuration", "x"))
	s.world.wait(t, "old configuration")
	if err := os.Remove(s.config); err != nil {
		t.Fatal(err)
	}
	s.hangup("the old one stays")
	send(t, fromWorld, s.mx, 250, "a@good.test", "bob@example.test", letter("a@good.test", "bob@example.test", "no file", "x"))
}

// TestReloadSaysWhatNeedsARestart: nothing is ignored silently.
func TestReloadSaysWhatNeedsARestart(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	if err := s.rewrite("retry: [1s, 1s, 2s]", "retry: [5s]"); err != nil {
		t.Fatal(err)
	}
	contains(t, s.mustRun("reload"), "configuration taken into use", "delivery.retry takes effect after a restart")
}

// TestCertificateRenewed: changed files are used for new sessions, without any signal.
func TestCertificateRenewed(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	serial := func() string {
		t.Helper()
		d := secured(t, fromWorld, s.mx)
		defer d.conn.Close()
		return d.conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	old := secured(t, fromWorld, s.mx)
	makeCertificate(t, filepath.Join(s.dir, "tls.crt"), filepath.Join(s.dir, "tls.key"), "mx.example.test")
	waitFor(t, 30*time.Second, "the new certificate", func() bool { return serial() != before })
	old.expect(t, 250, "NOOP")
	writeFile(t, s.dir, "tls.crt", "broken")
	s.hangup("the old one stays")
	secured(t, fromWorld, s.mx).expect(t, 250, "NOOP")
}
