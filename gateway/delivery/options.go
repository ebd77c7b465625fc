package delivery

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"gatepost/dnsx"
	"gatepost/gateway/delivery/smtpc"
	"gatepost/mail"
	"gatepost/telemetry"
)

// Values of TLS.Policy.
const (
	TLSOff           = "off"
	TLSOpportunistic = "opportunistic" // encrypt where it works, in plaintext where not
	TLSRequire       = "require"       // encrypt to whoever answers
	TLSVerify        = "verify"        // encrypt to the server that the name says
)

// Values of NextHop.Select and NextHop.EightBit.
const (
	SelectOrdered    = "ordered"
	SelectRandom     = "random"
	EightBitStandard = "standard"
	EightBitForce    = "force"
)

// Defaults of Options.
const (
	DefaultConnections           = 500
	DefaultMessagesPerConnection = 100
	DefaultRecipientsPerMessage  = 100
	DefaultMaxAge                = 5 * time.Minute
	DefaultIdleTime              = 15 * time.Second
	DefaultConnectTimeout        = 30 * time.Second
)

// Options is what the configuration file says about delivery. Zero values mean
// the defaults.
type Options struct {
	Hostname        string    // hostname
	NextHops        []NextHop // next_hops
	EHLO            string    // delivery.ehlo; default: Hostname
	TLS             TLS       // delivery.tls: for MX, and for next hops without a policy
	Connections     int       // delivery.connections
	Messages        int       // delivery.messages_per_connection
	Recipients      int       // delivery.recipients_per_message
	SourceAddresses []netip.Addr
	// Own are the addresses and OwnNames the names, beside Hostname, by which
	// the world reaches this gateway: an MX among them is a loop.
	Own      []netip.Addr
	OwnNames []string

	MaxAge         time.Duration // of a kept connection
	IdleTime       time.Duration // how long a kept connection waits for mail
	ConnectTimeout time.Duration
	Timeouts       smtpc.Timeouts
	MXPort         uint16 // port of hosts found by MX; default 25

	Resolver Resolver
	Signer   Signer   // nil: nothing is signed
	Sealer   Signer   // of mail of the mx role; nil: nothing is sealed
	Observer Observer // nil: nobody looks
	Logger   *slog.Logger
	Now      func() time.Time
	// Shuffle mixes hosts of equal preference; default: math/rand/v2.
	Shuffle func(n int, swap func(i, j int))
}

// NextHop is one entry of next_hops.
type NextHop struct {
	Name     string
	URLs     []string // smtp://, smtps://, lmtp://host[:port], lmtp:///socket, mx://domain
	Select   string   // ordered (default) or random
	TLS      TLS
	Auth     Auth
	EHLO     string        // default: Options.EHLO
	EightBit string        // standard (default) or force
	MaxAge   time.Duration // default: Options.MaxAge
}

// TLS is the rule for one next hop, or for all hosts found by MX.
type TLS struct {
	Policy     string // off, opportunistic, require or verify; empty: delivery.tls, and opportunistic there
	Name       string // name in the certificate; default: the host name
	CA         string // PEM file of authorities; default: those of the system
	ClientCert string // PEM files of our own certificate
	ClientKey  string
}

// Auth is how we authenticate to a next hop. The zero value: not at all.
type Auth struct {
	Mechanism string // PLAIN or LOGIN; empty with a username: what the server offers
	Username  string
	Password  telemetry.Secret
}

// Resolver is the part of *dnsx.Resolver that delivery asks.
type Resolver interface {
	MX(ctx context.Context, name string) (dnsx.Answer[dnsx.MX], error)
	Addrs(ctx context.Context, name string) (dnsx.Answer[netip.Addr], error)
}

// Forms of a message, as told to a Signer: the same message signed in another
// form has another signature.
const (
	FormAsIs     = "as-is"
	FormSevenBit = "7bit"
)

// Signer makes the DKIM-Signature fields of a message in its final form, or the
// fields of an ARC set. It
// may be called again for the same message and form. It returns whole header
// fields with CRLF, and what they are for the log ("example.com/s1").
type Signer interface {
	Sign(ctx context.Context, m *mail.Message, form string, open func(context.Context) (io.ReadCloser, error)) (fields []byte, signedBy []string, err error)
}

// Observer learns what delivery does, for metrics. Hop is the name of a next
// hop or "mx".
type Observer interface {
	// Connected is told of every try to open a connection: result is "ok" or
	// the kind of trouble, of which there are few; tls is the version or "".
	Connected(hop, result, tls string, took time.Duration)
	// Reused is told of every kept connection that carries another message.
	Reused(hop string)
	// LostAfterDot is told of a connection lost between the final dot and its
	// reply: the message may arrive twice.
	LostAfterDot(hop string)
}

// Job is a message with the recipients that share one destination.
type Job struct {
	Dest       string // "hop:NAME" or "mx:DOMAIN"
	Message    *mail.Message
	Recipients []mail.Recipient
	// Probe says that the destination failed before: no kept connection is
	// used, for it tells nothing about the destination of today.
	Probe bool
	// Lease, if not nil, is asked before MAIL and before the final dot whether
	// the message is still ours to deliver.
	Lease func(ctx context.Context) error
}

// Result is what became of one recipient.
type Result struct {
	mail.Status
	// LackedDSN says that the next hop accepted the recipient and does not
	// offer DSN: what NOTIFY asks for is ours to do (RFC 3461 section 5.2.2).
	LackedDSN bool
}

// FieldError says which option is wrong, by its path in the configuration
// file: "next_hops[1].urls[0]".
type FieldError struct {
	Path string
	Msg  string
}

// Error names the option and what was expected.
func (e *FieldError) Error() string { return e.Path + ": " + e.Msg }

type silent struct{}

func (silent) Connected(string, string, string, time.Duration) {}
func (silent) Reused(string)                                   {}
func (silent) LostAfterDot(string)                             {}
