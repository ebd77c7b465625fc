package policy

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"gatepost/auth/arc"
	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
	"gatepost/mail"
	"gatepost/policy/route"
)

// Values of Options.Mode and of other_from.
const (
	ModeEnforce  = "enforce"
	ModeMonitor  = "monitor"
	FromRefuse   = "refuse"
	FromUnsigned = "unsigned"
)

// FieldError says which option is wrong, by its path in the configuration
// file: "relay_clients[0].send_as[1]".
type FieldError = route.FieldError

// Options is what the configuration file says about policy. Empty strings
// mean the default.
type Options struct {
	Mode         string         // policy.mode: enforce (default) or monitor
	Postmaster   mail.Address   // always accepted as a recipient
	Inboxes      []mail.Address // report.inbox: exist in their domains whatever the lists say
	Domains      []Domain       // domains
	RelayClients []RelayClient
	Users        []User
	// BadFrom is what happens to mail of strangers that has not exactly one
	// author: reject (default) or quarantine.
	BadFrom string
	SPF     SPF
	DMARC   DMARC
	// TrustedSealers is policy.arc.trusted_sealers: domains in d= of ARC-Seal
	// whose findings are believed.
	TrustedSealers []string
	// Sealing is whether policy.arc.seal is on: then Authentication-Results
	// says that there is no chain too.
	Sealing   bool
	Exempt    []string // policy.exempt: addresses and prefixes
	Overrides []Override
	Upstreams []UpstreamRule
	TagHeader string // policy.tag.header
	// Made is what the Proofs go by; Made.Upstreams is made of Upstreams.
	Made Made
	// SampleKey is shared by all nodes and secret: pct draws by it.
	SampleKey []byte
	Proofs    Proofs
	Logger    *slog.Logger     // default: slog.Default
	Now       func() time.Time // default: time.Now
}

// Domain is one of the domains we answer for.
type Domain struct {
	Name      mail.Domain
	AcceptAll bool   // recipients: {accept: all}
	File      string // recipients: {file: …}
	// Spoofed is what happens to mail of strangers with a From of this domain,
	// or below it, that nothing proves: none (default), tag, quarantine, reject.
	Spoofed string
}

// RelayClient may relay by its address.
type RelayClient struct {
	Name      string
	Addresses []string
	SendAs    []string
	OtherFrom string // refuse (default) or unsigned
}

// User may relay after AUTH.
type User struct {
	Name      string
	SendAs    []string
	OtherFrom string
}

// SPF is what a result of SPF alone does: none (default), tag, quarantine, reject.
type SPF struct{ Fail, SoftFail string }

// DMARC is policy.dmarc.
type DMARC struct {
	Enabled  bool
	HonorPct bool
	// EnforcePercent is the share of failing mail, 0 to 100, to which the full
	// policy applies, on top of the domain owner's pct.
	EnforcePercent int
	Reject         string // reject (default), quarantine or tag
	Quarantine     string // quarantine (default), tag or reject
	TempError      string // defer (default) or accept
}

// Proofs are the checkers that Content asks. A nil one is not asked.
type Proofs struct {
	SPF     SPFChecker
	DKIM    DKIMVerifier
	ARC     ARCVerifier
	DMARC   DMARCChecker
	Reverse ReverseChecker
}

// SPFChecker is *spf.Checker.
type SPFChecker interface {
	Check(ctx context.Context, ip netip.Addr, helo string, from mail.Address) spf.Result
}

// DKIMVerifier is *dkim.Verifier.
type DKIMVerifier interface {
	Verify(ctx context.Context, content mail.Body) ([]dkim.Result, error)
}

// ARCVerifier is *arc.Verifier.
type ARCVerifier interface {
	Verify(ctx context.Context, content mail.Body) (arc.Result, error)
}

// DMARCChecker is *dmarc.Checker.
type DMARCChecker interface {
	Check(ctx context.Context, from mail.Domain, s spf.Result, d []dkim.Result) dmarc.Result
}

// ReverseChecker is *dnsx.Resolver.
type ReverseChecker interface {
	ForwardConfirmed(ctx context.Context, ip netip.Addr) (names []string, confirmed string, err error)
}
