// Package dnstest is a DNS server for tests: it serves zone text and fails
// where it is told to, as servers on the Internet do.
package dnstest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"gatepost/dnsx"
	"gatepost/dnsx/zone"
)

// Fault is a way to answer badly.
type Fault string

// The faults.
const (
	ServFail        Fault = "SERVFAIL"
	Refused         Fault = "REFUSED"
	Timeout         Fault = "no answer"
	Truncated       Fault = "truncated over UDP"
	TruncatedAlways Fault = "truncated over TCP too"
	WrongName       Fault = "answer to another name"
	WrongID         Fault = "answer with another id"
	NotResponse     Fault = "answer without the response bit"
	OtherOwner      Fault = "right question, records of another name"
	Garbage         Fault = "octets that are no DNS message"
	Huge            Fault = "text record of nearly 64 KiB"
	Referral        Fault = "names of other servers instead of an answer"
	CNAMELoop       Fault = "alias of an alias of itself"
	CNAMEChain      Fault = "alias of a new alias, for ever"
	TruncatedHang   Fault = "truncated over UDP, no answer over TCP"
	TruncatedClosed Fault = "truncated over UDP, TCP closed"
	WrongType       Fault = "answer to another type"
	ExtraRecords    Fault = "records of other names, types and classes beside the answer"
	NXDomainAnswer  Fault = "answer that says the name does not exist"
	Empty           Fault = "no record and no SOA"
	OtherCase       Fault = "names in another case" // allowed
	AuthenticData   Fault = "AD bit set"            // not a fault but a lie, unless the resolver trusts this server
)

// Server is a DNS server on loopback.
type Server struct {
	Addr string

	zone    *zone.Zone
	mu      sync.Mutex
	faults  map[string]Fault
	queries map[string]int
	total   int
	arrived *sync.Cond // a query was counted
}

// New serves zone text until the test ends. Names outside a SOA record's zone
// are refused; text without SOA is authoritative for all names.
func New(t testing.TB, zoneText string) *Server {
	t.Helper()
	z, err := zone.ParseString(zoneText)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{zone: z, faults: map[string]Fault{}, queries: map[string]int{}}
	s.arrived = sync.NewCond(&s.mu)
	server, err := zone.Listen("127.0.0.1:0", s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	s.Addr = server.Addr()
	return s
}

// Resolver asks this server only, briefly and without a cache, so that every
// change of the zone is seen at once.
func (s *Server) Resolver(t testing.TB) *dnsx.Resolver {
	t.Helper()
	return s.ResolverWith(t, dnsx.Options{CacheEntries: -1})
}

// ResolverWith makes a resolver with options of the test's choice; unset
// servers and time-outs are filled in.
func (s *Server) ResolverWith(t testing.TB, o dnsx.Options) *dnsx.Resolver {
	t.Helper()
	if len(o.Servers) == 0 {
		o.Servers = []dnsx.Server{{Address: s.Addr}}
	}
	if o.TryTimeout == 0 {
		o.TryTimeout = 3 * time.Second
	}
	if o.Rounds == 0 {
		o.Rounds = 1
	}
	r, err := dnsx.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// Add adds records while the server runs.
func (s *Server) Add(t testing.TB, zoneText string) {
	t.Helper()
	if err := s.zone.Add(zoneText); err != nil {
		t.Fatal(err)
	}
}

// Remove deletes the records of one type at a name.
func (s *Server) Remove(name, recordType string) { s.zone.Remove(name, recordType) }

// Fail makes queries for a name and type ("TXT"; "ANY" for all types) fail;
// an empty fault ends that.
func (s *Server) Fail(name, recordType string, fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[key(name, recordType)] = fault
}

// Queries counts the queries for a name and type ("ANY": all types).
func (s *Server) Queries(name, recordType string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queries[key(name, recordType)]
}

// Total counts all queries.
func (s *Server) Total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// Await returns when at least n queries have arrived.
func (s *Server) Await(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.total < n {
		s.arrived.Wait()
	}
}

func key(name, recordType string) string {
	return strings.ToLower(dns.Fqdn(name)) + " " + recordType
}

// ServeDNS counts, and fails or answers.
func (s *Server) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	fault := s.count(query.Question[0])
	reply := zone.Zones{s.zone}.Answer(query)
	if truncates(fault, zone.OverUDP(w)) {
		reply = new(dns.Msg).SetReply(query)
		reply.Truncated = true
		_ = w.WriteMsg(reply)
		return
	}
	switch fault {
	case Timeout, TruncatedHang:
	case TruncatedClosed:
		_ = w.Close()
	case Garbage:
		_, _ = w.Write([]byte("this is no DNS message, however long one looks at it"))
	default:
		spoil(query, reply, fault)
		zone.Send(w, query, reply)
	}
}

// truncates tells whether the reply is cut to nothing.
func truncates(fault Fault, overUDP bool) bool {
	switch fault {
	case Truncated, TruncatedHang, TruncatedClosed:
		return overUDP
	}
	return fault == TruncatedAlways
}

// count notes a query and gives the fault that it meets.
func (s *Server) count(q dns.Question) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	exact, all := key(q.Name, dns.TypeToString[q.Qtype]), key(q.Name, "ANY")
	s.total++
	s.queries[exact]++
	s.queries[all]++
	s.arrived.Broadcast()
	if fault := s.faults[exact]; fault != "" {
		return fault
	}
	return s.faults[all]
}

// spoil applies a fault to a good reply.
func spoil(query, reply *dns.Msg, fault Fault) {
	name := query.Question[0].Name
	switch fault {
	case ServFail:
		*reply = *new(dns.Msg).SetRcode(query, dns.RcodeServerFailure)
	case Refused:
		*reply = *new(dns.Msg).SetRcode(query, dns.RcodeRefused)
	case WrongName:
		reply.Question = []dns.Question{{Name: "other.invalid.", Qtype: query.Question[0].Qtype, Qclass: dns.ClassINET}}
	case WrongType:
		reply.Question = []dns.Question{{Name: name, Qtype: dns.TypeHINFO, Qclass: dns.ClassINET}}
	case WrongID:
		reply.Id++
	case NotResponse:
		reply.Response = false
	case OtherOwner:
		for _, rr := range reply.Answer {
			rr.Header().Name = "other.invalid."
		}
	case Huge:
		reply.Answer = []dns.RR{hugeTXT(name)}
	case Referral:
		reply.Authoritative, reply.Answer = false, nil
		reply.Ns = []dns.RR{newRR("example. 60 IN NS ns.example.")}
	case CNAMELoop:
		reply.Answer = []dns.RR{newRR(name + " 60 IN CNAME loop." + name), newRR("loop." + name + " 60 IN CNAME " + name)}
	case CNAMEChain:
		*reply = *new(dns.Msg).SetReply(query)
		reply.Answer = chain(name)
	case ExtraRecords:
		reply.Answer = append(strangers(name), reply.Answer...)
	case NXDomainAnswer:
		reply.Rcode = dns.RcodeNameError
	case Empty:
		*reply = *new(dns.Msg).SetReply(query)
	case OtherCase:
		reply.Question = []dns.Question{{Name: strings.ToUpper(name), Qtype: query.Question[0].Qtype, Qclass: dns.ClassINET}}
		for _, rr := range reply.Answer {
			rr.Header().Name = strings.ToUpper(name)
		}
	case AuthenticData:
		reply.AuthenticatedData = true
	}
}

// strangers are records that a resolver must not take for an answer about name.
func strangers(name string) []dns.RR {
	return []dns.RR{
		newRR(`other.invalid. 60 IN TXT "v=spf1 +all"`), newRR(`other.invalid. 60 IN TXT "v=DMARC1; p=none"`), newRR(`other.invalid. 60 IN TXT "v=DKIM1; p="`),
		newRR(name + ` 60 CH TXT "v=spf1 +all"`), newRR(name + " 60 IN HINFO a b"), newRR("x." + name + ` 60 IN TXT "v=spf1 +all"`),
	}
}

// chain is longer than anybody follows.
func chain(name string) []dns.RR {
	var records []dns.RR
	for i, at := 0, name; i < 30; i++ {
		next := fmt.Sprintf("n%d.%s", i, name)
		records = append(records, newRR(at+" 60 IN CNAME "+next))
		at = next
	}
	return records
}

// HugeText is the text that Huge answers with.
func HugeText() string { return "v=HUGE; " + strings.Repeat("x", 64_000) }

func hugeTXT(name string) dns.RR {
	rr := &dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}}
	for text := HugeText(); text != ""; {
		n := min(255, len(text))
		rr.Txt = append(rr.Txt, text[:n])
		text = text[n:]
	}
	return rr
}

// newRR reads a record that this file wrote.
func newRR(text string) dns.RR {
	rr, err := dns.NewRR(text)
	if err != nil {
		panic(err)
	}
	return rr
}
