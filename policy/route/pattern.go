package route

import (
	"fmt"
	"strings"

	"gatepost/mail"
)

// pattern matches domains: "example.com" that domain, "*.example.com" its
// subdomains but not itself, "*" every domain.
type pattern struct {
	any        bool
	subdomains bool
	domain     mail.Domain
}

func parsePattern(s string) (pattern, error) {
	if s == "*" {
		return pattern{any: true}, nil
	}
	name, sub := strings.CutPrefix(s, "*.")
	d, err := mail.ParseDomain(name)
	if err != nil {
		hint := `write a domain, "*.domain" or "*"`
		if strings.Contains(s, "@") {
			hint = "routes go by domain, not by address"
		}
		return pattern{}, fmt.Errorf("%q is not a domain pattern: %s", s, hint)
	}
	return pattern{subdomains: sub, domain: d}, nil
}

// matches tells about a domain; the null reverse-path has none and matches
// "*" only.
func (p pattern) matches(d mail.Domain) bool {
	switch {
	case p.any:
		return true
	case p.subdomains:
		return d != p.domain && d.Within(p.domain)
	}
	return d == p.domain
}

// covers tells whether p matches everything that q matches.
func (p pattern) covers(q pattern) bool {
	switch {
	case p.any:
		return true
	case q.any:
		return false
	case q.subdomains:
		return p.subdomains && q.domain.Within(p.domain)
	}
	return p.matches(q.domain)
}

// patterns is one condition of a route; an empty one is always true.
type patterns []pattern

func (list patterns) matches(d mail.Domain) bool {
	if len(list) == 0 {
		return true
	}
	for _, p := range list {
		if p.matches(d) {
			return true
		}
	}
	return false
}

// covers tells whether list is true wherever other is. Every pattern of other
// must lie within one of list.
func (list patterns) covers(other patterns) bool {
	if len(list) == 0 {
		return true
	}
	if len(other) == 0 {
		other = patterns{{any: true}}
	}
	for _, q := range other {
		if !list.coversOne(q) {
			return false
		}
	}
	return true
}

func (list patterns) coversOne(q pattern) bool {
	for _, p := range list {
		if p.covers(q) {
			return true
		}
	}
	return false
}
