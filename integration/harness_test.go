package integration

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"gatepost/dnsx/zone"
)

// binary is the gateway under test: the one that ships, without the race detector.
func binary(t testing.TB) string {
	t.Helper()
	path := os.Getenv("GATEPOST_BINARY")
	if path == "" {
		path = "../bin/gatepost"
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(abs); err != nil {
		t.Fatalf("no binary to test: %v; run 'make build' or use 'make test'", err)
	}
	return abs
}

// peer gives the path of a program of an unpacked Debian package, or skips the test loudly.
func peer(t testing.TB, path string) string {
	t.Helper()
	dir := os.Getenv("GATEPOST_PEERS")
	if dir == "" {
		dir = "../.cache/peers"
	}
	abs, err := filepath.Abs(filepath.Join(dir, path))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(abs); err != nil {
		t.Skipf("SKIPPED: the peer %s is absent; 'make deps' gets it: %v", path, err)
	}
	return abs
}

// tool gives the path of an installed program, or skips the test loudly.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("SKIPPED: %s is absent; 'make deps' installs it: %v", name, err)
	}
	return path
}

// lastPort is the port that freeAddress gave last: none is given twice, for a
// test may take its time until it listens.
var lastPort atomic.Int32

// freeAddress is a loopback address with a port that was free a moment ago, of
// those that outgoing connections do not take by themselves.
func freeAddress(t testing.TB) string {
	t.Helper()
	const first, count = 10000, 20000
	lastPort.CompareAndSwap(0, 1+rand.Int32N(count)) // another process may test too
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+lastPort.Add(1)%count))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().String()
	}
	t.Fatal("no free port found")
	return ""
}

// lockedBuffer gathers output of a process.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// gate is one running gateway.
type gate struct {
	t      testing.TB
	dir    string
	config string // path of gatepost.yaml
	health string
	log    *lockedBuffer
	cmd    *exec.Cmd
	wrap   []string // command that runs the binary, such as strace
	exited chan error
}

// newGate writes a configuration, in which "{{name}}" stands for vars, and
// {{dir}} for the gateway's own directory. Certificates for mx.example.test
// are at {{dir}}/tls.crt and {{dir}}/tls.key. It does not start it.
func newGate(t testing.TB, config string, vars map[string]string) *gate {
	t.Helper()
	dir := t.TempDir()
	g := &gate{t: t, dir: dir, config: filepath.Join(dir, "gatepost.yaml"), health: freeAddress(t), log: &lockedBuffer{}}
	makeCertificate(t, filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), "mx.example.test")
	g.configure(config, vars)
	return g
}

// configure writes the configuration anew.
func (g *gate) configure(config string, vars map[string]string) {
	g.t.Helper()
	pairs := []string{"{{dir}}", g.dir}
	for k, v := range vars {
		pairs = append(pairs, "{{"+k+"}}", v)
	}
	text := strings.NewReplacer(pairs...).Replace(config)
	if i := strings.Index(text, "{{"); i >= 0 {
		g.t.Fatalf("configuration with a name that has no value: %.40s", text[i:])
	}
	text += fmt.Sprintf("\nhealth: {address: %q}\n", g.health)
	if !strings.Contains(text, "data_dir:") {
		text += "data_dir: " + g.dir + "/data\n"
	}
	if err := os.WriteFile(g.config, []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// startGate makes and starts a gateway and stops it at the end of the test.
func startGate(t testing.TB, config string, vars map[string]string) *gate {
	t.Helper()
	g := newGate(t, config, vars)
	g.start()
	return g
}

// start runs the binary and waits until it is ready.
func (g *gate) start() {
	g.t.Helper()
	args := append(append([]string{}, g.wrap...), binary(g.t), "serve", "--config", g.config)
	g.cmd = exec.Command(args[0], args[1:]...)
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := g.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	exited, cmd := make(chan error, 1), g.cmd
	g.exited = exited
	go func() { exited <- cmd.Wait() }()
	g.t.Cleanup(g.stop)
	g.waitReady()
}

func (g *gate) waitReady() {
	g.t.Helper()
	waitFor(g.t, 30*time.Second, "the gateway to be ready", func() bool {
		select {
		case err := <-g.exited:
			g.exited <- err
			g.t.Fatalf("the gateway ended: %v\n%s", err, g.log)
		default:
		}
		return g.ready() == http.StatusOK
	})
}

// ready is the HTTP status of /readyz, 0 when nobody answers.
func (g *gate) ready() int {
	r, err := http.Get("http://" + g.health + "/readyz")
	if err != nil {
		return 0
	}
	r.Body.Close()
	return r.StatusCode
}

// stop ends the gateway by SIGTERM; it must end in time and without an error.
func (g *gate) stop() {
	if g.cmd == nil {
		return
	}
	g.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-g.exited:
		if err != nil {
			g.t.Errorf("the gateway ended with %v\n%s", err, tail(g.log.String()))
		}
	case <-time.After(40 * time.Second):
		g.cmd.Process.Signal(syscall.SIGQUIT)
		g.t.Errorf("the gateway did not end after SIGTERM\n%s", tail(g.log.String()))
		<-g.exited
	}
	g.cmd = nil
	if g.t.Failed() {
		g.t.Logf("log of the gateway:\n%s", tail(g.log.String()))
	}
}

// kill ends the gateway as a crash would.
func (g *gate) kill() {
	g.cmd.Process.Kill()
	<-g.exited
	g.cmd = nil
}

// run runs a command of the command line and returns what it printed.
func (g *gate) run(args ...string) (string, error) {
	g.t.Helper()
	return g.runIn(nil, args...)
}

func (g *gate) runIn(stdin io.Reader, args ...string) (string, error) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(g.t), append(args, "--config", g.config)...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// mustRun is run for commands that must succeed.
func (g *gate) mustRun(args ...string) string {
	g.t.Helper()
	out, err := g.run(args...)
	if err != nil {
		g.t.Fatalf("gatepost %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func tail(s string) string {
	if len(s) > 8000 {
		return "…" + s[len(s)-8000:]
	}
	return s
}

// waitFor polls until ok, or fails the test after the bound. It waits for
// other processes, which no clock of ours moves.
func waitFor(t testing.TB, bound time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(bound)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", bound, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// startDNS serves a zone on loopback and returns its address.
func startDNS(t testing.TB, text string) (string, *zone.Zone) {
	t.Helper()
	z, err := zone.ParseString(text)
	if err != nil {
		t.Fatal(err)
	}
	s, err := zone.NewServer("127.0.0.1:0", z)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.Addr(), z
}

// received is one message that a sink got.
type received struct {
	From string
	To   []string
	Mail *smtp.MailOptions
	Rcpt []*smtp.RcptOptions
	Data []byte
}

// sink is a next hop that keeps what it gets. Its functions, when set, may
// refuse.
type sink struct {
	Addr   string
	OnMail func(from string) error
	OnRcpt func(to string) error
	OnData func(m *received) error

	mu     sync.Mutex
	got    []*received
	server *smtp.Server
}

// startSink starts a sink; change sets server options before it listens.
func startSink(t testing.TB, change func(*smtp.Server)) *sink {
	t.Helper()
	return startSinkAt(t, "127.0.0.1:0", change)
}

func startSinkAt(t testing.TB, address string, change func(*smtp.Server)) *sink {
	t.Helper()
	s := &sink{}
	s.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &sinkSession{sink: s}, nil }))
	s.server.Domain, s.server.AllowInsecureAuth = "sink.test", true
	s.server.EnableSMTPUTF8, s.server.EnableDSN = true, true
	s.server.MaxLineLength = 1 << 22
	if change != nil {
		change(s.server)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s.Addr = l.Addr().String()
	done := make(chan struct{})
	go func() { s.server.Serve(l); close(done) }()
	t.Cleanup(func() { s.server.Close(); <-done })
	return s
}

type sinkSession struct {
	sink *sink
	m    received
}

func (s *sinkSession) Mail(from string, o *smtp.MailOptions) error {
	s.m = received{From: from, Mail: o}
	if s.sink.OnMail != nil {
		return s.sink.OnMail(from)
	}
	return nil
}

func (s *sinkSession) Rcpt(to string, o *smtp.RcptOptions) error {
	if s.sink.OnRcpt != nil {
		if err := s.sink.OnRcpt(to); err != nil {
			return err
		}
	}
	s.m.To, s.m.Rcpt = append(s.m.To, to), append(s.m.Rcpt, o)
	return nil
}

func (s *sinkSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m := s.m
	m.Data = b
	if s.sink.OnData != nil {
		if err := s.sink.OnData(&m); err != nil {
			return err
		}
	}
	s.sink.mu.Lock()
	defer s.sink.mu.Unlock()
	s.sink.got = append(s.sink.got, &m)
	return nil
}

func (s *sinkSession) Reset()        { s.m = received{} }
func (s *sinkSession) Logout() error { return nil }

// all is what the sink has got so far.
func (s *sink) all() []*received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*received(nil), s.got...)
}

// wait waits for a message that contains text.
func (s *sink) wait(t testing.TB, text string) *received {
	t.Helper()
	var found *received
	waitFor(t, 30*time.Second, fmt.Sprintf("a message with %q", text), func() bool {
		for _, m := range s.all() {
			if bytes.Contains(m.Data, []byte(text)) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// smtpError is a reply that a sink gives.
func smtpError(code int, enhanced smtp.EnhancedCode, text string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: text}
}
