package dnsx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"
)

// Defaults of Options.
const (
	DefaultTimeout        = 5 * time.Second
	DefaultTryTimeout     = 2 * time.Second
	DefaultRounds         = 2
	DefaultCacheEntries   = 20_000
	DefaultCacheBytes     = 32 << 20
	DefaultMaxTTL         = time.Hour
	DefaultMaxNegativeTTL = 15 * time.Minute
	DefaultFailureTTL     = time.Second
)

// Server is one DNS server to ask.
type Server struct {
	Address string // host:port; without a port 53 is meant
	// Validating says that the server checks DNSSEC and that the way to it is
	// safe (RFC 6698 section 8.3, RFC 6840 section 5.7): its AD bit counts. Do
	// not mix with servers that do not validate: those are asked next when a
	// validating one answers SERVFAIL, which is also its word for a forgery.
	Validating bool
}

// Options of a Resolver; zero values mean the defaults.
type Options struct {
	Servers    []Server      // asked in order; empty: those of /etc/resolv.conf, none of them validating
	Timeout    time.Duration // of one question, all tries and CNAME steps together
	TryTimeout time.Duration // of one exchange with one server
	Rounds     int           // how often the list of servers is gone through

	CacheEntries   int // negative: no cache
	CacheBytes     int
	MinTTL         time.Duration // lower bound of the time that answers are kept
	MaxTTL         time.Duration
	MaxNegativeTTL time.Duration
	FailureTTL     time.Duration // failures (RFC 9520 section 3.2); negative: not kept

	Observer Observer
	Now      func() time.Time
}

// Observer learns what the resolver does, for metrics.
type Observer interface {
	// Exchanged is told of one try with one server. The outcome is one of
	// "ok", "nxdomain", "servfail", "refused", "error", "timeout".
	Exchanged(server, outcome string, took time.Duration)
	// LookedUp is told of every answer given to a caller. The outcome is "ok"
	// or a Kind.
	LookedUp(recordType, outcome string, cached bool)
}

// Resolver answers questions. It may be used by many goroutines.
type Resolver struct {
	options Options
	servers []*server
	cache   *cache
	flights flights
}

// question is what one exchange asks; name is in the spelling of wireName.
type question struct {
	name  string
	qtype uint16
}

func (q question) typeName() string { return dns.TypeToString[q.qtype] }

// New makes a Resolver. Close it when it is not needed any more.
func New(o Options) (*Resolver, error) {
	if len(o.Servers) == 0 {
		servers, err := systemServers("/etc/resolv.conf")
		if err != nil {
			return nil, err
		}
		o.Servers = servers
	}
	o.setDefaults()
	r := &Resolver{options: o, cache: newCache(o.CacheEntries, o.CacheBytes)}
	for _, s := range o.Servers {
		checked, err := newServer(s)
		if err != nil {
			return nil, err
		}
		r.servers = append(r.servers, checked)
	}
	return r, nil
}

func (o *Options) setDefaults() {
	setDefault(&o.Timeout, DefaultTimeout)
	setDefault(&o.TryTimeout, min(DefaultTryTimeout, o.Timeout))
	setDefault(&o.Rounds, DefaultRounds)
	setDefault(&o.CacheEntries, DefaultCacheEntries)
	setDefault(&o.CacheBytes, DefaultCacheBytes)
	setDefault(&o.MaxTTL, DefaultMaxTTL)
	setDefault(&o.MaxNegativeTTL, DefaultMaxNegativeTTL)
	setDefault(&o.FailureTTL, DefaultFailureTTL)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Observer == nil {
		o.Observer = silent{}
	}
}

func setDefault[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}

type silent struct{}

func (silent) Exchanged(string, string, time.Duration) {}
func (silent) LookedUp(string, string, bool)           {}

// Close ends exchanges under way and waits for them; later questions fail.
func (r *Resolver) Close() { r.flights.close() }

// systemServers reads the servers of a resolv.conf file.
func systemServers(path string) ([]Server, error) {
	conf, err := dns.ClientConfigFromFile(path)
	if err != nil {
		return nil, fmt.Errorf("no DNS servers configured, reading %s: %w", path, err)
	}
	var servers []Server
	for _, s := range conf.Servers {
		servers = append(servers, Server{Address: net.JoinHostPort(s, conf.Port)})
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("no DNS servers configured and none in %s", path)
	}
	return servers, nil
}

// lookup answers a question from the cache or from the servers.
func (r *Resolver) lookup(ctx context.Context, name string, qtype uint16) (result, error) {
	wire, ok := wireName(name)
	q := question{wire, qtype}
	if !ok {
		return r.give(result{kind: NXDomain, err: errors.New("not a name of the DNS")}, name, q, true)
	}
	if res, ok := r.cache.get(q, r.options.Now()); ok {
		return r.give(res, name, q, true)
	}
	res, err := r.flights.do(ctx, q, func(ctx context.Context) result {
		ctx, cancel := context.WithTimeout(ctx, r.options.Timeout)
		defer cancel()
		res := r.resolve(ctx, q)
		r.keep(q, &res)
		return res
	})
	if err != nil {
		res = result{kind: Temporary, err: err}
	}
	return r.give(res, name, q, false)
}

// give hands a result to the caller: what was not found is an *Error.
func (r *Resolver) give(res result, name string, q question, cached bool) (result, error) {
	if res.kind == "" {
		r.options.Observer.LookedUp(q.typeName(), "ok", cached)
		res.ttl = res.expires.Sub(r.options.Now())
		return res, nil
	}
	r.options.Observer.LookedUp(q.typeName(), string(res.kind), cached)
	return res, &Error{Kind: res.kind, Name: name, Type: q.typeName(), Authentic: res.authentic, Chain: res.chain, Err: res.err}
}

// keep decides how long a result lives and puts it into the cache.
func (r *Resolver) keep(q question, res *result) {
	o := r.options
	ttl := max(res.ttl, o.MinTTL)
	switch res.kind {
	case "":
		ttl = min(ttl, o.MaxTTL)
	case NXDomain, NoData:
		ttl = min(ttl, o.MaxNegativeTTL)
		if res.ttl < 0 { // no SOA: not to be kept (RFC 2308 section 5)
			ttl = 0
		}
	default:
		ttl = o.FailureTTL
		if errors.Is(res.err, context.Canceled) {
			ttl = 0
		}
	}
	res.expires = o.Now().Add(ttl)
	if ttl > 0 {
		r.cache.put(q, *res)
	}
}
