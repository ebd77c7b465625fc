package policy

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"gatepost/mail"
)

// Engine answers the questions of sessions. It is safe for concurrent use.
type Engine struct {
	monitor    bool
	postmaster mail.Address
	inboxes    []mail.Address
	domains    map[mail.Domain]*recipients
	clients    map[string]*relayClient
	users      map[string]*identity
	badFrom    Action
	spf        spfActions
	dmarc      dmarcActions
	sealers    map[mail.Domain]bool
	sealing    bool
	exempt     []netip.Prefix
	overrides  []override
	upstreams  []upstream
	tagHeader  string
	sampleKey  []byte
	made       Made
	proofs     Proofs
	now        func() time.Time
}

type relayClient struct {
	identity
	addresses []netip.Prefix
}

// ClientFor finds the relay client with this address among names, the relay
// clients of a listener; of several the one with the narrowest range.
func (e *Engine) ClientFor(names []string, addr netip.Addr) (string, bool) {
	best, bits := "", -1
	for _, name := range names {
		c := e.clients[name]
		if c == nil {
			continue
		}
		for _, p := range c.addresses {
			if p.Bits() > bits && containsAddr([]netip.Prefix{p}, addr) {
				best, bits = name, p.Bits()
			}
		}
	}
	return best, bits >= 0
}

// Mail judges the reverse-path. The null reverse-path is always allowed.
func (e *Engine) Mail(_ context.Context, s Session, from mail.Address) Verdict {
	if s.Role != mail.RoleRelay || from.IsNull() {
		return accepted()
	}
	who, v := e.relayIdentity(s)
	if who == nil {
		return v
	}
	if who.maySendAs(from) || who.unsigned {
		return accepted()
	}
	return s.refuse("send-as", fmt.Sprintf("the envelope sender %s is not in send_as of %s", from.Path(), who),
		mail.ReplySendAs.WithText(sendAsText("The envelope sender", from, who)))
}

// Recipient judges a forward-path: on an mx session only recipients of our
// domains, on a relay session every one.
func (e *Engine) Recipient(_ context.Context, s Session, _, to mail.Address) Verdict {
	switch s.Role {
	case mail.RoleInternal:
		return accepted()
	case mail.RoleRelay:
		if who, v := e.relayIdentity(s); who == nil {
			return v
		}
		return accepted()
	}
	list := e.domains[to.Domain()]
	switch {
	case !e.postmaster.IsNull() && to.EqualFold(e.postmaster):
		return accepted()
	case list == nil:
		return s.refuse("relay-denied", fmt.Sprintf("%s is not one of our domains", to.Domain()),
			mail.ReplyRelayDenied.WithText(fmt.Sprintf("Relaying denied: %s is not a domain of this gateway", to.Domain())))
	case isPostmaster(to) || list.has(to) || slices.ContainsFunc(e.inboxes, to.EqualFold):
		return accepted()
	}
	return s.refuse("recipient-unknown", fmt.Sprintf("%s is not in the recipient list of %s", to.Path(), to.Domain()),
		mail.ReplyNoSuchUser)
}

// relayIdentity is who a relay session speaks for: the user where there is
// one, else the relay client. A session with neither relays nothing.
func (e *Engine) relayIdentity(s Session) (*identity, Verdict) {
	if s.User != "" {
		if u := e.users[s.User]; u != nil {
			return u, accepted()
		}
	} else if c := e.clients[s.Client]; c != nil {
		return &c.identity, accepted()
	}
	return nil, s.refuse("relay-denied", "neither a relay client nor a user of the configuration", mail.ReplyRelayDenied)
}

// refuse makes a verdict of a reply; the id of the transaction closes its text.
func (s Session) refuse(rule, reason string, r mail.Reply) Verdict {
	action := Reject
	if r.Temporary() {
		action = Defer
	}
	if s.ID != 0 {
		r.Text += " (" + s.ID.String() + ")"
	}
	return Verdict{Action: action, Rule: rule, Reason: reason, Reply: r}
}

// sendAsText tells the client's administrator what to change. An address that
// is not ASCII is not repeated: replies are ASCII.
func sendAsText(what string, a mail.Address, who *identity) string {
	if a.IsASCII() {
		what += " " + a.Path()
	}
	return fmt.Sprintf("%s is not allowed here: add it to send_as of %s at the gateway, or send as an address that stands there", what, who)
}
