package policy

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"gatepost/mail"
)

// spfActions and dmarcActions are the parsed options; an empty action: none.
type spfActions struct{ fail, softFail Action }

type dmarcActions struct {
	enabled, honorPct, deferTrouble bool
	percent                         int
	reject, quarantine              Action
}

// problems collects everything that is wrong.
type problems struct{ all []error }

func (p *problems) add(path, format string, args ...any) {
	p.all = append(p.all, &FieldError{Path: path, Msg: fmt.Sprintf(format, args...)})
}

// New checks o. The error joins one *FieldError per wrong option.
func New(o Options) (*Engine, error) {
	p := &problems{}
	e := &Engine{
		monitor:    p.choice("policy.mode", o.Mode, ModeEnforce, ModeMonitor) == ModeMonitor,
		postmaster: o.Postmaster,
		inboxes:    o.Inboxes,
		sealers:    p.sealers(o.TrustedSealers),
		sealing:    o.Sealing,
		exempt:     p.prefixes("policy.exempt", o.Exempt),
		tagHeader:  p.fieldName("policy.tag.header", o.TagHeader),
		sampleKey:  o.SampleKey,
		made:       o.Made,
		proofs:     o.Proofs,
		now:        o.Now,
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if e.now == nil {
		e.now = time.Now
	}
	e.badFrom = Action(p.choice("policy.bad_from", o.BadFrom, "reject", "quarantine"))
	e.spf = p.spf(o.SPF)
	e.dmarc = p.dmarc(o.DMARC)
	e.overrides = p.overrides(o.Overrides, e.now())
	e.made.Upstreams = upstreamsInShort(o.Upstreams)
	e.upstreams = p.upstreams(o.Upstreams, e.exempt)
	e.clients = p.clients(o.RelayClients)
	e.users = p.users(o.Users)
	e.domains = p.domains(o, e.now)
	if len(p.all) > 0 {
		return nil, errors.Join(p.all...)
	}
	return e, nil
}

// choice checks a word; the first of allowed is the default.
func (p *problems) choice(path, got string, allowed ...string) string {
	if got == "" {
		return allowed[0]
	}
	if !slices.Contains(allowed, got) {
		p.add(path, "%q is not one of %s", got, strings.Join(allowed, ", "))
		return allowed[0]
	}
	return got
}

func (p *problems) prefixes(path string, list []string) []netip.Prefix {
	var out []netip.Prefix
	for i, s := range list {
		prefix, err := ParsePrefix(s)
		if err != nil {
			p.add(fmt.Sprintf("%s[%d]", path, i), "%v", err)
			continue
		}
		out = append(out, prefix)
	}
	return out
}

// fieldName reads the name of a field of ours. Strangers' fields of that name
// are taken away, so that it must be none that mail needs.
func (p *problems) fieldName(path, name string) string {
	if name == "" {
		return "X-Gatepost-Verdict"
	}
	if len(name) < 3 || !strings.EqualFold(name[:2], "X-") {
		p.add(path, "expected a name that begins with X-, found %q: fields of that name that others wrote are removed", name)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || c == ':' {
			p.add(path, "%q is not a header field name", name)
			break
		}
	}
	return name
}

func (p *problems) spf(o SPF) spfActions {
	return spfActions{p.action("policy.spf.fail", o.Fail), p.action("policy.spf.softfail", o.SoftFail)}
}

// action reads what to do; none, the default, is empty.
func (p *problems) action(path, word string) Action {
	if w := p.choice(path, word, "none", "tag", "quarantine", "reject"); w != "none" {
		return Action(w)
	}
	return ""
}

func (p *problems) dmarc(o DMARC) dmarcActions {
	if o.EnforcePercent < 0 || o.EnforcePercent > 100 {
		p.add("policy.dmarc.enforce_percent", "%d is not a percentage from 0 to 100", o.EnforcePercent)
	}
	return dmarcActions{
		enabled:      o.Enabled,
		honorPct:     o.HonorPct,
		percent:      o.EnforcePercent,
		reject:       Action(p.choice("policy.dmarc.reject", o.Reject, "reject", "quarantine", "tag")),
		quarantine:   Action(p.choice("policy.dmarc.quarantine", o.Quarantine, "quarantine", "tag", "reject")),
		deferTrouble: p.choice("policy.dmarc.temperror", o.TempError, "defer", "accept") == "defer",
	}
}

// sealers are exact domains: whoever can seal as one of them can set DMARC
// aside, so that no pattern stands for domains that nobody looked at.
func (p *problems) sealers(list []string) map[mail.Domain]bool {
	out := map[mail.Domain]bool{}
	for i, s := range list {
		d, err := mail.ParseDomain(s)
		if err != nil || d.IsLiteral() {
			p.add(fmt.Sprintf("policy.arc.trusted_sealers[%d]", i), "%q is not a domain", s)
			continue
		}
		out[d] = true
	}
	return out
}

func (p *problems) clients(list []RelayClient) map[string]*relayClient {
	out := make(map[string]*relayClient, len(list))
	for i, c := range list {
		path := fmt.Sprintf("relay_clients[%d]", i)
		if c.Name == "" {
			p.add(path+".name", "a relay client needs a name")
		} else if out[c.Name] != nil {
			p.add(path+".name", "the name %q is taken by an earlier relay client", c.Name)
			continue
		}
		if len(c.Addresses) == 0 {
			p.add(path+".addresses", "a relay client is known by its addresses: list at least one")
		}
		out[c.Name] = &relayClient{
			identity:  p.identity(path, "relay client", User{c.Name, c.SendAs, c.OtherFrom}),
			addresses: p.prefixes(path+".addresses", c.Addresses),
		}
	}
	return out
}

func (p *problems) users(list []User) map[string]*identity {
	out := make(map[string]*identity, len(list))
	for i, u := range list {
		path := fmt.Sprintf("users[%d]", i)
		if u.Name == "" {
			p.add(path+".name", "a user needs a name")
		} else if out[u.Name] != nil {
			p.add(path+".name", "the name %q is taken by an earlier user", u.Name)
			continue
		}
		who := p.identity(path, "user", u)
		out[u.Name] = &who
	}
	return out
}

func (p *problems) identity(path, what string, u User) identity {
	who := identity{what: what, name: u.Name}
	who.unsigned = p.choice(path+".other_from", u.OtherFrom, FromRefuse, FromUnsigned) == FromUnsigned
	for i, s := range u.SendAs {
		pattern, err := parseSenderPattern(s)
		if err != nil {
			p.add(fmt.Sprintf("%s.send_as[%d]", path, i), "%v", err)
			continue
		}
		who.sendAs = append(who.sendAs, pattern)
	}
	if len(u.SendAs) == 0 && !who.unsigned {
		p.add(path+".send_as", "without send_as this %s may send as nobody: list addresses such as scanner@example.com or domains such as @example.com", what)
	}
	return who
}

func (p *problems) domains(o Options, now func() time.Time) map[mail.Domain]*recipients {
	out := make(map[mail.Domain]*recipients, len(o.Domains))
	for i, d := range o.Domains {
		path := fmt.Sprintf("domains[%d]", i)
		switch {
		case d.Name.IsZero():
			p.add(path+".name", "a domain needs a name")
		case out[d.Name] != nil:
			p.add(path+".name", "the domain %s is listed twice", d.Name)
		case d.AcceptAll == (d.File != ""):
			p.add(path+".recipients", "say which recipients exist: either {accept: all} or {file: …}")
		}
		list := &recipients{all: d.AcceptAll, path: d.File, now: now, logger: o.Logger, spoofed: p.action(path+".spoofed", d.Spoofed)}
		if d.File != "" {
			if err := list.load(); err != nil {
				p.add(path+".recipients.file", "%v", err)
			}
		}
		out[d.Name] = list
	}
	return out
}
