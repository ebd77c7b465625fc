package dnsx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	maxChain   = 10  // CNAME records followed for one question
	maxRecords = 500 // records of one answer that are looked at
)

// Errors inside Error.Err.
var (
	ErrLoop  = errors.New("loop of CNAME records")
	ErrChain = fmt.Errorf("more than %d CNAME records in a row", maxChain)
)

// result is what became of one question; kind is empty for an answer.
type result struct {
	records   []dns.RR // of the type asked for, at the end of the chain
	chain     []string // CNAME targets in order, plain names
	authentic bool
	ttl       time.Duration // negative: must not be kept
	expires   time.Time
	kind      Kind
	err       error
}

// failed is a result of kind Temporary.
func failed(err error) result { return result{kind: Temporary, err: err} }

// resolve asks the servers and follows CNAME records over as many exchanges
// as it takes.
func (r *Resolver) resolve(ctx context.Context, q question) result {
	w := walk{name: q.name, qtype: q.qtype, authentic: true, ttl: time.Duration(1<<31-1) * time.Second}
	for {
		reply, validating, err := r.ask(ctx, question{w.name, q.qtype})
		if err != nil {
			return failed(err)
		}
		w.authentic = w.authentic && validating && reply.AuthenticatedData
		if done, res := w.read(reply); done {
			return res
		}
	}
}

// walk goes along a chain of CNAME records.
type walk struct {
	name      string // where the chain stands
	qtype     uint16
	seen      []string // canonical names passed
	chain     []string
	authentic bool
	ttl       time.Duration
}

// read takes what one reply says about the name where the walk stands; done is
// false when another exchange must continue from a new name.
func (w *walk) read(reply *dns.Msg) (done bool, res result) {
	start := w.name
	if err := w.follow(reply.Answer); err != nil {
		return true, failed(err)
	}
	records := w.collect(reply.Answer)
	if len(records) > 0 {
		return true, result{records: records, chain: w.chain, authentic: w.authentic, ttl: w.ttl}
	}
	ttl, hasSOA := negativeTTL(reply)
	res = result{chain: w.chain, authentic: w.authentic, ttl: min(ttl, w.ttl)}
	switch {
	case reply.Rcode == dns.RcodeNameError: // of the last name in the chain (RFC 6604 section 3)
		res.kind = NXDomain
	case w.name != start && !hasSOA:
		return false, result{} // the target lies in a zone that this server did not look into
	default:
		res.kind = NoData
	}
	return true, res
}

// follow moves along the CNAME records of one reply.
func (w *walk) follow(answer []dns.RR) error {
	if w.qtype == dns.TypeCNAME {
		return nil
	}
	for {
		i := slices.IndexFunc(answer, func(rr dns.RR) bool {
			return rr.Header().Rrtype == dns.TypeCNAME && sameName(rr.Header().Name, w.name)
		})
		if i < 0 {
			return nil
		}
		w.seen = append(w.seen, w.name)
		w.name = strings.ToLower(answer[i].(*dns.CNAME).Target)
		w.chain = append(w.chain, plainName(w.name))
		w.ttl = min(w.ttl, seconds(answer[i].Header().Ttl))
		if slices.Contains(w.seen, w.name) {
			return ErrLoop
		}
		if len(w.chain) > maxChain {
			return ErrChain
		}
	}
}

// collect takes the records that answer the question at the end of the chain.
func (w *walk) collect(answer []dns.RR) []dns.RR {
	var records []dns.RR
	for _, rr := range answer {
		h := rr.Header()
		if h.Rrtype != w.qtype || h.Class != dns.ClassINET || !sameName(h.Name, w.name) {
			continue
		}
		if len(records) == maxRecords {
			break
		}
		w.ttl = min(w.ttl, seconds(h.Ttl))
		records = append(records, rr)
	}
	return records
}

// negativeTTL is how long the absence may be kept: the smaller of the SOA's
// TTL and its MINIMUM field (RFC 2308 section 5); without SOA not at all.
func negativeTTL(reply *dns.Msg) (time.Duration, bool) {
	for _, rr := range reply.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return seconds(min(soa.Hdr.Ttl, soa.Minttl)), true
		}
	}
	return -1, false
}

// seconds reads a TTL; the highest bit set means zero (RFC 2181 section 8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

func sameName(a, b string) bool { return strings.EqualFold(a, b) }
