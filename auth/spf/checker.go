package spf

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"blitiri.com.ar/go/spf"

	"gatepost/dnsx"
	"gatepost/mail"
)

// The values of a Result (RFC 7208 section 2.6).
const (
	None      = "none"
	Neutral   = "neutral"
	Pass      = "pass"
	Fail      = "fail"
	SoftFail  = "softfail"
	TempError = "temperror"
	PermError = "permerror"
)

// The identities that are checked (RFC 8601 section 2.7.2).
const (
	MailFrom = "mailfrom"
	Helo     = "helo"
)

// Result is what SPF says about a client.
type Result struct {
	Value    string      `json:"value"`
	Domain   mail.Domain `json:"domain"`
	Identity string      `json:"identity"`
	// Mechanism is the term that matched, and behind "via" the terms that led
	// to it: "ip4:192.0.2.0/24 via include:_spf.example.net".
	Mechanism string `json:"mechanism,omitempty"`
	// Explanation is the domain owner's text for a fail, safe in an SMTP reply.
	Explanation string `json:"explanation,omitempty"`
	Reason      string `json:"reason,omitempty"` // of none, temperror and permerror
}

// Resolver is what the check asks; *dnsx.Resolver is one.
type Resolver interface {
	TXT(ctx context.Context, name string) (dnsx.Answer[string], error)
	MX(ctx context.Context, name string) (dnsx.Answer[dnsx.MX], error)
	A(ctx context.Context, name string) (dnsx.Answer[netip.Addr], error)
	AAAA(ctx context.Context, name string) (dnsx.Answer[netip.Addr], error)
	PTR(ctx context.Context, addr netip.Addr) (dnsx.Answer[string], error)
}

// Defaults of Options (RFC 7208 section 4.6.4).
const (
	DefaultTimeLimit   = 20 * time.Second
	DefaultLookups     = 10
	DefaultVoidLookups = 2
)

// Options of a Checker; zero values mean the defaults.
type Options struct {
	Resolver    Resolver // required
	TimeLimit   time.Duration
	Lookups     uint
	VoidLookups uint
	Receiver    string // our host name, for explanations
	Now         func() time.Time
}

// Checker checks clients. It may be used by many goroutines.
type Checker struct{ options Options }

// New makes a Checker.
func New(o Options) *Checker {
	if o.TimeLimit == 0 {
		o.TimeLimit = DefaultTimeLimit
	}
	if o.Lookups == 0 {
		o.Lookups = DefaultLookups
	}
	if o.VoidLookups == 0 {
		o.VoidLookups = DefaultVoidLookups
	}
	if o.Receiver == "" {
		o.Receiver = "unknown"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Checker{o}
}

// Check tells whether the client at ip, which said HELO helo, may use the
// reverse-path from; for the null reverse-path, whether it may use its HELO
// name, as postmaster of it (section 2.4).
func (c *Checker) Check(ctx context.Context, ip netip.Addr, helo string, from mail.Address) Result {
	result := Result{Value: None, Domain: from.Domain(), Identity: MailFrom}
	local := from.Local()
	if from.IsNull() {
		domain, err := mail.ParseDomain(strings.TrimSuffix(helo, "."))
		result.Identity, result.Domain, local = Helo, domain, "postmaster"
		if err != nil {
			result.Reason = "HELO is not a domain name"
			return result
		}
	}
	// Only a domain name of several labels can have a record (section 4.3).
	if result.Domain.IsLiteral() || !strings.Contains(result.Domain.String(), ".") {
		result.Reason = "not a fully qualified domain name"
		return result
	}
	if !ip.IsValid() {
		result.Value, result.Reason = PermError, "no client address"
		return result
	}
	ctx, cancel := context.WithTimeout(ctx, c.options.TimeLimit)
	defer cancel()
	r := newRun(c.options, ip.Unmap().WithZone(""), helo, local, result.Domain.String())
	c.evaluate(ctx, r, &result)
	return result
}

// evaluate lets the library decide and adds how it came to that.
func (c *Checker) evaluate(ctx context.Context, r *run, result *Result) {
	// The sender's local part is ours to expand; the library gets a fixed one.
	sender := "postmaster@" + r.domain
	value, err := spf.CheckHostWithSender(net.IP(r.ip.AsSlice()), r.domain, sender,
		spf.WithContext(ctx), spf.WithResolver(r), spf.WithTraceFunc(r.trace),
		spf.OverrideLookupLimit(c.options.Lookups), spf.OverrideVoidLookupLimit(c.options.VoidLookups))
	result.Value = string(value)
	switch result.Value {
	case None, TempError, PermError:
		result.Reason = reason(value, err)
		return
	case Fail:
		result.Explanation = r.explain(ctx)
	}
	if err != nil { // the library's way to say that something matched
		result.Mechanism = r.mechanism()
	}
}

// reason words an error for people.
func reason(value spf.Result, err error) string {
	var dnsError *net.DNSError
	switch {
	case err == nil:
		return ""
	case errors.Is(err, spf.ErrNoResult) && value == spf.PermError:
		return "a domain of include or redirect has no SPF record"
	case errors.Is(err, spf.ErrNoResult):
		return "no SPF record"
	case errors.As(err, &dnsError):
		return mail.SafeText(dnsError.Err, 300)
	}
	return mail.SafeText(err.Error(), 300)
}
