// Package zone reads zone files (RFC 1035 section 5) and serves them as an
// authoritative server over UDP and TCP: the demo domain of the quickstart,
// and the domains of tests.
//
// It knows CNAME records, wildcards (RFC 4592), empty non-terminals (RFC 8020)
// and tells NXDOMAIN from NODATA, both with the SOA record that bounds how
// long the absence may be kept (RFC 2308). It knows no delegations and no
// DNSSEC. Records can be added and removed while the server runs.
package zone

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// defaultTTL stands where a zone file names none.
const defaultTTL = 3600

// Zone is a set of records under one or more apexes, the names with a SOA
// record. It may be read and changed by many goroutines.
type Zone struct {
	mu     sync.RWMutex
	sets   map[string]map[uint16][]dns.RR // by lower-case owner, by type
	apexes map[string]dns.RR
	exists map[string]int // owners and their ancestors: how many owners are at or below
}

// Parse reads a zone file. A text without any SOA record is taken as part of
// the root zone: it is authoritative for every name.
func Parse(r io.Reader) (*Zone, error) {
	z := &Zone{sets: map[string]map[uint16][]dns.RR{}, apexes: map[string]dns.RR{}, exists: map[string]int{}}
	if err := z.add(r); err != nil {
		return nil, err
	}
	if len(z.apexes) == 0 {
		if err := z.Add(". 3600 IN SOA localhost. hostmaster.localhost. 1 7200 3600 1209600 300"); err != nil {
			return nil, err
		}
	}
	return z, nil
}

// ParseString reads a zone file from a string.
func ParseString(text string) (*Zone, error) { return Parse(strings.NewReader(text)) }

// Add adds the records of a zone file text. Either all are added or none.
func (z *Zone) Add(text string) error { return z.add(strings.NewReader(text)) }

func (z *Zone) add(r io.Reader) error {
	parser := dns.NewZoneParser(r, ".", "")
	parser.SetDefaultTTL(defaultTTL)
	var records []dns.RR
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		spelled, err := asOnTheWire(rr)
		if err != nil {
			return fmt.Errorf("reading zone: %q: %w", rr.Header().Name, err)
		}
		records = append(records, spelled)
	}
	if err := parser.Err(); err != nil {
		return fmt.Errorf("reading zone: %w", err)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, rr := range records {
		z.insert(rr)
	}
	return nil
}

// asOnTheWire gives names the spelling that they will have in queries: a zone
// file may write the same octet in several ways.
func asOnTheWire(rr dns.RR) (dns.RR, error) {
	wire := make([]byte, dns.MaxMsgSize)
	n, err := dns.PackRR(rr, wire, 0, nil, false)
	if err != nil {
		return nil, err
	}
	spelled, _, err := dns.UnpackRR(wire[:n], 0)
	return spelled, err
}

func (z *Zone) insert(rr dns.RR) {
	h := rr.Header()
	h.Name = strings.ToLower(h.Name)
	set := z.sets[h.Name]
	if set == nil {
		set = map[uint16][]dns.RR{}
		z.sets[h.Name] = set
		for _, name := range withAncestors(h.Name) {
			z.exists[name]++
		}
	}
	set[h.Rrtype] = append(set[h.Rrtype], rr)
	if h.Rrtype == dns.TypeSOA {
		z.apexes[h.Name] = rr
	}
}

// Remove deletes all records of one type ("TXT") at a name.
func (z *Zone) Remove(name, recordType string) {
	name = strings.ToLower(dns.Fqdn(name))
	z.mu.Lock()
	defer z.mu.Unlock()
	set, ok := z.sets[name]
	if !ok {
		return
	}
	delete(set, dns.StringToType[recordType])
	if len(set) > 0 {
		return
	}
	delete(z.sets, name)
	for _, name := range withAncestors(name) {
		if z.exists[name]--; z.exists[name] == 0 {
			delete(z.exists, name)
		}
	}
}

// withAncestors lists a name and everything above it up to the root.
func withAncestors(name string) []string {
	names := []string{}
	for off, end := 0, name == "."; !end; off, end = dns.NextLabel(name, off) {
		names = append(names, name[off:])
	}
	return append(names, ".")
}

// Zones answers for several zones; the one with the longest apex above a name
// speaks for it.
type Zones []*Zone

// apex finds the zone that a name belongs to and the SOA record over it.
func (zs Zones) apex(name string) (*Zone, dns.RR) {
	for _, above := range withAncestors(name) {
		for _, z := range zs {
			z.mu.RLock()
			soa, ok := z.apexes[above]
			z.mu.RUnlock()
			if ok {
				return z, soa
			}
		}
	}
	return nil, nil
}

// Answer makes the reply to a query (RFC 1034 section 4.3.2). Names outside
// all zones are REFUSED.
func (zs Zones) Answer(query *dns.Msg) *dns.Msg {
	reply := new(dns.Msg).SetReply(query)
	if query.Opcode != dns.OpcodeQuery || len(query.Question) != 1 {
		reply.Rcode = dns.RcodeNotImplemented
		return reply
	}
	name, qtype := strings.ToLower(query.Question[0].Name), query.Question[0].Qtype
	for {
		z, soa := zs.apex(name)
		if z == nil {
			if len(reply.Answer) == 0 {
				reply.Rcode = dns.RcodeRefused
			}
			return reply
		}
		reply.Authoritative = true
		target := z.answer(reply, soa, name, qtype)
		if target == "" || slices.ContainsFunc(reply.Answer, func(rr dns.RR) bool { return rr.Header().Name == target }) {
			return reply
		}
		name = target
	}
}

// answer adds what this zone knows of a name; it returns the target of a CNAME
// record that is to be followed.
func (z *Zone) answer(reply *dns.Msg, soa dns.RR, name string, qtype uint16) string {
	z.mu.RLock()
	defer z.mu.RUnlock()
	set, exists := z.find(name)
	switch {
	case len(set[qtype]) > 0:
		reply.Answer = append(reply.Answer, ownedBy(name, set[qtype])...)
		return ""
	case len(set[dns.TypeCNAME]) > 0:
		alias := ownedBy(name, set[dns.TypeCNAME][:1])
		reply.Answer = append(reply.Answer, alias...)
		return strings.ToLower(alias[0].(*dns.CNAME).Target)
	case !exists:
		reply.Rcode = dns.RcodeNameError
	}
	reply.Ns = append(reply.Ns, soa)
	return ""
}

// find gives the records at a name, or those of the wildcard that covers it
// (RFC 4592 section 3.3.1: only below the closest encloser).
func (z *Zone) find(name string) (set map[uint16][]dns.RR, exists bool) {
	if z.exists[name] > 0 {
		return z.sets[name], true
	}
	for _, above := range withAncestors(name)[1:] {
		if z.exists[above] > 0 {
			set, ok := z.sets["*."+strings.TrimPrefix(above, ".")]
			return set, ok
		}
	}
	return nil, false
}

// ownedBy copies records, with the name that was asked for as their owner.
func ownedBy(name string, records []dns.RR) []dns.RR {
	var out []dns.RR
	for _, rr := range records {
		rr = dns.Copy(rr)
		rr.Header().Name = name
		out = append(out, rr)
	}
	return out
}
