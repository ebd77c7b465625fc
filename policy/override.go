package policy

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"gatepost/auth/dkim"
	"gatepost/mail"
)

// Override is one exception of policy.overrides. It is narrow by construction:
// one author's domain, by one forwarder who proves himself, until a day.
type Override struct {
	From      mail.Domain // domain of the header From, exactly
	Forwarder Forwarder
	Action    string    // accept, tag or quarantine
	Until     time.Time // the first moment at which it no longer holds
	Note      string
}

// Forwarder is who may bring the mail: exactly one of the two.
type Forwarder struct {
	DKIM   string // d= of a signature that passes
	Client string // forward-confirmed name of the client, or a parent of it
}

// overrideYear is how far ahead an override may reach, leap years included.
const overrideYear = 366 * 24 * time.Hour

// override is a checked Override.
type override struct {
	from, dkim, client mail.Domain
	action             Action
	until              time.Time
	note               string
}

func (o *override) forwarder() string {
	if o.client.IsZero() {
		return "DKIM of " + o.dkim.String()
	}
	return "client " + o.client.String()
}

// matches tells whether the message is by this author and its forwarder has
// proved who he is.
func (o *override) matches(f Facts) bool {
	if f.From.IsNull() || f.From.Domain() != o.from {
		return false
	}
	if o.client.IsZero() {
		return hasPass(f.DKIM, o.dkim)
	}
	name, err := mail.ParseDomain(strings.TrimSuffix(f.IPRev.Name, "."))
	return err == nil && f.IPRev.Value == "pass" && name.Within(o.client)
}

func hasPass(signatures []dkim.Result, d mail.Domain) bool {
	for _, s := range signatures {
		if s.Value == "pass" && s.Domain == d {
			return true
		}
	}
	return false
}

// overrideOf is the override that stands in the place of what the rules about
// proofs would do; nil where they would do nothing.
func (e *Engine) overrideOf(f Facts) *override {
	if len(e.overrides) == 0 || e.unproven(f) == Accept {
		return nil
	}
	now := e.now()
	for i := range e.overrides {
		if o := &e.overrides[i]; now.Before(o.until) && o.matches(f) {
			return o
		}
	}
	return nil
}

// overridden is policy.overrides.
func (e *Engine) overridden(j *judgement) finding {
	o := e.overrideOf(j.facts)
	if o == nil {
		return finding{}
	}
	j.facts.Disposition.Note = o.note
	return finding{action: o.action, final: true, domain: o.from,
		reason: fmt.Sprintf("override for %s by %s instead of %s (%s)", o.from, o.forwarder(), e.unproven(j.facts), o.note)}
}

func (p *problems) overrides(list []Override, now time.Time) []override {
	var out []override
	for i, o := range list {
		path := fmt.Sprintf("policy.overrides[%d]", i)
		if o.From.IsZero() || o.From.IsLiteral() {
			p.add(path+".from", "an override needs one domain of the header From; wildcards are refused, subdomains need an entry of their own")
		}
		if (o.Forwarder.DKIM == "") == (o.Forwarder.Client == "") {
			p.add(path+".forwarder", "an override needs one proof of the forwarder: either {dkim: domain} or {client: name}")
		}
		if strings.TrimSpace(o.Note) == "" {
			p.add(path+".note", "say why, for whoever reads this next year")
		}
		switch {
		case o.Until.IsZero():
			p.add(path+".until", "an override ends: give the last day, such as %s", now.AddDate(0, 3, 0).Format(time.DateOnly))
		case o.Until.After(now.Add(overrideYear)):
			p.add(path+".until", "at most a year ahead, so that someone looks again")
		}
		out = append(out, override{
			from: o.From, until: o.Until, note: mail.SafeText(o.Note, 200),
			dkim:   p.forwarder(path+".forwarder.dkim", o.Forwarder.DKIM),
			client: p.forwarder(path+".forwarder.client", o.Forwarder.Client),
			action: Action(p.choice(path+".action", o.Action, "accept", "tag", "quarantine")),
		})
	}
	return out
}

// forwarder reads a name; a public suffix would mean everyone below it.
func (p *problems) forwarder(path, name string) mail.Domain {
	if name == "" {
		return mail.Domain{}
	}
	d, err := mail.ParseDomain(name)
	if err != nil || d.IsLiteral() {
		p.add(path, "expected the domain of one forwarder, found %q; wildcards are refused", name)
		return mail.Domain{}
	}
	if suffix, _ := publicsuffix.PublicSuffix(d.String()); suffix == d.String() {
		p.add(path, "%s is a public suffix: anyone can have a name below it", d)
	}
	return d
}
