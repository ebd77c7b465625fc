package policy

import (
	"fmt"
	"strings"

	"gatepost/mail"
)

// ownDomain is the domain of ours that a From domain belongs to: itself, or
// the nearest parent. A subdomain that is a domain of its own goes by its own.
func (e *Engine) ownDomain(from mail.Domain) (mail.Domain, *recipients) {
	for name := from.String(); name != ""; {
		d, err := mail.ParseDomain(name)
		if err != nil {
			break
		}
		if list := e.domains[d]; list != nil {
			return d, list
		}
		_, name, _ = strings.Cut(name, ".")
	}
	return mail.Domain{}, nil
}

// spoofedAs is domains[].spoofed: mail from outside with a From of ours that
// nothing proves.
func (e *Engine) spoofedAs(j *judgement) finding { return e.judgeSpoofed(j.facts) }

func (e *Engine) judgeSpoofed(f Facts) finding {
	if f.From.IsNull() {
		return finding{}
	}
	own, list := e.ownDomain(f.From.Domain())
	if list == nil || list.spoofed == "" || f.provesOwn(own) {
		return finding{}
	}
	text := fmt.Sprintf("Message claims to be from %s, but neither SPF nor DKIM confirms it", f.From.Domain())
	return finding{action: list.spoofed, final: list.spoofed == Reject, domain: own,
		reason: fmt.Sprintf("From %s is ours (%s), and nothing proves it", f.From.Domain(), own), reply: mail.ReplyDMARCReject.WithText(text)}
}

// provesOwn tells whether the message is proven to come from a domain of ours.
// Where DMARC has a record its word counts, with the alignment it asks for;
// else a pass for the domain, for a name below it or for a parent does.
func (f *Facts) provesOwn(own mail.Domain) bool {
	switch f.DMARC.Value {
	case "pass":
		return true
	case "fail":
		return false
	}
	aligned := func(value string, d mail.Domain) bool {
		return value == "pass" && (d.Within(own) || own.Within(d))
	}
	for _, s := range f.DKIM {
		if aligned(s.Value, s.Domain) {
			return true
		}
	}
	return aligned(f.SPF.Value, f.SPF.Domain)
}
