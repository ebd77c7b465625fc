package intake

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	transaction1 = "EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<u@local.test>\r\nDATA\r\n"
	letter       = "From: <a@client.example>\r\n\r\nx\r\n.\r\n"
)

func TestRefusesOptions(t *testing.T) {
	good := Listener{Name: "mx", Address: ":25", Role: RoleMX, TLS: TLS{Mode: TLSOff}}
	for path, change := range map[string]func(*Options, *Listener){
		"hostname":                               func(o *Options, _ *Listener) { o.Hostname = "" },
		"listeners":                              func(o *Options, _ *Listener) { o.Listeners = nil },
		"policy.strip_inbound[0]":                func(o *Options, _ *Listener) { o.StripInbound = []string{"*"} },
		"listeners[0].name":                      func(_ *Options, l *Listener) { l.Name = "" },
		"listeners[0].address":                   func(_ *Options, l *Listener) { l.Address = "25" },
		"listeners[0].role":                      func(_ *Options, l *Listener) { l.Role = "mta" },
		"listeners[0].tls.mode":                  func(_ *Options, l *Listener) { l.TLS.Mode = TLSRequired },
		"listeners[0].tls.min_version":           func(_ *Options, l *Listener) { l.TLS.MinVersion = "1.4" },
		"listeners[0].tls.client_cert":           func(_ *Options, l *Listener) { l.TLS.ClientCert = CertRequire },
		"listeners[0].bare_newline.data":         func(_ *Options, l *Listener) { l.BareNewline.Data = "keep" },
		"listeners[0].bare_newline.bdat":         func(_ *Options, l *Listener) { l.BareNewline.BDAT = "keep" },
		"listeners[0].auth.mechanisms":           func(_ *Options, l *Listener) { l.Mechanisms = []string{"PLAIN"} },
		"listeners[0].auth.mechanisms[1]":        func(_ *Options, l *Listener) { l.Mechanisms = []string{"PLAIN", "SCRAM-SHA-256"} },
		"listeners[0].proxy_protocol.trusted[0]": func(_ *Options, l *Listener) { l.ProxyTrusted = []string{"10.0.0.0/33"} },
		"listeners[0].limits.message_size":       func(_ *Options, l *Listener) { l.Limits.MessageSize = 1 },
		"listeners[0].limits.ipv6_prefix":        func(_ *Options, l *Listener) { l.Limits.IPv6Prefix = 129 },
		"listeners[0].limits.command_timeout":    func(_ *Options, l *Listener) { l.Limits.CommandTimeout = -1 },
		"listeners[1].name":                      func(o *Options, l *Listener) { o.Listeners = append(o.Listeners, *l) },
		"listeners[1].address":                   func(o *Options, l *Listener) { o.Listeners = append(o.Listeners, *l) },
	} {
		t.Run(path, func(t *testing.T) {
			o := Options{Hostname: "mx.test", Listeners: []Listener{good}}
			l := &o.Listeners[0]
			change(&o, l)
			_, err := New(o)
			if !hasFieldError(err, path) {
				t.Errorf("%v, want an error at %s", err, path)
			}
		})
	}
	if _, err := New(Options{Hostname: "mx.test", Listeners: []Listener{good}}); err != nil {
		t.Errorf("good options: %v", err)
	}
}

func hasFieldError(err error, path string) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return false
	}
	for _, e := range joined.Unwrap() {
		var field *FieldError
		if errors.As(e, &field) && field.Path == path {
			return true
		}
	}
	return false
}

// An address that cannot be bound binds none.
func TestStartBindsAllOrNone(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r := newRig(t, Listener{})
	second := r.options.Listeners[0]
	second.Name, second.Address = "second", taken.Addr().String()
	r.options.Listeners = append(r.options.Listeners, second)
	i, err := New(r.options)
	if err != nil {
		t.Fatal(err)
	}
	err = i.Start(t.Context())
	if !hasFieldError(err, "listeners[1].address") {
		t.Errorf("Start: %v", err)
	}
	if len(i.Addrs()) != 0 {
		t.Errorf("bound %v", i.Addrs())
	}
	if err := i.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestListensOnBothFamilies(t *testing.T) {
	r := newRig(t, Listener{Address: ":0"}).start(t)
	_, port, err := net.SplitHostPort(r.addr())
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{"127.0.0.1": "started test 127.0.0.1", "::1": "started test ::1"} {
		if host == "::1" && !hasIPv6() {
			t.Log("SKIPPED in part: this machine has no IPv6 on loopback")
			continue
		}
		dial(t, net.JoinHostPort(host, port)).want("220")
		if text := r.observer.text(); !strings.Contains(text, want) {
			t.Errorf("observer heard %q, want %q", text, want)
		}
	}
}

func hasIPv6() bool {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// What a connection held is given back when it ends.
func TestConnectionsAreGivenBack(t *testing.T) {
	r := newRig(t, Listener{Limits: Limits{Connections: 1, ConnectionsPerClient: 1}})
	r.observer.ended = make(chan struct{}, 100)
	r.start(t)
	c := dial(t, r.addr())
	c.want("220")
	c.say("QUIT", "221")
	<-r.observer.ended
	for { // the count falls a moment after the connection is closed
		c := dial(t, r.addr())
		if strings.HasPrefix(c.reply(), "220") {
			return
		}
	}
}

func TestShutdownSaysGoodbye(t *testing.T) {
	r := newRig(t, Listener{}).start(t)
	idle := dial(t, r.addr())
	idle.want("220")
	if err := r.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	idle.want("421 4.3.2")
	idle.closed()
	if conn, err := net.Dial("tcp", r.options.Listeners[0].Address); err == nil {
		conn.Close()
		t.Error("still accepts connections")
	}
	if err := r.Reload(r.options); err == nil {
		t.Error("Reload after Shutdown must fail")
	}
}

// A message that is on its way when the shutdown begins is taken.
func TestShutdownLetsMessagesFinish(t *testing.T) {
	r := newRig(t, Listener{}).start(t)
	busy, idle := dial(t, r.addr()), dial(t, r.addr())
	idle.want("220")
	busy.want("220")
	busy.write(transaction1)
	for _, want := range []string{"250", "250", "250", "354"} {
		busy.want(want)
	}
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(context.Background()) }()
	idle.want("421") // so that the shutdown has begun
	busy.write(letter)
	busy.want("250 2.0.0 Ok: queued as")
	busy.want("421")
	busy.closed()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := len(r.acceptor.all()); n != 1 {
		t.Errorf("%d messages accepted, want 1", n)
	}
}

// After the grace what is left is cut, and nothing runs any more.
func TestShutdownCutsAfterGrace(t *testing.T) {
	r := newRig(t, Listener{}).start(t)
	slow := dial(t, r.addr())
	slow.want("220")
	slow.write(transaction1)
	for _, want := range []string{"250", "250", "250", "354"} {
		slow.want(want)
	}
	slow.write("From: half a mes")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	if n := len(r.acceptor.all()); n != 0 {
		t.Errorf("%d messages accepted, want none", n)
	}
}

// A balancer that has not sent its header must not hold up the shutdown.
func TestShutdownDoesNotWaitForProxyHeader(t *testing.T) {
	r := newRig(t, Listener{ProxyTrusted: []string{"127.0.0.0/8"}}).start(t)
	c := dial(t, r.addr())
	for r.connections() == 0 {
		runtime.Gosched()
	}
	ctx, cancel := context.WithTimeout(t.Context(), proxyTimeout/2)
	defer cancel()
	if err := r.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	c.closed()
}

// connections counts what is open.
func (r *rig) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, k := range r.sockets {
		k.counts.mu.Lock()
		n += k.counts.total
		k.counts.mu.Unlock()
	}
	return n
}

// The client going away while the queue commits does not stop the commit.
func TestClientLeavesDuringCommit(t *testing.T) {
	r := newRig(t, Listener{})
	r.acceptor.entered, r.acceptor.leave = make(chan struct{}), make(chan struct{})
	r.observer.ended = make(chan struct{}, 1)
	r.start(t)
	c := dial(t, r.addr())
	c.want("220")
	c.write(transaction1 + letter)
	<-r.acceptor.entered
	if err := c.conn.Close(); err != nil {
		t.Fatal(err)
	}
	close(r.acceptor.leave)
	<-r.observer.ended
	if n := len(r.acceptor.all()); n != 1 {
		t.Errorf("%d messages accepted, want 1", n)
	}
	if text := r.observer.text(); !strings.Contains(text, "accepted from=") {
		t.Errorf("observer heard %q", text)
	}
}

// Reload: new sessions get the new settings, running ones keep theirs; an
// address that stays keeps its socket, one that goes is closed.
func TestReload(t *testing.T) {
	r := newRig(t, Listener{Limits: Limits{RecipientsPerMessage: 1}})
	gone := r.options.Listeners[0]
	gone.Name, gone.Address = "gone", "localhost:0"
	r.options.Listeners = append(r.options.Listeners, gone)
	r.start(t)
	addrs := r.Addrs()
	old := dial(t, r.addr())
	old.want("220")

	next := r.options
	fresh := next.Listeners[0]
	fresh.Name, fresh.Address = "fresh", "127.0.0.2:0"
	next.Listeners = []Listener{next.Listeners[0], fresh}
	next.Listeners[0].Limits.RecipientsPerMessage = 2
	next.Hostname = "new.test"
	if err := r.Reload(next); err != nil {
		t.Fatal(err)
	}
	after := r.Addrs()
	if after["test"].String() != addrs["test"].String() || after["gone"] != nil || after["fresh"] == nil {
		t.Errorf("before %v, after %v", addrs, after)
	}
	if conn, err := net.Dial("tcp", addrs["gone"].String()); err == nil {
		conn.Close()
		t.Error("the listener that is gone still accepts")
	}
	second := []string{"452", "250"}
	for n, c := range []*client{old, dial(t, r.addr())} {
		if n == 1 {
			c.want("220 new.test")
		}
		c.say("EHLO client.example", "250")
		c.say("MAIL FROM:<a@client.example>", "250")
		c.say("RCPT TO:<one@local.test>", "250")
		c.say("RCPT TO:<two@local.test>", second[n])
	}
	dial(t, after["fresh"].String()).want("220 new.test")
}

// A reload right behind another stopped a service whose go-smtp had not begun
// to accept: it never ended, and the gateway could not be stopped any more.
func TestReloadBehindReloadEnds(t *testing.T) {
	r := newRig(t, Listener{}).start(t)
	for range 300 {
		if err := r.Reload(r.options); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("a service of an old generation is still there")
	}
}

func TestReloadThatFailsChangesNothing(t *testing.T) {
	r := newRig(t, Listener{}).start(t)
	bad := r.options
	bad.Listeners = []Listener{{Name: "x", Role: "mta", Address: "127.0.0.1:0"}}
	if err := r.Reload(bad); !hasFieldError(err, "listeners[0].role") {
		t.Errorf("Reload: %v", err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	bad.Listeners = []Listener{{Name: "x", Role: RoleMX, Address: taken.Addr().String(), TLS: TLS{Mode: TLSOff}}}
	if err := r.Reload(bad); !hasFieldError(err, "listeners[0].address") {
		t.Errorf("Reload: %v", err)
	}
	dial(t, r.addr()).want("220 mx.test")
}

// A message of 3 MiB goes through a file and comes out whole.
func TestLargeMessage(t *testing.T) {
	r := newRig(t, Listener{}).start(t)
	c := dial(t, r.addr())
	c.want("220")
	c.write(transaction1)
	for _, want := range []string{"250", "250", "250", "354"} {
		c.want(want)
	}
	body := strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", 3<<20/72)
	var wait sync.WaitGroup
	wait.Go(func() { _, _ = io.WriteString(c.conn, "From: <a@client.example>\r\n\r\n"+body+".\r\n") })
	c.want("250 2.0.0")
	wait.Wait()
	got := r.acceptor.all()[0]
	if !strings.HasSuffix(got.final, "\r\n\r\n"+body) {
		t.Error("the body came out changed")
	}
	if got.Shape.HeaderSize != 28 {
		t.Errorf("header of %d octets, want 28", got.Shape.HeaderSize)
	}
	c.say("QUIT", "221") // so that Data has returned
	if used := r.space.used.Load(); used != 0 {
		t.Errorf("%d octets of spool memory not given back", used)
	}
}

// Many sessions at once, some of which break off (for the race detector).
func TestManySessions(t *testing.T) {
	r := newRig(t, Listener{}).start(t)
	var wait sync.WaitGroup
	for n := range 20 {
		wait.Go(func() {
			conn, err := net.Dial("tcp", r.addr())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.WriteString(conn, "EHLO x\r\n")
			for k := range 5 {
				chunk := "From: <a@client.example>\r\n\r\n"
				cmd := "MAIL FROM:<a@client.example>\r\nRCPT TO:<u@local.test>\r\nBDAT 28\r\n" + chunk
				if (n+k)%3 == 0 {
					cmd += "RSET\r\n"
				} else {
					cmd += "BDAT 3 LAST\r\nx\r\n"
				}
				_, _ = io.WriteString(conn, cmd)
			}
			if n%4 != 0 {
				_, _ = io.WriteString(conn, "QUIT\r\n")
				_, _ = io.Copy(io.Discard, conn)
			}
		})
	}
	wait.Wait()
	if err := r.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	for _, m := range r.acceptor.all() {
		if !strings.HasSuffix(m.final, "\r\n\r\nx\r\n") {
			t.Errorf("message %q", m.final)
		}
	}
}

// A balancer that only looks whether the port is open is no refusal.
func TestProbeOfBalancerIsQuiet(t *testing.T) {
	r := newRig(t, Listener{ProxyTrusted: []string{"127.0.0.0/8"}}).start(t)
	dial(t, r.addr()).conn.Close()
	c := dial(t, r.addr())
	c.write("garbage that makes noise\r\n") // accepted behind the silent one
	c.closed()
	if err := r.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text := r.observer.text(); strings.Count(text, "refused connect") != 1 {
		t.Errorf("observer heard %q, want one refusal", text)
	}
}
