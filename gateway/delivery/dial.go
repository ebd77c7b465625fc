package delivery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	gosasl "github.com/emersion/go-sasl"

	"gatepost/auth/sasl"
	"gatepost/gateway/delivery/smtpc"
)

// connect opens a connection that is ready for MAIL.
func (d *Deliverer) connect(ctx context.Context, t *target) (*link, *failure) {
	if err := d.pool.reserve(ctx); err != nil {
		return nil, &failure{cause: causeInterrupted, err: err}
	}
	started := d.options.Now()
	conn, f := d.establish(ctx, t, t.hop.tls.policy != TLSOff)
	if f != nil && d.mayFallBack(ctx, t, f) {
		conn, f = d.establish(ctx, t, false)
	}
	took := d.options.Now().Sub(started)
	if f != nil {
		d.pool.free()
		d.options.Observer.Connected(t.hop.name, string(f.cause), "", took)
		return nil, f
	}
	version, _, _ := strings.Cut(conn.TLS(), " TLS_")
	d.options.Observer.Connected(t.hop.name, "ok", version, took)
	return &link{Conn: conn, target: t, born: d.options.Now()}, nil
}

// mayFallBack tells whether a fresh connection in plaintext may be tried:
// opportunistic TLS prefers plaintext to no delivery (RFC 7435 section 1.2).
// A password never goes that way.
func (d *Deliverer) mayFallBack(ctx context.Context, t *target, f *failure) bool {
	inTLS := f.cause == causeTLS || f.stage == smtpc.StageStartTLS
	return inTLS && ctx.Err() == nil && t.hop.tls.policy == TLSOpportunistic && !t.tls && t.hop.auth == (Auth{})
}

// establish goes from the socket to the end of EHLO and AUTH.
func (d *Deliverer) establish(ctx context.Context, t *target, startTLS bool) (*smtpc.Conn, *failure) {
	socket, err := d.dial(ctx, t)
	if err != nil {
		if ctx.Err() != nil {
			return nil, &failure{cause: causeInterrupted, err: err}
		}
		return nil, &failure{cause: causeConnect, err: err}
	}
	conn := smtpc.New(socket, smtpc.Options{LMTP: t.lmtp, Name: t.hop.ehlo, Timeouts: d.options.Timeouts, Buffers: d.buffers})
	f := introduce(ctx, conn, t, startTLS)
	if f == nil && d.isSelf(t, conn) {
		f = &failure{cause: causeLoop, detail: conn.Host()}
	}
	if f != nil {
		_ = conn.Close() // it failed already
		return nil, f
	}
	return conn, nil
}

// isSelf tells whether a host found by MX calls itself by our name: behind
// address translation we do not know the addresses that lead to us. A
// configured next hop may be another server on this machine.
func (d *Deliverer) isSelf(t *target, conn *smtpc.Conn) bool {
	return t.hop == d.mx && d.ownNames[strings.ToLower(conn.Host())]
}

// introduce is the session before MAIL.
func introduce(ctx context.Context, conn *smtpc.Conn, t *target, startTLS bool) *failure {
	if t.tls {
		if err := conn.Handshake(ctx, t.hop.tls.config(t.host)); err != nil {
			return classify(ctx, err)
		}
	}
	if err := conn.Greeting(ctx); err != nil {
		return classify(ctx, err)
	}
	if err := conn.Hello(ctx); err != nil {
		return classify(ctx, err)
	}
	if startTLS && !t.tls && conn.Extensions().StartTLS {
		if f := encrypt(ctx, conn, t); f != nil {
			return f
		}
	}
	if t.hop.tls.must() && conn.TLS() == "" {
		return &failure{cause: causeTLSMissing}
	}
	return authenticate(ctx, conn, t.hop.auth)
}

// encrypt does STARTTLS and asks again what the server offers (RFC 3207
// section 4.2). With TLS 1.3 a server may refuse our certificate only then.
func encrypt(ctx context.Context, conn *smtpc.Conn, t *target) *failure {
	if err := conn.StartTLS(ctx, t.hop.tls.config(t.host)); err != nil {
		return classify(ctx, err)
	}
	err := conn.Hello(ctx)
	if err == nil {
		return nil
	}
	f := classify(ctx, err)
	if f.cause == causeLost {
		f.cause = causeTLS
	}
	return f
}

// authenticate logs in where the next hop has a login, inside TLS only.
func authenticate(ctx context.Context, conn *smtpc.Conn, a Auth) *failure {
	if a == (Auth{}) {
		return nil
	}
	if conn.TLS() == "" {
		return &failure{cause: causeTLSMissing, detail: "AUTH is used inside TLS only"}
	}
	client, err := newSASLClient(a, conn.Extensions().Auth)
	if err == nil {
		err = conn.Authenticate(ctx, client)
	}
	if err != nil {
		return classify(ctx, err)
	}
	return nil
}

func newSASLClient(a Auth, offered []string) (gosasl.Client, error) {
	for _, mechanism := range []string{sasl.Plain, sasl.Login} {
		if slices.Contains(offered, mechanism) && (a.Mechanism == "" || a.Mechanism == mechanism) {
			return sasl.NewClient(mechanism, a.Username, a.Password.Reveal())
		}
	}
	return nil, &smtpc.Error{Stage: smtpc.StageAuth, Err: fmt.Errorf("%w: %s", smtpc.ErrMechanism, strings.Join(offered, " "))}
}

var errNoSource = errors.New("no source address of this family")

// dial opens the socket, from one of our source addresses if there are any.
func (d *Deliverer) dial(ctx context.Context, t *target) (net.Conn, error) {
	dialer := net.Dialer{Timeout: d.options.ConnectTimeout}
	if t.addr.IsValid() && len(d.options.SourceAddresses) > 0 {
		source, ok := d.source(t.addr)
		if !ok {
			return nil, errNoSource
		}
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	return dialer.DialContext(ctx, t.network(), t.address)
}

// source takes the source addresses of a family in turn.
func (d *Deliverer) source(to netip.Addr) (netip.Addr, bool) {
	var fit []netip.Addr
	for _, addr := range d.options.SourceAddresses {
		if addr.Unmap().Is4() == to.Is4() {
			fit = append(fit, addr.Unmap())
		}
	}
	if len(fit) == 0 {
		return netip.Addr{}, false
	}
	return fit[int(d.turn.Add(1))%len(fit)], true
}

// hasSource tells whether mail to an address can leave from where the
// configuration wants it to leave: SPF knows these addresses, not others.
func (d *Deliverer) hasSource(to netip.Addr) bool {
	if len(d.options.SourceAddresses) == 0 {
		return true
	}
	return slices.ContainsFunc(d.options.SourceAddresses, func(a netip.Addr) bool { return a.Unmap().Is4() == to.Is4() })
}
