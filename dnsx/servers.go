package dnsx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// failingFor is how long a server that did not answer is asked last.
const failingFor = 30 * time.Second

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
