package dmarc

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"gatepost/dnsx"
	"gatepost/mail"
)

// maxName is the longest name in the DNS (RFC 1035 section 2.3.4), as text.
const maxName = 253

// Destination is where reports may go.
type Destination struct {
	Address mail.Address
	MaxSize uint64 // octets of the message (RFC 7489 section 6.2); zero: no limit
}

// RefusedDestination is an address in a record to which no report goes.
type RefusedDestination struct{ URI, Reason string }

// Destinations looks at the rua= of the record at policyDomain: which of its
// addresses mail can be sent to, and wish for it. An address outside the
// organization of policyDomain must have said in the DNS that it takes reports
// about it (RFC 9990 section 4, RFC 7489 section 7.1); there it may name
// another address at the same host. Each address is given once. An error is
// temporary DNS trouble: what is in ok and refused is decided even so, the
// rest is not.
func (c *Checker) Destinations(ctx context.Context, policyDomain mail.Domain, uris []ReportURI) (ok []Destination, refused []RefusedDestination, err error) {
	return c.destinations(ctx, policyDomain, uris, func(r *Record) []ReportURI { return r.Aggregate })
}

// FailureDestinations does the same with ruf= (RFC 9991 section 5).
func (c *Checker) FailureDestinations(ctx context.Context, policyDomain mail.Domain, uris []ReportURI) (ok []Destination, refused []RefusedDestination, err error) {
	return c.destinations(ctx, policyDomain, uris, func(r *Record) []ReportURI { return r.Failure })
}

// verification is the search for the destinations of one record.
type verification struct {
	walker
	policyDomain mail.Domain
	override     func(*Record) []ReportURI
	ok           []Destination
	refused      []RefusedDestination
	doubts       []error
}

func (c *Checker) destinations(ctx context.Context, policyDomain mail.Domain, uris []ReportURI, override func(*Record) []ReportURI) ([]Destination, []RefusedDestination, error) {
	v := &verification{walker: walker{resolver: c.options.Resolver, found: map[string]lookup{}, psl: c.options.Discovery == PSL},
		policyDomain: policyDomain, override: override}
	for i, uri := range uris {
		if i == maxReportURIs {
			v.refuse(uri, fmt.Sprintf("the record names more than %d addresses", maxReportURIs))
			break
		}
		v.verify(ctx, uri)
	}
	return v.ok, v.refused, errors.Join(v.doubts...)
}

func (v *verification) refuse(uri ReportURI, reason string) {
	v.refused = append(v.refused, RefusedDestination{mail.SafeText(uri.URI, 300), reason})
}

func (v *verification) doubt(uri ReportURI, err error) {
	v.doubts = append(v.doubts, fmt.Errorf("report address %s: %w", mail.SafeText(uri.URI, 300), err))
}

// add takes a destination that is not there yet, as long as there is room.
func (v *verification) add(d Destination) {
	known := slices.ContainsFunc(v.ok, func(o Destination) bool { return o.Address.EqualFold(d.Address) })
	if !known && len(v.ok) < maxReportURIs {
		v.ok = append(v.ok, d)
	}
}

func (v *verification) verify(ctx context.Context, uri ReportURI) {
	address, reason := mailbox(uri.URI)
	if reason != "" {
		v.refuse(uri, reason)
		return
	}
	internal, err := v.internal(ctx, address.Domain())
	switch {
	case err != nil:
		v.doubt(uri, err)
	case internal:
		v.add(Destination{address, uri.MaxSize})
	default:
		v.external(ctx, uri, address)
	}
}

// mailbox reads a mailto URI (RFC 6068): one address, percent-encoded; header
// fields behind a question mark are not for us. Decoding comes last, so that
// nothing encoded can add an address or a field.
func mailbox(uri string) (mail.Address, string) {
	parsed, err := url.Parse(uri)
	if err != nil || !strings.EqualFold(parsed.Scheme, "mailto") {
		return mail.Address{}, "only mailto addresses are served"
	}
	text, err := url.PathUnescape(parsed.Opaque)
	if err != nil {
		return mail.Address{}, "it is no mail address"
	}
	address, err := mail.ParseAddress(text, true)
	switch {
	case err != nil:
		return mail.Address{}, "it is no mail address"
	case !address.IsASCII():
		return mail.Address{}, "its local part is not in US-ASCII"
	case address.Domain().IsLiteral():
		return mail.Address{}, "it has no domain"
	}
	return address, ""
}

// internal tells whether host belongs to the organization that publishes the
// policy: then nobody else has to agree.
func (v *verification) internal(ctx context.Context, host mail.Domain) (bool, error) {
	if host == v.policyDomain {
		return true, nil
	}
	if topLabel(host) != topLabel(v.policyDomain) {
		return false, nil
	}
	ours, err := v.organizational(ctx, v.policyDomain.String())
	if err != nil {
		return false, err
	}
	theirs, err := v.organizational(ctx, host.String())
	return err == nil && ours.domain == theirs.domain, err
}

// external asks the destination's zone (steps 2 to 8).
func (v *verification) external(ctx context.Context, uri ReportURI, address mail.Address) {
	host := address.Domain()
	name := v.policyDomain.String() + "._report._dmarc." + host.String()
	if len(name) > maxName {
		v.refuse(uri, "the name that would confirm it is too long")
		return
	}
	answer, err := v.resolver.TXT(ctx, name)
	if dnsx.IsTemporary(err) {
		v.doubt(uri, err)
		return
	}
	confirmed := false
	var instead []ReportURI
	for _, txt := range answer.Records {
		// What a policy record must have besides the version, this needs not.
		if record, err := ParseRecord(txt); !errors.Is(err, ErrNotDMARC) {
			confirmed = true
			instead = append(instead, v.override(record)...)
		}
	}
	switch {
	case !confirmed:
		v.refuse(uri, "nothing at "+mail.SafeText(name, maxName)+" says that it takes these reports")
	case len(instead) > 0:
		v.replace(uri, host, instead)
	default:
		v.add(Destination{address, uri.MaxSize})
	}
}

// replace takes the addresses that the destination names instead (step 9). If
// one is at another host, no report goes to any.
func (v *verification) replace(uri ReportURI, host mail.Domain, instead []ReportURI) {
	var found []Destination
	for _, other := range instead {
		address, reason := mailbox(other.URI)
		if reason != "" {
			continue
		}
		if address.Domain() != host {
			v.refuse(uri, "its host names an address at another one instead")
			return
		}
		found = append(found, Destination{address, other.MaxSize})
	}
	if len(found) == 0 {
		v.refuse(uri, "its host names no address that is served instead")
	}
	for _, d := range found {
		v.add(d)
	}
}
