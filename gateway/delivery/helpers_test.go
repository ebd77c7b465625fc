package delivery

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatepost/auth/signing"
	"gatepost/dnsx"
	"gatepost/gateway/delivery/smtptest"
	"gatepost/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What root gives us fits.
var (
	_ Resolver = (*dnsx.Resolver)(nil)
	_ Signer   = (*signing.Signer)(nil)
)

// fakeDNS answers from maps; "!" as the first letter of a value is a temporary failure.
type fakeDNS struct {
	mx    map[string][]dnsx.MX
	addrs map[string][]string
}

func (f fakeDNS) MX(_ context.Context, name string) (dnsx.Answer[dnsx.MX], error) {
	records := f.mx[name]
	switch {
	case len(records) == 0 && f.addrs[name] == nil:
		return dnsx.Answer[dnsx.MX]{}, &dnsx.Error{Kind: dnsx.NXDomain, Name: name, Type: "MX"}
	case len(records) == 0:
		return dnsx.Answer[dnsx.MX]{}, &dnsx.Error{Kind: dnsx.NoData, Name: name, Type: "MX"}
	case records[0].Host == "!":
		return dnsx.Answer[dnsx.MX]{}, &dnsx.Error{Kind: dnsx.Temporary, Name: name, Type: "MX"}
	}
	return dnsx.Answer[dnsx.MX]{Records: append([]dnsx.MX(nil), records...)}, nil
}

func (f fakeDNS) Addrs(_ context.Context, name string) (dnsx.Answer[netip.Addr], error) {
	var a dnsx.Answer[netip.Addr]
	for _, text := range f.addrs[name] {
		if text == "!" {
			return a, &dnsx.Error{Kind: dnsx.Temporary, Name: name, Type: "A"}
		}
		a.Records = append(a.Records, netip.MustParseAddr(text))
	}
	if len(a.Records) == 0 {
		return a, &dnsx.Error{Kind: dnsx.NXDomain, Name: name, Type: "A"}
	}
	return a, nil
}

// inOrder does not shuffle.
func inOrder(int, func(i, j int)) {}

// start makes a Deliverer whose next hop "test" are the servers, in order.
func start(t testing.TB, o Options, servers ...*smtptest.Server) *Deliverer {
	t.Helper()
	o.Hostname = "gw.example"
	if o.Resolver == nil {
		o.Resolver = fakeDNS{}
	}
	o.Shuffle = inOrder
	if len(o.NextHops) == 0 {
		o.NextHops = []NextHop{{}}
	}
	o.NextHops[0].Name = "test"
	for _, s := range servers {
		o.NextHops[0].URLs = append(o.NextHops[0].URLs, "smtp://"+s.Addr())
	}
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// serve plays dialogues on any port.
func serve(t testing.TB, dialogues ...string) *smtptest.Server {
	t.Helper()
	return smtptest.New(t, "127.0.0.1:0", nil, dialogues...)
}

func serveTLS(t testing.TB, config *tls.Config, dialogues ...string) *smtptest.Server {
	t.Helper()
	return smtptest.New(t, "127.0.0.1:0", config, dialogues...)
}

// closedPort is an address where nobody listens.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func address(t testing.TB, s string) mail.Address {
	t.Helper()
	if s == "" {
		return mail.Address{}
	}
	a, err := mail.ParseAddress(s, true)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// message makes a message of a relay client, and shapes it.
func message(t testing.TB, content string) *mail.Message {
	t.Helper()
	shape, err := mail.Scan(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return &mail.Message{ID: 7, Content: mail.MemoryBody([]byte(content)), Shape: shape,
		Envelope: mail.Envelope{From: address(t, "a@a.example")}, Origin: mail.Origin{Role: mail.RoleRelay}}
}

const small = "From: a@a.example\r\n\r\nHello\r\n"

// job is a message for recipients at the next hop "test".
func job(t testing.TB, m *mail.Message, to ...string) Job {
	t.Helper()
	j := Job{Dest: "hop:test", Message: m}
	for _, s := range to {
		j.Recipients = append(j.Recipients, mail.Recipient{Address: address(t, s)})
	}
	return j
}

// want checks one result against "code enhanced scope text…".
func want(t testing.TB, r Result, expected string) {
	t.Helper()
	got := r.Status.String()
	if r.Scope != "" {
		got = string(r.Scope) + " " + got
	}
	prefix, wild := strings.CutSuffix(expected, "*")
	if got != expected && !(wild && strings.HasPrefix(got, prefix)) {
		t.Errorf("got  %s\nwant %s", got, expected)
	}
}

// Pieces of dialogues.
const (
	hello = `
	S: 220 test
	C: EHLO gw.example
	S: 250-test
	S: 250-8BITMIME
	S: 250-DSN
	S: 250 PIPELINING
`
	transfer = `
	C: MAIL FROM:<a@a.example>*
	C: RCPT TO:<b@b.example>
	C: DATA
	S: 250 2.1.0 Ok
	S: 250 2.1.5 Ok
	S: 354 go
	D:
	S: 250 2.0.0 queued as X
`
	quit = `
	C: QUIT
	S: 221 bye
`
)

// fixedSigner signs everything with the same field.
type fixedSigner struct {
	calls []string
	err   error
}

func (s *fixedSigner) Sign(ctx context.Context, _ *mail.Message, form string, open func(context.Context) (io.ReadCloser, error)) ([]byte, []string, error) {
	r, err := open(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		return nil, nil, err
	}
	s.calls = append(s.calls, form+": "+string(content))
	return []byte("DKIM-Signature: x\r\n"), []string{"a.example/s1"}, s.err
}

// clock is a time that a test sets.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }
