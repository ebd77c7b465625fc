package canon

import (
	"slices"
	"strings"

	"gatepost/mail"
)

// Covered is a field name that a signature covers; with Extra set, one more
// instance than there is, so that no one can add one (RFC 6376 section 8.15).
type Covered struct {
	Name  string
	Extra bool
}

// CoveredFields joins the names that are signed where present and those that
// are oversigned, each once, From first: it must be signed (RFC 6376 section
// 5.4).
func CoveredFields(headers, oversign []string) []Covered {
	fold := func(name string) func(Covered) bool {
		return func(c Covered) bool { return strings.EqualFold(c.Name, name) }
	}
	out := []Covered{{Name: "From"}}
	for _, name := range oversign {
		if i := slices.IndexFunc(out, fold(name)); i >= 0 {
			out[i].Extra = true
		} else {
			out = append(out, Covered{name, true})
		}
	}
	for _, name := range headers {
		if !slices.ContainsFunc(out, fold(name)) {
			out = append(out, Covered{Name: name})
		}
	}
	return out
}

// Cover lists the names for h=: every instance of a field once, and one more
// of those that no one may add. What would make the list longer than limit
// octets is left out: instances that come again and again, for each name
// stands there once before any stands twice. Else hundreds of To fields would
// leave Subject unsigned.
func Cover(h mail.Header, fields []Covered, limit int) []string {
	counts, rounds := make([]int, len(fields)), 0
	for i, c := range fields {
		counts[i] = len(h.All(c.Name))
		if c.Extra {
			counts[i]++
		}
		rounds = max(rounds, counts[i])
	}
	var names []string
	length := 0
	for round := range rounds {
		for i, c := range fields {
			if counts[i] <= round {
				continue
			}
			if length += len(c.Name) + 1; length > limit {
				return names
			}
			names = append(names, c.Name)
		}
	}
	return names
}
