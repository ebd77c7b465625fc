package policy

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"gatepost/auth/arc"
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

// Forwarder is who may bring the mail: exactly one of the three.
type Forwarder struct {
	DKIM   string // d= of a signature that passes
	ARC    string // d= of the newest set of a chain that passes
	Client string // forward-confirmed name of the client, or a parent of it
}

// overrideYear is how far ahead an override may reach, leap years included.
const overrideYear = 366 * 24 * time.Hour

// override is a checked Override.
type override struct {
	from, dkim, sealer, client mail.Domain
	action                     Action
	until                      time.Time
	note                       string
}

func (o *override) forwarder() string {
	switch {
	case !o.dkim.IsZero():
		return "DKIM of " + o.dkim.String()
	case !o.sealer.IsZero():
		return "ARC seal of " + o.sealer.String()
	}
	return "client " + o.client.String()
}

// matches tells whether the message is by this author and its forwarder has
// proved who he is.
func (o *override) matches(f Facts) bool {
	if f.From.IsNull() || f.From.Domain() != o.from {
		return false
	}
	switch {
	case !o.dkim.IsZero():
		return hasPass(f.DKIM, o.dkim)
	case !o.sealer.IsZero():
		return sealedLast(f.ARC, o.sealer)
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

// sealedLast tells whether d handed the message on as it is: the chain passes,
// the newest set is sealed and signed by d, and its signature covers From. What
// stood in sets below, and what the set says of the author, is not asked: the
// override trusts the forwarder with this author, as it does one that it knows
// by DKIM. A set of d with one of another above it proves nothing, for who
// sealed last may have put anything into the message.
func sealedLast(r arc.Result, d mail.Domain) bool {
	if r.Value != arc.Pass || !r.FromSigned || len(r.Sets) == 0 {
		return false
	}
	newest := r.Sets[len(r.Sets)-1]
	return newest.Sealer == d && newest.Signer == d
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
		if o.Forwarder.proofs() != 1 {
			p.add(path+".forwarder", "an override needs one proof of the forwarder: either {dkim: domain}, {arc: domain} or {client: name}")
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
			sealer: p.forwarder(path+".forwarder.arc", o.Forwarder.ARC),
			client: p.forwarder(path+".forwarder.client", o.Forwarder.Client),
			action: Action(p.choice(path+".action", o.Action, "accept", "tag", "quarantine")),
		})
	}
	return out
}

// proofs is how many proofs are named.
func (f Forwarder) proofs() int {
	n := 0
	for _, name := range []string{f.DKIM, f.ARC, f.Client} {
		if name != "" {
			n++
		}
	}
	return n
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
