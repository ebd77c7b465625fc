package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"

	"gatepost/config"
	"gatepost/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

const relayText = `
hostname: %s
data_dir: %s
store: {min_free: 1MiB}
dns: {servers: [{address: "127.0.0.1:9"}]}
relay_clients: [{name: local, addresses: [127.0.0.1], send_as: ["@a.test"]}]
listeners: [{name: in, address: "%s", role: smarthost, relay_clients: [local], tls: {mode: "off"}}]
next_hops: [{name: next, urls: ["smtp://%s"], tls: {policy: "off"}}]
routes: [{match: {recipients: ["*"]}, next_hop: next}]
delivery: {warn_after: 0}
`

// node is one gateway that runs in this process.
type node struct {
	g      *Gateway
	log    *safeBuffer
	stop   context.CancelFunc
	done   chan error
	listen string
	file   string
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func startNode(t *testing.T, name, next string) *node {
	t.Helper()
	n := &node{log: &safeBuffer{}, done: make(chan error, 1), listen: freeAddress(t)}
	dir := t.TempDir()
	n.file = filepath.Join(dir, "gatepost.yaml")
	writeFile(t, n.file, fmt.Sprintf(relayText, name, filepath.Join(dir, "data"), n.listen, next))
	c, wrong, _, err := CheckFile(t.Context(), n.file)
	if err != nil || len(wrong) > 0 {
		t.Fatal(err, wrong)
	}
	n.g, err = New(t.Context(), c, Options{Logger: slog.New(slog.NewJSONHandler(n.log, nil)), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	go func() { n.done <- n.g.Run(ctx) }()
	eventually(t, "listener of "+name, func() bool {
		c, err := net.Dial("tcp", n.listen)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return n
}

func (n *node) end(t *testing.T) {
	t.Helper()
	n.stop()
	if err := <-n.done; err != nil {
		t.Error(err)
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond) // other goroutines and sockets, which no clock of ours moves
	}
	t.Fatal("waited in vain for " + what)
}

// collector is the last hop.
type collector struct {
	mu   sync.Mutex
	mail []string
}

func (c *collector) NewSession(*smtp.Conn) (smtp.Session, error) { return c, nil }
func (c *collector) Mail(string, *smtp.MailOptions) error        { return nil }
func (c *collector) Rcpt(string, *smtp.RcptOptions) error        { return nil }
func (c *collector) Reset()                                      {}
func (c *collector) Logout() error                               { return nil }
func (c *collector) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mail = append(c.mail, string(b))
	return err
}

// TestTwoGatewaysInOneProcess shows that nothing of the house is global: one
// gateway relays to another in the same process, and both end without leaving
// a goroutine behind.
func TestTwoGatewaysInOneProcess(t *testing.T) {
	last := &collector{}
	server := smtp.NewServer(last)
	server.Domain = "last.test"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { server.Serve(l); close(served) }()
	second := startNode(t, "second.test", l.Addr().String())
	first := startNode(t, "first.test", second.listen)
	text := "From: x@a.test\r\nTo: y@b.test\r\nSubject: hop\r\n\r\nhello\r\n"
	client, err := smtp.Dial(first.listen)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.SendMail("x@a.test", []string{"y@b.test"}, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the message at the last hop", func() bool {
		last.mu.Lock()
		defer last.mu.Unlock()
		return len(last.mail) == 1
	})
	first.end(t)
	second.end(t)
	server.Close()
	<-served
	for _, by := range []string{"by first.test with ESMTP", "by second.test with ESMTP", "Message-ID:", "Date:"} {
		if !strings.Contains(last.mail[0], by) {
			t.Errorf("no %q in\n%s", by, last.mail[0])
		}
	}
}

func TestReload(t *testing.T) {
	n := startNode(t, "node.test", "127.0.0.1:9")
	defer n.end(t)
	good, err := os.ReadFile(n.file)
	if err != nil {
		t.Fatal(err)
	}
	session, err := smtp.Dial(n.listen)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	writeFile(t, n.file, string(good)+"typo: 1\n")
	if _, err := n.g.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "typo: unknown key") {
		t.Errorf("broken file: %v", err)
	}
	if !strings.Contains(n.log.String(), "the old one stays") {
		t.Error("the log does not say that the old configuration stays")
	}
	writeFile(t, n.file, strings.Replace(string(good), "@a.test", "@c.test", 1)+"shutdown_grace: 5s\nhistory: {keep: 1d}\nlog: {level: debug}\n")
	restart, err := n.g.Reload(t.Context())
	if err != nil || len(restart) != 1 || restart[0] != "log" {
		t.Errorf("needs restart: %v, %v", restart, err)
	}
	if err := session.Mail("x@a.test", nil); err == nil {
		t.Error("the session that was open still sends as the domain that was taken away")
	}
	if err := session.Mail("x@c.test", nil); err != nil {
		t.Errorf("the session that was open cannot send as the new domain: %v", err)
	}
}

// Dangers and contradictions that only the packages together can see.
func TestCheckFile(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"open relay by union", "relay_clients: [{name: a, addresses: [0.0.0.0/1]}, {name: b, addresses: [128.0.0.0/1]}]\nlisteners: [{name: in, address: ':2525', role: smarthost, relay_clients: [a, b]}]", "listeners[0].relay_clients: the addresses of these clients together"},
		{"open relay by mapped form", "relay_clients: [{name: a, addresses: ['::ffff:0:0/96']}]\nlisteners: [{name: in, address: ':2525', role: smarthost, relay_clients: [a]}]", "open relay"},
		{"PROXY header from everyone", "relay_clients: [{name: a, addresses: [192.0.2.1]}]\nlisteners: [{name: in, address: ':2525', role: mx, relay_clients: [a], proxy_protocol: {trusted: [0.0.0.0/0]}}]", "listeners[0].proxy_protocol.trusted: these addresses together"},
		{"route that can never match", "listeners: [{name: in, address: ':2525', role: mx}]\nroutes:\n  - {match: {recipients: ['*']}, next_hop: mx}\n  - {match: {recipients: [a.test]}, next_hop: mx}", "routes[1]"},
		{"certificate without key", "listeners: [{name: in, address: ':2525', role: mx}]\ntls: {certificates: [{cert: DIR/x.pem, key: DIR/x.pem}]}", "tls.certificates[0]"},
		{"bad password hash", "listeners: [{name: in, address: ':2525', role: mx}]\nusers: [{name: u, password_hash: '$argon2id$v=19$m=9999999999,t=1,p=1$YWJj$YWJj'}]", "users[0].password_hash"},
		{"bad key file", "listeners: [{name: in, address: ':2525', role: mx}]\ndkim: {keys: [{domain: a.test, selector: s, file: DIR/x.pem}]}", "dkim.keys[0].file"},
		{"retry too fast", "listeners: [{name: in, address: ':2525', role: mx}]\ndelivery: {retry: [500ms]}", "delivery.retry[0]: want at least 1s"},
		{"seal of a key that cannot be", "listeners: [{name: in, address: ':2525', role: mx}]\npolicy: {arc: {seal: {domain: test}}}", "policy.arc.seal.domain: expected the domain of a key"},
		{"seal over the chain", "listeners: [{name: in, address: ':2525', role: mx}]\npolicy: {arc: {seal: {domain: a.test, headers: [From, ARC-Seal]}}}", "policy.arc.seal.headers[1]: ARC-Seal must not be signed"},
		{"two proofs of a forwarder", "listeners: [{name: in, address: ':2525', role: mx}]\npolicy: {overrides: [{from: a.test, forwarder: {arc: b.test, dkim: b.test}, until: 2026-12-01, note: x}]}", "policy.overrides[0].forwarder: an override needs one proof"},
		{"unknown CA file", "listeners: [{name: in, address: ':2525', role: mx}]\nnext_hops: [{name: n, urls: ['smtp://a:25'], tls: {policy: verify, ca: DIR/x.pem}}]", "next_hops[0].tls.ca"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, "x.pem"), "nothing\n")
			file := filepath.Join(dir, "g.yaml")
			writeFile(t, file, "hostname: a.test\ndns: {servers: [{address: '127.0.0.1:9'}]}\n"+strings.ReplaceAll(tt.text, "DIR", dir)+"\n")
			_, wrong, _, err := CheckFile(t.Context(), file)
			if err != nil || !strings.Contains(wrong.Error(), tt.want) {
				t.Errorf("errors: %v %v\nwant %s", err, wrong, tt.want)
			}
			for _, w := range wrong {
				if w.Line == 0 {
					t.Errorf("no line: %v", w)
				}
			}
		})
	}
}

// A tag field of another name than X-Gatepost-* came in from strangers as it was.
func TestTagFieldOfStrangersIsStripped(t *testing.T) {
	var c config.Config
	c.Policy.StripInbound = []string{"X-A"}
	c.Policy.Tag.Header = "X-Spam-Verdict"
	if got := intakeOptions(&c).StripInbound; !slices.Equal(got, []string{"X-A", "X-Spam-Verdict"}) {
		t.Errorf("stripped are %v", got)
	}
}

// A set of parts that was replaced is closed only when its last user is done.
func TestPartsCloseAfterLastUse(t *testing.T) {
	closed := map[string]bool{}
	l := &live{}
	part := func(name string) *parts { return &parts{onClose: func() { closed[name] = true }} }
	l.replace(part("first"))
	_, done := l.take()
	l.replace(part("second"))
	if closed["first"] {
		t.Error("closed under its user")
	}
	done()
	if !closed["first"] || closed["second"] {
		t.Errorf("closed: %v", closed)
	}
	l.replace(part("third"))
	if !closed["second"] {
		t.Error("not closed though nobody uses it")
	}
}

func TestNoticeText(t *testing.T) {
	from, err := mail.ParseAddress("postmaster@a.test", false)
	if err != nil {
		t.Fatal(err)
	}
	text := noticeText(from, []string{"sec@a.test"}, nil, time.Unix(0, 0), "gw.test")
	h, err := mail.ParseHeader([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"} {
		if len(h.All(name)) != 1 {
			t.Errorf("%d fields %s", len(h.All(name)), name)
		}
	}
	if strings.Contains(strings.ReplaceAll(text, "\r\n", ""), "\n") {
		t.Error("bare LF in the notice")
	}
}

func TestNeedRestartNamesWhatStays(t *testing.T) {
	a, b := config.Config{}, config.Config{}
	if got := needRestart(&a, &b); got != nil {
		t.Errorf("equal configurations: %v", got)
	}
	b.DataDir, b.Delivery.Retry = "/x", []config.Duration{1}
	if got := needRestart(&a, &b); len(got) != 2 {
		t.Errorf("changed: %v", got)
	}
}
