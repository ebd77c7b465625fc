package policy

import (
	"fmt"
	"strings"

	"gatepost/mail"
)

// senderPattern is one entry of send_as: "scanner@example.com" is that address,
// "@example.com" every address of exactly that domain, "@*.example.com" every
// address of its subdomains.
type senderPattern struct {
	address    mail.Address
	domain     mail.Domain
	subdomains bool
}

func parseSenderPattern(s string) (senderPattern, error) {
	rest, ok := strings.CutPrefix(s, "@")
	if !ok {
		a, err := mail.ParseAddress(s, true)
		if err != nil {
			return senderPattern{}, fmt.Errorf("%q is neither an address, nor @domain, nor @*.domain", s)
		}
		return senderPattern{address: a}, nil
	}
	name, sub := strings.CutPrefix(rest, "*.")
	d, err := mail.ParseDomain(name)
	if err != nil {
		return senderPattern{}, fmt.Errorf("%q: the part behind the @ is not a domain", s)
	}
	return senderPattern{domain: d, subdomains: sub}, nil
}

func (p senderPattern) matches(a mail.Address) bool {
	switch {
	case p.domain.IsZero():
		return p.address.EqualFold(a)
	case p.subdomains:
		return a.Domain() != p.domain && a.Domain().Within(p.domain)
	}
	return a.Domain() == p.domain
}

// identity is who relays: a relay client or a user.
type identity struct {
	what     string // "relay client" or "user", for messages
	name     string
	sendAs   []senderPattern
	unsigned bool // other_from: unsigned
}

func (i *identity) maySendAs(a mail.Address) bool {
	for _, p := range i.sendAs {
		if p.matches(a) {
			return true
		}
	}
	return false
}

func (i *identity) String() string { return fmt.Sprintf("%s %q", i.what, i.name) }
