package intake

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/auth/sasl"
	"gatepost/mail"
	"gatepost/policy"
	"gatepost/store"
)

// fakePolicy knows one domain, local.test, and does what the field X-Verdict
// of a message says.
type fakePolicy struct {
	clients map[string][]netip.Prefix
	ptr     string
}

func (p *fakePolicy) ClientFor(names []string, addr netip.Addr) (string, bool) {
	for _, n := range names {
		for _, prefix := range p.clients[n] {
			if prefix.Contains(addr) {
				return n, true
			}
		}
	}
	return "", false
}

func (p *fakePolicy) Reverse(_ context.Context, addr netip.Addr) policy.IPRev {
	if p.ptr == "" {
		return policy.IPRev{Value: "fail", Reason: "no name"}
	}
	return policy.IPRev{Value: "pass", Name: p.ptr, Addr: addr}
}

func (p *fakePolicy) Mail(_ context.Context, s policy.Session, from mail.Address) policy.Verdict {
	if from.Local() == "forbidden" {
		return refusal(s, "send-as", mail.ReplySendAs)
	}
	return policy.Verdict{Action: policy.Accept}
}

func (p *fakePolicy) Recipient(_ context.Context, s policy.Session, _, to mail.Address) policy.Verdict {
	switch {
	case s.Role == mail.RoleRelay:
	case to.Domain().String() != "local.test":
		return refusal(s, "relay-denied", mail.ReplyRelayDenied)
	case to.Local() == "nobody":
		return refusal(s, "recipient-unknown", mail.ReplyNoSuchUser)
	}
	return policy.Verdict{Action: policy.Accept}
}

func (p *fakePolicy) Content(_ context.Context, s policy.Session, _ mail.Envelope, h mail.Header, _ mail.Body) (policy.Facts, policy.Verdict, mail.Domain) {
	facts := policy.Facts{IPRev: s.IPRev}
	v := policy.Verdict{Action: policy.Accept}
	from, _ := mail.HeaderFrom(h)
	for _, f := range h.All("X-Verdict") {
		switch action := policy.Action(f.Value()); action {
		case policy.Reject:
			return facts, refusal(s, "test", mail.ReplyPolicy), mail.Domain{}
		case policy.Defer:
			return facts, refusal(s, "test", mail.ReplyDefer), mail.Domain{}
		default:
			v = policy.Verdict{Action: action, Rule: "test", Reason: "as told"}
		}
	}
	return facts, v, from.Domain()
}

func (p *fakePolicy) TagField(v policy.Verdict) []byte {
	if v.Action == policy.Tag {
		return []byte("X-Gatepost-Verdict: tag\r\n")
	}
	return nil
}

func refusal(s policy.Session, rule string, r mail.Reply) policy.Verdict {
	action := policy.Reject
	if r.Temporary() {
		action = policy.Defer
	}
	return policy.Verdict{Action: action, Rule: rule, Reason: "test", Reply: withID(r, s.ID)}
}

// accepted is one message as the fake queue got it.
type accepted struct {
	mail.Message
	final string // as it would leave
	hold  string
}

// fakeAcceptor keeps what it gets in memory.
type fakeAcceptor struct {
	fail string // "full", "unavailable": how Accept fails
	// entered and leave, where not nil, stop Accept in the middle.
	entered, leave chan struct{}

	mu   sync.Mutex
	list []accepted
}

func (a *fakeAcceptor) Accept(ctx context.Context, m *mail.Message, hold string) error {
	if a.entered != nil {
		a.entered <- struct{}{}
		<-a.leave
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	switch a.fail {
	case "full":
		return fmt.Errorf("accept: %w", store.ErrFull)
	case "unavailable":
		return errors.New("connect to 192.0.2.5: secret detail")
	}
	r, err := m.Open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, accepted{*m, string(b), hold})
	return nil
}

func (a *fakeAcceptor) all() []accepted {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]accepted{}, a.list...)
}

// recorder is an Observer that writes one line for each call.
type recorder struct {
	mu    sync.Mutex
	lines []string
	ended chan struct{}
}

func (r *recorder) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n")
}

func (r *recorder) SessionStarted(s Session) { r.add("started %s %s", s.Listener, s.Addr) }
func (r *recorder) SessionEnded(s Session, _ time.Duration, err error) {
	r.add("ended helo=%s tls=%t user=%s", s.Helo, s.TLS != "", s.User)
	if r.ended != nil {
		r.ended <- struct{}{}
	}
}
func (r *recorder) Handshake(s Session, err error) { r.add("handshake ok=%t", err == nil) }
func (r *recorder) Authenticated(s Session, mechanism, user string, err error) {
	r.add("auth %s %s ok=%t", mechanism, user, err == nil)
}
func (r *recorder) Refused(x Refusal) {
	r.add("refused %s %d %s rule=%s to=%s id=%t err=%t", x.Stage, x.Reply.Code, x.Reply.Enhanced, x.Verdict.Rule, x.To, x.ID != 0, x.Err != nil)
}
func (r *recorder) Accepted(a Acceptance) {
	r.add("accepted from=%s rcpts=%d hold=%s", a.Message.Envelope.From.Path(), len(a.Message.Envelope.Recipients), a.Hold)
}

// fakeUsers knows user "u" with password "p".
type fakeUsers struct{}

func (fakeUsers) Verify(_ context.Context, user, password string) error {
	switch {
	case user == "trouble":
		return errors.New("database is gone: secret detail")
	case user != "u" || password != "p":
		return sasl.ErrCredentials
	}
	return nil
}

// rig is an intake with everything around it.
type rig struct {
	*Intake
	options  Options
	policy   *fakePolicy
	acceptor *fakeAcceptor
	observer *recorder
}

// newRig makes options for one listener on loopback; start begins.
func newRig(t testing.TB, l Listener) *rig {
	t.Helper()
	ids, err := mail.NewIDSource(time.Now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{policy: &fakePolicy{clients: map[string][]netip.Prefix{}}, acceptor: &fakeAcceptor{}, observer: &recorder{}}
	certs, err := LoadCertificates([]CertificateFiles{writeCertificate(t, t.TempDir(), "mx.test")}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if l.Name == "" {
		l.Name = "test"
	}
	if l.Address == "" {
		l.Address = "127.0.0.1:0"
	}
	if l.Role == "" {
		l.Role = RoleMX
	}
	postmaster, err := mail.ParseAddress("postmaster@local.test", false)
	if err != nil {
		t.Fatal(err)
	}
	r.options = Options{
		Hostname: "mx.test", AuthservID: "local.test", Postmaster: postmaster, SpoolDir: t.TempDir(),
		Listeners: []Listener{l}, StripInbound: []string{"X-Gatepost-*"},
		Services: Services{
			Acceptor: r.acceptor, Policy: r.policy, Observer: r.observer, Authenticator: fakeUsers{},
			Certificates: certs, IDs: ids, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		},
	}
	return r
}

// start serves until the test ends.
func (r *rig) start(t testing.TB) *rig {
	t.Helper()
	var err error
	if r.Intake, err = New(r.options); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // cut what is left
		_ = r.Shutdown(ctx)
	})
	return r
}

func (r *rig) addr() string { return r.Addrs()[r.options.Listeners[0].Name].String() }
