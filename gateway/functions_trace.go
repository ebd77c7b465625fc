package gateway

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"gatepost/admin"
	"gatepost/mail"
	"gatepost/policy"
	"gatepost/queue"
	"gatepost/trace"
)

// TraceQuestion names a message or an address.
type TraceQuestion struct {
	ID      string        `json:"id,omitempty"`
	Address string        `json:"address,omitempty"`
	Since   time.Duration `json:"since,omitempty"`
	Limit   int           `json:"limit,omitempty"`
}

func (g *Gateway) traceShow(ctx context.Context, q TraceQuestion) (trace.Life, error) {
	id, err := mail.ParseID(q.ID)
	if err != nil {
		return trace.Life{}, admin.Invalid("%v", err)
	}
	life, err := g.trace.Life(ctx, id)
	if err != nil && !errors.Is(err, trace.ErrUnknown) {
		return trace.Life{}, err
	}
	known := err == nil
	if life.Accepted == nil && life.Refusal == nil {
		m, err := g.queue.Message(ctx, id)
		switch {
		case err == nil:
			life.ID, life.Accepted, known = id, trace.AcceptedOf(m), true
		case !errors.Is(err, queue.ErrNotFound):
			return trace.Life{}, err
		}
	}
	if entry, err := g.queue.Show(ctx, id); err == nil {
		life.Events = append(life.Events, pendingEvents(entry, g.now())...)
	}
	if !known {
		return trace.Life{}, admin.NotFound("nothing is known of %s; traces are kept for history.keep after the message ended", id)
	}
	return life, nil
}

// traceLimit bounds what a search shows.
const traceLimit = 1000

func (g *Gateway) traceSearch(ctx context.Context, q TraceQuestion) ([]trace.Summary, error) {
	if q.Limit < 1 || q.Limit > traceLimit {
		return nil, admin.Invalid("limit must be 1 to %d", traceLimit)
	}
	found, err := g.trace.Search(ctx, q.Address, g.now().Add(-q.Since), q.Limit)
	if err != nil {
		return nil, err
	}
	waiting, err := g.queued(ctx, q.Address, q.Limit)
	if err != nil {
		return nil, err
	}
	// Failed attempts of what still waits stand in the trace too: one line each.
	ended := slices.DeleteFunc(found, func(f trace.Summary) bool {
		return slices.ContainsFunc(waiting, func(w trace.Summary) bool { return w.ID == f.ID })
	})
	all := append(waiting, ended...)
	return all[:min(len(all), q.Limit)], nil
}

// ExplainQuestion is a message and who might bring it.
type ExplainQuestion struct {
	Listener   string   `json:"listener,omitempty"` // default: the first with the role mx
	ClientIP   string   `json:"client_ip"`
	Helo       string   `json:"helo"`
	MailFrom   string   `json:"mail_from"`
	Recipients []string `json:"recipients,omitempty"`
	User       string   `json:"user,omitempty"`
	Message    []byte   `json:"message"`
}

// ExplainAnswer is the judgement and how the message would be marked.
type ExplainAnswer struct {
	Role                  mail.Role          `json:"role"`
	RelayClient           string             `json:"relay_client,omitempty"`
	Explanation           policy.Explanation `json:"explanation"`
	AuthenticationResults string             `json:"authentication_results,omitempty"`
}

// Refused tells whether the message would be refused, at any command.
func (a ExplainAnswer) Refused() bool {
	x := a.Explanation
	return x.Mail.Refused() || x.Content.Refused() ||
		slices.ContainsFunc(x.Recipients, func(r policy.RecipientVerdict) bool { return r.Verdict.Refused() })
}

// explain judges a message file without sending it.
func (g *Gateway) explain(ctx context.Context, q ExplainQuestion) (ExplainAnswer, error) {
	p, done := g.live.take()
	defer done()
	s, err := p.session(q)
	if err != nil {
		return ExplainAnswer{}, err
	}
	env, err := envelopeOf(q)
	if err != nil {
		return ExplainAnswer{}, err
	}
	header, err := mail.ParseHeader(q.Message)
	if err != nil {
		return ExplainAnswer{}, admin.Invalid("the message: %v (lines must end in CRLF)", err)
	}
	a := ExplainAnswer{Role: s.Role, RelayClient: s.Client, Explanation: p.policy.Explain(ctx, s, env, header, mail.MemoryBody(q.Message))}
	if s.Role == mail.RoleMX {
		a.AuthenticationResults = string(a.Explanation.Facts.AuthenticationResults(p.config.AuthservID))
	}
	return a, nil
}

// session is the one that the client of the question would have.
func (p *parts) session(q ExplainQuestion) (policy.Session, error) {
	addr, err := netip.ParseAddr(q.ClientIP)
	if err != nil {
		return policy.Session{}, admin.Invalid("--client-ip: %q is not an IP address", q.ClientIP)
	}
	s := policy.Session{Addr: addr.Unmap(), Helo: q.Helo, User: q.User, TLS: true, Role: mail.RoleMX}
	for _, l := range p.config.Listeners {
		if l.Name != q.Listener && (q.Listener != "" || l.Role != "mx") {
			continue
		}
		s.Listener = l.Name
		client, ok := p.policy.ClientFor(l.RelayClients, s.Addr)
		if ok || q.User != "" {
			s.Role, s.Client = mail.RoleRelay, client
		} else if l.Role != "mx" {
			return s, admin.Invalid("listener %s takes mail of relay clients and users only, and %s is neither", l.Name, q.ClientIP)
		}
		return s, nil
	}
	if q.Listener != "" {
		return s, admin.NotFound("there is no listener %q", q.Listener)
	}
	return s, admin.Invalid("there is no listener with the role mx; name one with --listener")
}

func envelopeOf(q ExplainQuestion) (mail.Envelope, error) {
	env := mail.Envelope{UTF8: true}
	if q.MailFrom != "" && q.MailFrom != "<>" {
		from, err := mail.ParseAddress(q.MailFrom, true)
		if err != nil {
			return env, admin.Invalid("--mail-from: %v", err)
		}
		env.From = from
	}
	for _, r := range q.Recipients {
		to, err := mail.ParseAddress(r, true)
		if err != nil {
			return env, admin.Invalid("--to: %v", err)
		}
		env.Recipients = append(env.Recipients, mail.Recipient{Address: to})
	}
	return env, nil
}
