package dmarc

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"gatepost/dnsx"
	"gatepost/mail"
)

// Resolver is what the check asks; *dnsx.Resolver is one.
type Resolver interface {
	TXT(ctx context.Context, name string) (dnsx.Answer[string], error)
	A(ctx context.Context, name string) (dnsx.Answer[netip.Addr], error)
}

// maxQueries is the most queries of one walk (RFC 9989 section 4.10).
const maxQueries = 8

// walker looks up records and remembers them for the time of one check.
type walker struct {
	resolver Resolver
	found    map[string]lookup
	psl      bool // organizational domains by the list of public suffixes
}

// lookup is what was found at one name.
type lookup struct {
	record *Record // nil if there is none, or several
	flaw   error   // ErrUnusable
	err    error   // DNS trouble
}

// at looks for the record at one name.
func (w *walker) at(ctx context.Context, domain string) lookup {
	if l, ok := w.found[domain]; ok {
		return l
	}
	l := w.query(ctx, domain)
	w.found[domain] = l
	return l
}

func (w *walker) query(ctx context.Context, domain string) lookup {
	answer, err := w.resolver.TXT(ctx, "_dmarc."+domain)
	if dnsx.IsNotFound(err) {
		return lookup{}
	}
	if err != nil {
		return lookup{err: err}
	}
	var found []lookup
	for _, txt := range answer.Records {
		record, err := ParseRecord(txt)
		if !errors.Is(err, ErrNotDMARC) {
			found = append(found, lookup{record: record, flaw: err})
		}
	}
	if len(found) != 1 { // several are all discarded (step 2)
		return lookup{}
	}
	return found[0]
}

// path lists the names of a walk: the name itself, then its parents; names of
// eight labels and more continue with seven (steps 3 and 4).
func path(domain string) []string {
	names := []string{domain}
	labels := strings.Split(domain, ".")
	from := max(1, len(labels)-(maxQueries-1))
	for i := from; i < len(labels); i++ {
		names = append(names, strings.Join(labels[i:], "."))
	}
	return names
}

// organization is the organizational domain of a name, and the public suffix
// record above it if the walk ended at one (RFC 9989 section 4.10.2).
type organization struct {
	domain string
	suffix string // the name with psd=y, if the walk ended there
}

// organizational finds the organizational domain of a name.
func (w *walker) organizational(ctx context.Context, domain string) (organization, error) {
	if w.psl {
		return organization{domain: Registered(domain)}, nil
	}
	names := path(domain)
	highest := ""
	for i, name := range names {
		l := w.at(ctx, name)
		if l.err != nil {
			return organization{}, l.err
		}
		if l.record == nil {
			continue
		}
		switch {
		case l.record.PSD == "n":
			return organization{domain: name}, nil
		case i > 0 && (l.record.PSD == "y" || !strings.Contains(name, ".")):
			// A top-level domain is a public suffix though its record does not
			// say so: else all names below it could speak for each other.
			return organization{domain: below(domain, name), suffix: name}, nil
		case l.record.PSD == "y":
			return organization{domain: name}, nil
		}
		highest = name
	}
	if highest == "" {
		highest = domain
	}
	return organization{domain: highest}, nil
}

// below is the name one label below parent on the way to domain.
func below(domain, parent string) string {
	rest := strings.TrimSuffix(domain, "."+parent)
	return rest[strings.LastIndexByte(rest, '.')+1:] + "." + parent
}

// policy is the record that applies to a From domain and where it stood.
type policy struct {
	lookup
	domain string // empty if there is no record
	org    organization
}

// discover finds the record that applies (RFC 9989 section 4.10.1): that of
// the domain itself, of its organizational domain, or of its public suffix.
func (w *walker) discover(ctx context.Context, from mail.Domain) (policy, error) {
	own := w.at(ctx, from.String())
	if own.err != nil {
		return policy{}, own.err
	}
	if own.record != nil {
		return policy{lookup: own, domain: from.String()}, nil
	}
	org, err := w.organizational(ctx, from.String())
	if err != nil {
		return policy{}, err
	}
	for _, name := range []string{org.domain, org.suffix} {
		if name == "" {
			continue
		}
		l := w.at(ctx, name)
		if l.err != nil {
			return policy{}, l.err
		}
		if l.record != nil {
			return policy{lookup: l, domain: name, org: org}, nil
		}
	}
	return policy{org: org}, nil
}
