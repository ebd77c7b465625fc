package intake

import (
	"context"
	"crypto/tls"
	"net/netip"
	"strings"
	"sync"
	"time"

	"gatepost/gateway/intake/wire"
	"gatepost/mail"
	"gatepost/policy"
)

// How long a message waits for the name of its client: where it is a fact to
// judge by, and where it only stands in the Received field.
const (
	reverseWait      = 5 * time.Second
	reverseWaitRelay = time.Second
)

// temporaryPerError is how many temporary failures weigh as much as one error.
// A client with far more recipients than a message may have is not cut off for
// it; one that makes us refuse for ever is.
const temporaryPerError = 100

// connection is what is known of one TCP connection. It outlives STARTTLS,
// which begins a new session.
type connection struct {
	*service
	peer    peer
	client  string       // name of the relay client
	prefix  netip.Prefix // what counts as one client
	started time.Time
	id      mail.ID

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup // what the connection started beside its session

	reverseOnce sync.Once
	reverseDone chan struct{}
	iprev       policy.IPRev // once reverseDone is closed

	mu           sync.Mutex
	facts        Session
	errors       int
	deferrals    int // temporary failures
	authFailures int
	reported     bool // the refusal on its way has been observed
}

func (s *service) newConnection(ctx context.Context, p peer) *connection {
	c := &connection{service: s, peer: p, started: s.Now(), id: s.IDs.Next(), reverseDone: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(ctx)
	c.prefix = clientPrefix(p.addr.Addr(), s.listener.Limits.IPv6Prefix)
	if p.mayRelay() {
		c.client, _ = s.Policy.ClientFor(s.listener.RelayClients, p.addr.Addr())
	}
	c.facts = Session{ID: c.id, Listener: s.listener.Name, Addr: p.addr.Addr(), Port: p.addr.Port(), Proxy: p.proxy,
		Client: c.client, Started: c.started}
	c.facts.Role = c.role("")
	return c
}

// end waits for all that the connection started.
func (c *connection) end() {
	c.cancel()
	c.running.Wait()
}

// role is what part a session plays with this user; empty where it may not send.
func (c *connection) role(user string) mail.Role {
	switch {
	case user != "" || c.client != "":
		return mail.RoleRelay
	case c.listener.Role == RoleMX:
		return mail.RoleMX
	}
	return ""
}

// snapshot gives the facts as they are now.
func (c *connection) snapshot() Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.facts
}

// learn changes the facts.
func (c *connection) learn(change func(*Session)) Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.facts)
	return c.facts
}

// lookUp begins to ask for the name of the client, once.
func (c *connection) lookUp() {
	c.reverseOnce.Do(func() {
		c.running.Go(func() {
			defer close(c.reverseDone)
			c.iprev = c.Policy.Reverse(c.ctx, c.peer.addr.Addr())
		})
	})
}

// reverse gives what lookUp found, or nothing where DNS takes too long.
func (c *connection) reverse(ctx context.Context, role mail.Role) policy.IPRev {
	select {
	case <-c.reverseDone:
		return c.iprev
	default:
	}
	wait := reverseWait
	if role == mail.RoleRelay {
		wait = reverseWaitRelay
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-c.reverseDone:
		return c.iprev
	case <-timer.C:
	case <-ctx.Done():
	}
	return policy.IPRev{Value: "temperror", Addr: c.peer.addr.Addr(), Reason: "reverse DNS took too long"}
}

// fault hears of every 4xx and 5xx reply before it goes out, and tells whether
// it was one too many. Temporary failures are hardly the client's fault.
func (c *connection) fault(f wire.Fault) (quit bool) {
	c.mu.Lock()
	reported := c.reported
	c.reported = false
	if f.Reply.Temporary() {
		c.deferrals++
	} else {
		c.errors++
	}
	quit = c.errors+c.deferrals/temporaryPerError >= c.listener.Limits.ErrorsPerSession || c.authFailures >= c.listener.Limits.AuthFailures
	facts := c.facts
	c.mu.Unlock()
	// What the wire finds in a message reaches the session too, which knows more.
	ofMessage := f.Own && stageOf(f) == StageContent && f.Reply.Code > 503
	if !reported && !ofMessage {
		c.Observer.Refused(Refusal{At: c.Now(), Stage: stageOf(f), Session: facts, Reply: f.Reply})
	}
	return quit
}

// authFailed counts a failed authentication, of the session and of the client.
func (c *connection) authFailed() {
	c.authFailuresOf.add(c.prefix)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.authFailures++
}

// mayTryAuth tells whether the client has failures left in this hour.
func (c *connection) mayTryAuth() bool {
	return c.authFailuresOf.count(c.prefix) < failureFactor*c.listener.Limits.AuthFailures
}

// tlsText is a TLS state for logs: "TLSv1.3 TLS_AES_128_GCM_SHA256".
func tlsText(state tls.ConnectionState) string {
	return tlsVersionText(state) + " " + tls.CipherSuiteName(state.CipherSuite)
}

func tlsVersionText(state tls.ConnectionState) string {
	return strings.Replace(tls.VersionName(state.Version), " ", "v", 1)
}
