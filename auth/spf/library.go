package spf

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"gatepost/dnsx"
)

// run is one check. It is the resolver that the library asks, and keeps what
// the library does not tell: the records seen and the terms that matched.
type run struct {
	options           Options
	ip                netip.Addr
	helo, local       string
	domain            string             // whose policy is asked for
	records           map[string]*record // by the domain that published them
	names             map[string]target  // stand-ins for names that the library must not see
	steps             []step
	validated         []string // names of ip that lead back to it; nil: not looked up
	validatedLookedUp bool
}

// target is the name behind a stand-in.
type target struct {
	name   string
	exists bool // of an exists mechanism: an A record counts, whatever the client is
}

// step is a term that matched, or a redirect that was followed; innermost first.
type step struct {
	term     string
	redirect bool
}

func newRun(o Options, ip netip.Addr, helo, local, domain string) *run {
	return &run{options: o, ip: ip, helo: helo, local: local, domain: domain,
		records: map[string]*record{}, names: map[string]target{}}
}

// LookupTXT gives the library the SPF record of a domain, checked and without
// macros. A record with a syntax error is an error that is neither temporary
// nor "not found", which the library takes for permerror.
func (r *run) LookupTXT(ctx context.Context, name string) ([]string, error) {
	domain := r.real(name).name
	answer, err := r.options.Resolver.TXT(ctx, domain)
	if err != nil {
		return nil, libraryError(err)
	}
	found := slices.DeleteFunc(slices.Clone(answer.Records), func(txt string) bool { return !isRecord(txt) })
	if len(found) != 1 {
		return found, nil // none, or too many: the library's business
	}
	parsed, err := parseRecord(found[0])
	if err != nil {
		return nil, &net.DNSError{Err: fmt.Sprintf("syntax error in the SPF record of %s: %v", domain, err), Name: domain}
	}
	r.records[name] = parsed
	return []string{r.rewrite(ctx, parsed, domain)}, nil
}

// rewrite writes a record without macros. Networks of the other address
// family are left out: they cannot match (section 5.6), and the library would
// let ::ffff:0:0/96 match IPv4.
func (r *run) rewrite(ctx context.Context, rec *record, domain string) string {
	fields := []string{"v=spf1"}
	for _, t := range rec.terms {
		if r.cannotMatch(t.target) {
			continue
		}
		field := t.qualifier + t.mechanism
		switch t.mechanism {
		case "ip4", "ip6":
			if (t.mechanism == "ip4") != r.ip.Is4() {
				continue
			}
			field += ":" + t.network.String()
		case "a", "mx", "ptr", "include", "exists":
			name := domain
			if t.target != nil {
				name = r.expandName(ctx, t.target, domain)
			}
			field += ":" + r.standIn(name, t.mechanism == "exists") + t.mask
		}
		fields = append(fields, field)
	}
	if rec.redirect != nil {
		name := ""
		if !r.cannotMatch(rec.redirect) {
			name = r.expandName(ctx, rec.redirect, domain)
		}
		fields = append(fields, "redirect="+r.standIn(name, false))
	}
	return strings.Join(fields, " ")
}

// cannotMatch tells whether a name is made of a local part that is not ASCII:
// such a term matches nothing (RFC 8616 section 4), for what DNS would be asked
// is another name than the one that the owner meant.
func (r *run) cannotMatch(target macroString) bool {
	return target.has("sl") && strings.IndexFunc(r.local, func(c rune) bool { return c >= 0x80 }) >= 0
}

// standIn gives the name that the library sees. Names that could not stand in
// a record of plain text, and those of exists, get another one.
func (r *run) standIn(name string, exists bool) string {
	plain := name != "" && strings.IndexFunc(name, func(c rune) bool { return c <= ' ' || c > '~' || c == '%' || c == '/' }) < 0
	if plain && !exists && !strings.HasSuffix(strings.ToLower(name), standInSuffix) {
		return name
	}
	key := fmt.Sprintf("%d%s", len(r.names), standInSuffix)
	r.names[key] = target{name, exists}
	return key
}

const standInSuffix = ".stand-in.invalid"

func (r *run) real(name string) target {
	if t, ok := r.names[name]; ok {
		return t
	}
	return target{name: name}
}

// LookupIPAddr answers for a, mx and ptr with addresses of the client's
// family (section 5), for exists with IPv4 addresses (section 5.7).
func (r *run) LookupIPAddr(ctx context.Context, name string) ([]net.IPAddr, error) {
	t := r.real(name)
	addrs, err := r.addrs(ctx, t.name, t.exists || r.ip.Is4())
	var ips []net.IPAddr
	for _, addr := range addrs {
		ips = append(ips, net.IPAddr{IP: net.IP(addr.AsSlice())})
	}
	return ips, libraryError(err)
}

func (r *run) addrs(ctx context.Context, name string, four bool) ([]netip.Addr, error) {
	lookup := r.options.Resolver.AAAA
	if four {
		lookup = r.options.Resolver.A
	}
	answer, err := lookup(ctx, name)
	return answer.Records, err
}

// LookupMX answers for mx.
func (r *run) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	answer, err := r.options.Resolver.MX(ctx, r.real(name).name)
	var exchanges []*net.MX
	for _, mx := range answer.Records {
		exchanges = append(exchanges, &net.MX{Host: mx.Host, Pref: mx.Preference})
	}
	return exchanges, libraryError(err)
}

// LookupAddr answers for ptr.
func (r *run) LookupAddr(ctx context.Context, _ string) ([]string, error) {
	answer, err := r.options.Resolver.PTR(ctx, r.ip)
	return answer.Records, libraryError(err)
}

// libraryError makes the kind of error that the library can read.
func libraryError(err error) error {
	if err == nil {
		return nil
	}
	return &net.DNSError{Err: dnsx.Brief(err), IsNotFound: dnsx.IsNotFound(err), IsTemporary: dnsx.IsTemporary(err)}
}

// trace picks the terms that matched out of what the library tells while it
// works. The formats are those of v1.6.0; TestMechanism fails when they change.
func (r *run) trace(format string, args ...any) {
	switch format {
	case "all: %v":
		r.steps = append(r.steps, step{term: "all"})
	case "%q %v, %v":
		r.steps = append(r.steps, step{term: fmt.Sprint(args[0])})
	case "%q: %v, %v":
		r.steps = append(r.steps, step{term: fmt.Sprint(args[0]), redirect: true})
	}
}

// decisive gives the term that decided and what led there, innermost first:
// the last match and the redirects and includes around it. Steps of an include
// that did not match lie further back.
func (r *run) decisive() []step {
	start := len(r.steps)
	for start > 0 {
		start--
		if s := r.steps[start]; !s.redirect && !strings.HasPrefix(s.term, "include:") {
			break
		}
	}
	return r.steps[start:]
}

// mechanism words the decisive terms.
func (r *run) mechanism() string {
	var terms []string
	for _, s := range r.decisive() {
		terms = append(terms, r.readable(s.term))
	}
	return strings.Join(terms, " via ")
}

// readable puts real names back into a term.
func (r *run) readable(term string) string {
	head, rest, _ := strings.Cut(term, ":")
	name, mask, _ := strings.Cut(rest, "/")
	if t, ok := r.names[name]; ok {
		return head + ":" + t.name
	}
	switch mask {
	case "32//128":
		return head + ":" + name
	default:
		return term
	}
}
