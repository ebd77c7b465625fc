package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatepost/mail"
)

func path(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

type problems struct {
	all     []error
	unclear bool // what some route matches
}

func (p *problems) add(path, format string, args ...any) {
	p.all = append(p.all, &FieldError{Path: path, Msg: fmt.Sprintf(format, args...)})
}

// New checks o. The error joins one *FieldError per wrong option; a route that
// can never match is wrong too.
func New(o Options) (*Table, error) {
	p := &problems{}
	t := &Table{domains: make(map[mail.Domain]string, len(o.Domains))}
	for i, name := range o.NextHops {
		if name == MX {
			p.add(path("next_hops", i)+".name", `"mx" stands for the MX of the recipient's domain and cannot name a next hop`)
		}
	}
	for i, d := range o.Domains {
		p.nextHop(path("domains", i), d.NextHop, o.NextHops)
		t.domains[d.Name] = d.NextHop
	}
	for i, r := range o.Routes {
		t.routes = append(t.routes, p.entry(path("routes", i), r, o))
	}
	if !p.unclear { // a next hop that is wrong does not change what a route matches
		p.unreachable(t)
	}
	if len(p.all) > 0 {
		return nil, errors.Join(p.all...)
	}
	return t, nil
}

func (p *problems) nextHop(at, name string, known []string) {
	switch {
	case name == "":
		p.add(at+".next_hop", `name one of next_hops, or "mx" for the MX of the recipient's domain`)
	case name != MX && !slices.Contains(known, name):
		p.add(at+".next_hop", "unknown next hop %q: not one of next_hops, nor \"mx\"", name)
	}
}

func (p *problems) entry(at string, r Route, o Options) entry {
	p.nextHop(at, r.NextHop, o.NextHops)
	if len(r.Recipients)+len(r.Senders)+len(r.Listeners) == 0 {
		p.unclear = true
		p.add(at+".match", `a route needs recipients, senders or listeners; recipients: ["*"] matches everything`)
	}
	for i, name := range r.Listeners {
		if !slices.Contains(o.Listeners, name) {
			p.unclear = true
			p.add(path(at+".match.listeners", i), "unknown listener %q", name)
		}
	}
	return entry{
		recipients: p.patterns(at+".match.recipients", r.Recipients),
		senders:    p.patterns(at+".match.senders", r.Senders),
		listeners:  r.Listeners,
		nextHop:    r.NextHop,
	}
}

func (p *problems) patterns(at string, list []string) patterns {
	var out patterns
	for i, s := range list {
		one, err := parsePattern(s)
		if err != nil {
			p.unclear = true
			p.add(path(at, i), "%v", err)
			continue
		}
		out = append(out, one)
	}
	return out
}

// unreachable finds routes that can never match, because earlier routes or our
// own domains take all their mail. A route is taken apart into its single
// combinations of recipient, sender and listener, for several earlier routes
// may each take some of them.
func (p *problems) unreachable(t *Table) {
	for i, r := range t.routes {
		var takers []string
		for _, part := range r.parts() {
			taker := t.taker(t.routes[:i], part)
			if taker == "" {
				takers = nil
				break
			}
			if !slices.Contains(takers, taker) {
				takers = append(takers, taker)
			}
		}
		if len(takers) > 0 {
			p.add(path("routes", i), "can never match: everything it would match is taken before by %s", strings.Join(takers, ", "))
		}
	}
}

// taker names what gets all mail of part before a route behind earlier.
func (t *Table) taker(earlier []entry, part entry) string {
	if len(part.recipients) == 1 && t.ours(part.recipients[0]) {
		return "domains"
	}
	for i, r := range earlier {
		if r.covers(part) {
			return path("routes", i)
		}
	}
	return ""
}

// parts is r as single combinations of its words.
func (r entry) parts() []entry {
	var out []entry
	for _, to := range single(r.recipients) {
		for _, from := range single(r.senders) {
			for _, listener := range single(r.listeners) {
				out = append(out, entry{recipients: to, senders: from, listeners: listener})
			}
		}
	}
	return out
}

// single is a list of lists with one word each; an empty condition stays one
// empty condition.
func single[L ~[]E, E any](list L) []L {
	if len(list) == 0 {
		return []L{nil}
	}
	var out []L
	for i := range list {
		out = append(out, list[i:i+1])
	}
	return out
}

// ours tells whether q matches nothing but one of our domains.
func (t *Table) ours(q pattern) bool {
	_, known := t.domains[q.domain]
	return known && !q.any && !q.subdomains
}
