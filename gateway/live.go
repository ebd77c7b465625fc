package gateway

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"

	"gatepost/gateway/delivery"
	"gatepost/mail"
	"gatepost/policy"
	"gatepost/queue"
	"gatepost/telemetry"
)

// live lends the parts of today to packages that keep their neighbours for
// life. Each question is answered by one set of parts; a set that was
// replaced is closed when its last question is answered.
type live struct {
	current atomic.Pointer[lease]
}

// lease counts who still uses a set of parts.
type lease struct {
	*parts
	mu    sync.Mutex
	users int
	old   bool
}

// take borrows the parts of today; done gives them back.
func (l *live) take() (p *parts, done func()) {
	for {
		s := l.current.Load()
		s.mu.Lock()
		if s.old {
			s.mu.Unlock()
			continue // replaced between Load and Lock
		}
		s.users++
		s.mu.Unlock()
		return s.parts, s.release
	}
}

func (s *lease) release() {
	s.mu.Lock()
	s.users--
	last := s.old && s.users == 0
	s.mu.Unlock()
	if last {
		s.parts.close()
	}
}

// replace puts p in place; the set before it is closed when nobody uses it.
func (l *live) replace(p *parts) {
	before := l.current.Swap(&lease{parts: p})
	if before == nil {
		return
	}
	before.mu.Lock()
	before.old = true
	idle := before.users == 0
	before.mu.Unlock()
	if idle {
		before.parts.close()
	}
}

// ClientFor implements intake.Policy.
func (l *live) ClientFor(names []string, addr netip.Addr) (string, bool) {
	p, done := l.take()
	defer done()
	return p.policy.ClientFor(names, addr)
}

// Reverse implements intake.Policy.
func (l *live) Reverse(ctx context.Context, addr netip.Addr) policy.IPRev {
	p, done := l.take()
	defer done()
	return p.policy.Reverse(ctx, addr)
}

// Mail implements intake.Policy.
func (l *live) Mail(ctx context.Context, s policy.Session, from mail.Address) policy.Verdict {
	p, done := l.take()
	defer done()
	return p.policy.Mail(ctx, s, from)
}

// Recipient implements intake.Policy.
func (l *live) Recipient(ctx context.Context, s policy.Session, from, to mail.Address) policy.Verdict {
	p, done := l.take()
	defer done()
	return p.policy.Recipient(ctx, s, from, to)
}

// Content implements intake.Policy.
func (l *live) Content(ctx context.Context, s policy.Session, env mail.Envelope, h mail.Header, content mail.Body) (policy.Facts, policy.Verdict, mail.Domain) {
	p, done := l.take()
	defer done()
	return p.policy.Content(ctx, s, env, h, content)
}

// TagField implements intake.Policy.
func (l *live) TagField(v policy.Verdict) []byte {
	p, done := l.take()
	defer done()
	return p.policy.TagField(v)
}

// Verify implements intake.Authenticator.
func (l *live) Verify(ctx context.Context, user, password string) error {
	p, done := l.take()
	defer done()
	return p.passwords.Verify(ctx, user, password)
}

// Route implements queue.Router.
func (l *live) Route(_ context.Context, m *mail.Message, to mail.Address) (queue.Route, error) {
	p, done := l.take()
	defer done()
	dest, window, recipients := p.route(m, to)
	return queue.Route{Dest: dest, Window: window, Recipients: recipients}, nil
}

// Deliver implements queue.Deliverer.
func (l *live) Deliver(ctx context.Context, job queue.Job) []queue.Result {
	p, done := l.take()
	defer done()
	if job.Dest == destReports {
		return p.consume(ctx, job)
	}
	to := make([]mail.Recipient, len(job.Recipients))
	for i, r := range job.Recipients {
		to[i] = r.Recipient
	}
	message, err := p.withoutReplaced(ctx, job.Message)
	if err != nil {
		p.log.Error("delivery failed", telemetry.KeyID, job.Message.ID.String(), telemetry.KeyError, err.Error())
		return nil // the queue takes missing results for temporary trouble of our own
	}
	results := p.deliverer.Deliver(ctx, delivery.Job{Dest: job.Dest, Message: message, Recipients: to, Probe: job.Probe, Lease: job.Lease})
	out := make([]queue.Result, len(results))
	for i, r := range results {
		out[i] = queue.Result{Status: r.Status, LackedDSN: r.LackedDSN}
	}
	return out
}

// door of the queue for intake.
type acceptor struct{ queue *queue.Queue }

// Accept implements intake.Acceptor.
func (a acceptor) Accept(ctx context.Context, m *mail.Message, hold string) error {
	return a.queue.Accept(ctx, m, queue.AcceptOptions{Hold: hold})
}
