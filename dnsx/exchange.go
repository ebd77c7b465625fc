package dnsx

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	// udpSize is offered by EDNS0: no fragments on any usual path (RFC 9715 section 3).
	udpSize = 1232
	// maxStrays is how many datagrams that do not answer the question are
	// passed over in one exchange: either a broken server or somebody who guesses.
	maxStrays = 50
	// failingFor is how long a server that did not answer is asked last.
	failingFor = 30 * time.Second
)

// server is a Server in use.
type server struct {
	Server
	failingUntil atomic.Int64 // unix milliseconds
}

// ServerState is what Health tells about one server.
type ServerState struct {
	Address string `json:"address"`
	Failing bool   `json:"failing"` // did not answer lately
}

func newServer(s Server) (*server, error) {
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		host, port = strings.Trim(s.Address, "[]"), "53"
	}
	ip, zone, _ := strings.Cut(host, "%")
	if net.ParseIP(ip) == nil || (zone == "" && strings.Contains(host, "%")) {
		return nil, fmt.Errorf("DNS server %q is not an IP address with an optional port", s.Address)
	}
	s.Address = net.JoinHostPort(host, port)
	return &server{Server: s}, nil
}

// Health tells which servers answer.
func (r *Resolver) Health() []ServerState {
	now := r.options.Now()
	var states []ServerState
	for _, s := range r.servers {
		states = append(states, ServerState{s.Address, s.failing(now)})
	}
	return states
}

func (s *server) failing(now time.Time) bool { return now.UnixMilli() < s.failingUntil.Load() }

// order gives the servers as configured, those that failed lately last.
func (r *Resolver) order() []*server {
	now := r.options.Now()
	var good, bad []*server
	for _, s := range r.servers {
		if s.failing(now) {
			bad = append(bad, s)
		} else {
			good = append(good, s)
		}
	}
	return append(good, bad...)
}

// ask goes through the servers until one of them gives a usable reply.
func (r *Resolver) ask(ctx context.Context, q question) (reply *dns.Msg, validating bool, err error) {
	var failures []error
	for range r.options.Rounds {
		for _, s := range r.order() {
			if err := context.Cause(ctx); err != nil {
				return nil, false, errors.Join(append(failures, err)...)
			}
			reply, err := r.try(ctx, s, q)
			if err == nil {
				return reply, s.Validating, nil
			}
			failures = append(failures, fmt.Errorf("server %s: %w", s.Address, err))
		}
	}
	return nil, false, errors.Join(failures...)
}

// try asks one server once, and again over TCP when UDP is not enough.
func (r *Resolver) try(ctx context.Context, s *server, q question) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, r.options.TryTimeout)
	defer cancel()
	start := r.options.Now()
	reply, err := exchange(ctx, "udp", s.Address, newQuery(q))
	if err == nil && reply.Truncated {
		reply, err = exchange(ctx, "tcp", s.Address, newQuery(q))
	}
	took := r.options.Now().Sub(start)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			s.failingUntil.Store(r.options.Now().Add(failingFor).UnixMilli())
		}
		r.options.Observer.Exchanged(s.Address, failureOutcome(err), took)
		return nil, err
	}
	s.failingUntil.Store(0)
	outcome, err := judge(reply)
	r.options.Observer.Exchanged(s.Address, outcome, took)
	return reply, err
}

// judge tells whether a reply is an answer or a reason to ask the next server.
func judge(reply *dns.Msg) (string, error) {
	switch reply.Rcode {
	case dns.RcodeSuccess:
		if isReferral(reply) {
			return "refused", errors.New("server does not resolve for us (a referral)")
		}
		return "ok", nil
	case dns.RcodeNameError:
		return "nxdomain", nil
	case dns.RcodeServerFailure:
		return "servfail", errors.New("SERVFAIL")
	case dns.RcodeRefused:
		return "refused", errors.New("REFUSED")
	}
	return "error", fmt.Errorf("response code %s", dns.RcodeToString[reply.Rcode])
}

// isReferral recognizes a server that points elsewhere instead of answering.
func isReferral(reply *dns.Msg) bool {
	if len(reply.Answer) > 0 || reply.RecursionAvailable || reply.Authoritative {
		return false
	}
	_, hasSOA := negativeTTL(reply)
	return !hasSOA && len(reply.Ns) > 0
}

func failureOutcome(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return "timeout"
	}
	return "error"
}

// newQuery makes a question with a random id. AD asks a validating server to
// say what it proved without sending signatures (RFC 6840 section 5.7).
func newQuery(q question) *dns.Msg {
	m := new(dns.Msg)
	m.Id = dns.Id()
	m.RecursionDesired = true
	m.AuthenticatedData = true
	m.Question = []dns.Question{{Name: q.name, Qtype: q.qtype, Qclass: dns.ClassINET}}
	return m.SetEdns0(udpSize, false)
}

// exchange sends a query over a socket of its own, so that the system chooses
// a random port (RFC 5452 section 4.5), and waits for the reply to it.
func exchange(ctx context.Context, network, address string, query *dns.Msg) (*dns.Msg, error) {
	packed, err := query.Pack()
	if err != nil {
		return nil, fmt.Errorf("packing the question: %w", err)
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	converse := converseUDP
	if network == "tcp" {
		converse = converseTCP
	}
	reply, err := converse(conn, packed, query)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return reply, err
}

// converseUDP reads until the datagram that answers the query: others may be
// late, or forged.
func converseUDP(conn net.Conn, packed []byte, query *dns.Msg) (*dns.Msg, error) {
	if _, err := conn.Write(packed); err != nil {
		return nil, fmt.Errorf("asking over UDP: %w", err)
	}
	buffer := make([]byte, 4096)
	for range maxStrays {
		n, err := conn.Read(buffer)
		if err != nil {
			return nil, fmt.Errorf("waiting for an answer over UDP: %w", err)
		}
		if reply, err := readReply(buffer[:n], query); err == nil {
			return reply, nil
		}
	}
	return nil, fmt.Errorf("%d datagrams that do not answer the question", maxStrays)
}

// converseTCP exchanges messages with their length before them (RFC 1035 section 4.2.2).
func converseTCP(conn net.Conn, packed []byte, query *dns.Msg) (*dns.Msg, error) {
	framed := binary.BigEndian.AppendUint16(nil, uint16(len(packed)))
	if _, err := conn.Write(append(framed, packed...)); err != nil {
		return nil, fmt.Errorf("asking over TCP: %w", err)
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, fmt.Errorf("waiting for an answer over TCP: %w", err)
	}
	buffer := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, buffer); err != nil {
		return nil, fmt.Errorf("reading an answer over TCP: %w", err)
	}
	reply, err := readReply(buffer, query)
	if err == nil && reply.Truncated {
		err = errors.New("answer over TCP is truncated")
	}
	return reply, err
}

// readReply unpacks a reply and checks that it belongs to the query (RFC 5452
// section 9.1). A truncated one need not be whole.
func readReply(packed []byte, query *dns.Msg) (*dns.Msg, error) {
	reply := new(dns.Msg)
	if err := reply.Unpack(packed); err != nil && !reply.Truncated {
		return nil, fmt.Errorf("unreadable answer: %w", err)
	}
	if reply.Id != query.Id || !reply.Response || reply.Opcode != dns.OpcodeQuery || len(reply.Question) != 1 {
		return nil, errors.New("not the answer to our question")
	}
	asked, got := query.Question[0], reply.Question[0]
	if asked.Qtype != got.Qtype || asked.Qclass != got.Qclass || !sameName(asked.Name, got.Name) {
		return nil, errors.New("answer to another question")
	}
	return reply, nil
}
