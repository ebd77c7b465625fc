package route

import (
	"slices"

	"gatepost/mail"
)

// MX as the name of a next hop means the MX of the recipient's domain.
const MX = "mx"

// Options is what the configuration file says about routing.
type Options struct {
	NextHops  []string // next_hops: their names
	Listeners []string // listeners: their names
	Domains   []Domain
	Routes    []Route
}

// Domain is one of our domains; NextHop may be "mx".
type Domain struct {
	Name    mail.Domain
	NextHop string
}

// Route is one entry of routes: all of its conditions must hold, and of the
// words of one condition any.
type Route struct {
	Recipients []string // domain patterns
	Senders    []string // domain patterns of the envelope sender
	Listeners  []string // names of listeners
	NextHop    string
}

// Table is the parsed Options.
type Table struct {
	domains map[mail.Domain]string
	routes  []entry
}

type entry struct {
	recipients, senders patterns
	listeners           []string
	nextHop             string
}

// Choice is where a recipient's mail goes, and why.
type Choice struct {
	Dest string
	// Rule is the path of the option that decided: "domains: example.com", "routes[2]";
	// "default" where none did.
	Rule string
}

// Route chooses for one recipient of a message from sender that came in by
// listener.
func (t *Table) Route(sender mail.Address, listener string, to mail.Address) string {
	return t.Choose(sender, listener, to).Dest
}

// Choose is Route with the reason.
func (t *Table) Choose(sender mail.Address, listener string, to mail.Address) Choice {
	d := to.Domain()
	if hop, ours := t.domains[d]; ours {
		return Choice{dest(hop, d), "domains: " + d.String()}
	}
	for i, r := range t.routes {
		if r.matches(sender.Domain(), listener, d) {
			return Choice{dest(r.nextHop, d), path("routes", i)}
		}
	}
	return Choice{dest(MX, d), "default"}
}

func dest(hop string, d mail.Domain) string {
	if hop == MX {
		return "mx:" + d.String()
	}
	return "hop:" + hop
}

func (r entry) matches(sender mail.Domain, listener string, to mail.Domain) bool {
	return r.recipients.matches(to) && r.senders.matches(sender) &&
		(len(r.listeners) == 0 || slices.Contains(r.listeners, listener))
}

// covers tells whether r matches wherever other does, so that other, standing
// later, never gets a message.
func (r entry) covers(other entry) bool {
	return r.recipients.covers(other.recipients) && r.senders.covers(other.senders) && r.coversListeners(other)
}

func (r entry) coversListeners(other entry) bool {
	if len(r.listeners) == 0 {
		return true
	}
	if len(other.listeners) == 0 {
		return false
	}
	return !slices.ContainsFunc(other.listeners, func(name string) bool { return !slices.Contains(r.listeners, name) })
}
