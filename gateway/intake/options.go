package intake

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"gatepost/mail"
	"gatepost/policy"
)

// Roles of a listener.
const (
	RoleMX        = "mx"
	RoleSmarthost = "smarthost"
)

// Modes of TLS on a listener.
const (
	TLSOff      = "off"
	TLSOptional = "optional"
	TLSRequired = "required"
	TLSImplicit = "implicit"
)

// What a listener asks of a client's certificate.
const (
	CertNone    = "none"
	CertRequest = "request"
	CertRequire = "require"
)

// Answers to a bare CR or LF in a message.
const (
	NewlineReject    = "reject"
	NewlineNormalize = "normalize"
)

// Options is everything that intake is told. Empty strings and zero limits
// mean the default.
type Options struct {
	Hostname     string       // hostname
	AuthservID   string       // authserv_id; default Hostname
	Postmaster   mail.Address // postmaster
	SpoolDir     string       // data_dir
	Listeners    []Listener
	StripInbound []string // policy.strip_inbound
	// SpoolMemory bounds what all messages being received hold in memory;
	// beyond it they go to files at once. Default 64 MiB.
	SpoolMemory int64
	ClientCA    *x509.CertPool // tls.client_ca

	Services
}

// Services are the neighbours that intake works with.
type Services struct {
	Acceptor Acceptor
	// Ready tells at MAIL, before a message comes, that it could not be kept;
	// nil: it always could.
	Ready         func(ctx context.Context) error
	Policy        Policy
	Observer      Observer      // default: none
	Authenticator Authenticator // nil: no AUTH
	Certificates  *Certificates // nil: no TLS
	IDs           *mail.IDSource
	Logger        *slog.Logger     // default: slog.Default
	Now           func() time.Time // default: time.Now
}

// Acceptor makes a message durable.
type Acceptor interface {
	// Accept returns nil only when m survives a crash. The content of m can be
	// read until Accept returns. With a hold reason m is kept back. An error
	// that is store.ErrFull makes the client come again as any other does, but
	// says why.
	Accept(ctx context.Context, m *mail.Message, hold string) error
}

// Policy is *policy.Engine.
type Policy interface {
	// ClientFor finds the relay client with this address among names.
	ClientFor(names []string, addr netip.Addr) (string, bool)
	// Reverse makes the reverse DNS check of a client (RFC 8601 section 2.7.3).
	Reverse(ctx context.Context, addr netip.Addr) policy.IPRev
	Mail(ctx context.Context, s policy.Session, from mail.Address) policy.Verdict
	Recipient(ctx context.Context, s policy.Session, from, to mail.Address) policy.Verdict
	// Content also gives the domain of the header From that a relay session may use.
	Content(ctx context.Context, s policy.Session, env mail.Envelope, h mail.Header, content mail.Body) (policy.Facts, policy.Verdict, mail.Domain)
	// TagField is the field that tells the recipient's side about a verdict, or nil.
	TagField(v policy.Verdict) []byte
}

// Authenticator is *sasl.Verifier.
type Authenticator interface {
	// Verify gives nil, sasl.ErrCredentials, or another error where it could not find out.
	Verify(ctx context.Context, user, password string) error
}

// Listener is one entry of listeners.
type Listener struct {
	Name         string
	Address      string
	Role         string // mx | smarthost
	RelayClients []string
	TLS          TLS
	BareNewline  BareNewline
	NoChunking   bool     // chunking: false; BDAT is then answered 502
	Mechanisms   []string // auth.mechanisms
	ProxyTrusted []string // proxy_protocol.trusted
	Limits       Limits
}

// TLS is the tls section of a listener.
type TLS struct {
	Mode       string // off | optional (default) | required | implicit
	MinVersion string // "1.0" to "1.3"; default "1.2"
	ClientCert string // none (default) | request | require
}

// BareNewline says what becomes of a bare CR or LF.
type BareNewline struct {
	Data string // reject (default) | normalize
	BDAT string // normalize (default) | reject
}

// Limits bound what one client may do. Zero means the default.
type Limits struct {
	MessageSize          int64
	HeaderSize           int64
	RecipientsPerMessage int
	Connections          int
	ConnectionsPerClient int
	IPv6Prefix           int
	ErrorsPerSession     int
	JunkCommands         int
	AuthFailures         int
	CommandTimeout       time.Duration
	DataTimeout          time.Duration
	SessionTimeout       time.Duration
	ReceivedHops         int
}

// DefaultLimits are those of the documentation.
func DefaultLimits() Limits {
	return Limits{
		MessageSize:          50 << 20,
		HeaderSize:           256 << 10,
		RecipientsPerMessage: 100,
		Connections:          1000,
		ConnectionsPerClient: 50,
		IPv6Prefix:           64,
		ErrorsPerSession:     10,
		JunkCommands:         100,
		AuthFailures:         5,
		CommandTimeout:       5 * time.Minute,
		DataTimeout:          10 * time.Minute,
		SessionTimeout:       30 * time.Minute,
		ReceivedHops:         50,
	}
}

// FieldError says which option is wrong, by its path in the configuration
// file: "listeners[0].tls.mode".
type FieldError struct{ Path, Msg string }

// Error is the path and what was expected there.
func (e *FieldError) Error() string { return e.Path + ": " + e.Msg }

func fieldError(path, format string, args ...any) error {
	return &FieldError{path, fmt.Sprintf(format, args...)}
}
