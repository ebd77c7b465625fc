package forensic

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"gatepost/auth/dmarc"
	"gatepost/dnsx"
	"gatepost/mail"
	"gatepost/policy"
	"gatepost/report/failure"
	"gatepost/store"
)

// DNS is what is asked; *dmarc.Checker and *dnsx.Resolver do it.
type DNS interface {
	FailureDestinations(ctx context.Context, policyDomain mail.Domain, uris []dmarc.ReportURI) (ok []dmarc.Destination, refused []dmarc.RefusedDestination, err error)
	TXT(ctx context.Context, name string) (dnsx.Answer[string], error)
}

// Addresses knows how those fared that got reports before.
type Addresses interface {
	// Paused tells whether nothing shall be sent to a for now.
	Paused(ctx context.Context, a mail.Address) (bool, error)
	// Count is how many failure reports a got since then.
	Count(ctx context.Context, a mail.Address, since time.Time) (int64, error)
	// Copies are committed with a report.
	Copies(m *mail.Message) []store.Statement
}

// Acceptor makes a message durable, together with the statements.
type Acceptor interface {
	Accept(ctx context.Context, m *mail.Message, with []store.Statement) error
}

// IDs makes the ids of messages.
type IDs interface{ Next() mail.ID }

// Settings are what the configuration says.
type Settings struct {
	Enabled   bool
	From      mail.Address
	Org       string
	Submitter mail.Domain // our host name
	Software  string
	PerDomain int // reports about one policy domain and day, and to one address
	PerHour   int // reports in all
	DNS       DNS
	Ours      func(mail.Domain) bool // tells whether a domain is one of ours
}

// Options is everything else that the sender is told.
type Options struct {
	Settings  func() Settings // of now
	Addresses Addresses
	Acceptor  Acceptor
	IDs       IDs
	Redactor  failure.Redactor
	Now       func() time.Time
	Logger    *slog.Logger
	Count     func(result string) // for metrics; may be nil
}

// Results that are counted.
const (
	Sent          = "sent"
	Repeated      = "repeated"       // like one of the last hour
	Limited       = "limited"        // PerDomain or PerHour
	Dropped       = "dropped"        // too many wait
	NoDestination = "no_destination" // nobody wants it, or DNS does not say
	Paused        = "paused"
	Failed        = "failed" // trouble of ours
)

// waiting bounds the messages that wait to be reported, of at most 17 KiB each.
const waiting = 100

// Message is a judged message of a stranger.
type Message struct {
	ID       mail.ID
	At       time.Time
	Client   netip.Addr
	Port     uint16
	Helo     string
	Envelope *mail.Envelope
	Facts    *policy.Facts
	Verdict  *policy.Verdict
	Header   mail.Header
}

// job is a report that is to be sent.
type job struct {
	incident     failure.Incident
	policyDomain mail.Domain
	uris         []dmarc.ReportURI
	spf          mail.Domain // whose record is to be told
}

// Sender sends failure reports. It is safe for concurrent use.
type Sender struct {
	o      Options
	limits *limits
	jobs   chan job
}

// New makes a sender.
func New(o Options) (*Sender, error) {
	if o.Settings == nil || o.Addresses == nil || o.Acceptor == nil || o.IDs == nil || len(o.Redactor.Key) == 0 {
		return nil, errors.New("forensic: Settings, Addresses, Acceptor, IDs and Redactor are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Count == nil {
		o.Count = func(string) {}
	}
	return &Sender{o: o, limits: newLimits(), jobs: make(chan job, waiting)}, nil
}

// Offer looks whether a message is to be reported, and keeps what is needed
// for that. It never waits.
func (x *Sender) Offer(m Message) {
	s := x.o.Settings()
	if !s.Enabled || !eligible(&m, s.Ours) {
		return
	}
	kind := failed(m.Facts)
	if kind == "" {
		return
	}
	domain := m.Facts.DMARC.PolicyDomain
	incidents, result := x.limits.admit(domain, likeness(&m, kind), x.o.Now(), s)
	if result != "" {
		x.o.Count(result)
		return
	}
	j := job{incident: incident(&m, kind, s), policyDomain: domain, uris: m.Facts.DMARC.Record.Failure}
	j.incident.Incidents = incidents
	if !m.Facts.DMARC.SPFAligned {
		j.spf = m.Facts.SPF.Domain
	}
	select {
	case x.jobs <- j:
	default:
		x.o.Count(Dropped)
	}
}

// Run sends what was offered until ctx ends.
func (x *Sender) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case j := <-x.jobs:
			if result := x.send(ctx, j); ctx.Err() == nil {
				x.o.Count(result)
			}
		}
	}
}
