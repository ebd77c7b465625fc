package outgoing

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
	"gatepost/mail"
	"gatepost/report/aggregate"
	"gatepost/report/suppress"
	"gatepost/report/tally"
	"gatepost/store"
)

// Schema is the table of reports that were sent, or were not and never will
// be. Destinations and refused are JSON.
var Schema = store.Schema{Name: "report_out", Steps: []string{`
CREATE TABLE report_out (
	day {{int}},
	domain {{text}},
	state {{text}},
	at {{int}},
	report_id {{text}},
	message {{int}},
	records {{int}},
	messages {{int}},
	octets {{int}},
	reason {{text}},
	destinations {{bytes}},
	refused {{bytes}},
	PRIMARY KEY (day, domain)
) {{rowless}};
CREATE INDEX report_out_at ON report_out (at)`}}

// Checker asks DNS; *dmarc.Checker is one.
type Checker interface {
	Check(ctx context.Context, from mail.Domain, s spf.Result, d []dkim.Result) dmarc.Result
	Destinations(ctx context.Context, policyDomain mail.Domain, uris []dmarc.ReportURI) (ok []dmarc.Destination, refused []dmarc.RefusedDestination, err error)
}

// Acceptor makes a message durable, together with the statements, or does
// nothing at all: then the error is store.ErrConflict where a statement that
// must change a row did not.
type Acceptor interface {
	Accept(ctx context.Context, m *mail.Message, with []store.Statement) error
}

// Store is what the sender needs of *store.Store.
type Store interface {
	Submit(ctx context.Context, statements ...store.Statement) ([]int64, error)
	Select(ctx context.Context, each func(scan func(dest ...any) error) error, sql string, args ...any) error
	Get(ctx context.Context, sql string, args []any, dest ...any) error
}

// IDs makes the ids of messages.
type IDs interface{ Next() mail.ID }

// Settings are what the configuration says of reports.
type Settings struct {
	Enabled   bool
	From      mail.Address
	Org       string
	Submitter mail.Domain // our host name
	Software  string
	Format    aggregate.Format
	Discovery string // of policies: treewalk or psl
	DNS       Checker

	MaxReports     int   // of a day
	PerDestination int   // copies for one address and day
	MaxRecords     int   // of a report
	MaxSize        int64 // octets of a message
	Window         time.Duration
}

// Options is everything else that the sender is told.
type Options struct {
	Store    Store // opened with Schema
	Tally    *tally.Tally
	Suppress *suppress.List
	Acceptor Acceptor
	IDs      IDs
	Now      func() time.Time
	Logger   *slog.Logger
	Count    func(result, reason string) // for metrics; may be nil
}

// The times of the schedule.
const (
	// Settle is the pause after midnight in which all nodes write what they
	// counted.
	Settle = 10 * time.Minute
	// LateDays is how many days after its end a report is still sent.
	LateDays = 3
	// factDays is how long what was counted is kept.
	factDays = LateDays + 3
	// listDays is how long it is known what was sent.
	listDays = 60
	// planEvery is how often it is looked what there is to be sent.
	planEvery = 10 * time.Minute
	// again is the wait after trouble with one report, doubled each time.
	again        = 20 * time.Minute
	maxDoublings = 4
	// dnsWait bounds the questions about one report: its domain's owner chose
	// the servers, and all others wait for him.
	dnsWait = 30 * time.Second
	// patience is how long after the end of the day a report waits for the
	// answer about one of its addresses while others are known.
	patience = 24 * time.Hour
	// perOrganization bounds the reports of a day about names of one
	// registered domain.
	perOrganization = 50
	// perRound bounds the reports of one round, so that they do not come all
	// at once when days were missed.
	perRound = 20
)

// Sender sends reports. It is safe for concurrent use.
type Sender struct {
	o       Options
	mu      sync.Mutex // one round at a time
	planned time.Time
	plan    []candidate
	limited atomic.Int64 // the day of which the log told that its limit was reached
	crowded atomic.Int64 // likewise, that an organization has too many names
}

// New makes a sender.
func New(o Options) (*Sender, error) {
	if o.Store == nil || o.Tally == nil || o.Suppress == nil || o.Acceptor == nil || o.IDs == nil {
		return nil, errors.New("outgoing: Store, Tally, Suppress, Acceptor and IDs are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Count == nil {
		o.Count = func(string, string) {}
	}
	return &Sender{o: o}, nil
}

// Code is why a report is not sent, in one word.
type Code string

// The codes.
const (
	NothingCounted Code = "nothing_counted"
	NotAccepted    Code = "not_accepted"   // all of the domain's mail was refused
	NoAddress      Code = "no_address"     // the record asks for no reports any more
	NoDestination  Code = "no_destination" // no address of the record may have one
	Limit          Code = "limit"          // max_reports
	TooLate        Code = "too_late"
	Unwritable     Code = "unwritable" // a fault of ours
)

// Refused is an address of the record that gets no report.
type Refused struct {
	URI    string `json:"uri"`
	Reason string `json:"reason"`
}

// Draft is a report as it would be sent now.
type Draft struct {
	Sum     tally.Sum
	Report  *aggregate.Report // nil where nothing was counted
	To      []mail.Address
	Refused []Refused
	Code    Code   // why it is not sent; empty where it can be
	Why     string // the same in words
	content []byte // of the message
}

// refuse makes a draft one that is not sent.
func (d Draft) refuse(c Code, why string) Draft {
	d.Code, d.Why = c, why
	return d
}
