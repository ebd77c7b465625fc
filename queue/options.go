package queue

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"gatepost/mail"
	"gatepost/queue/dsn"
)

// Defaults of Options.
const (
	DefaultExpire             = 5 * 24 * time.Hour
	DefaultWarnAfter          = 4 * time.Hour
	DefaultKeep               = 30 * 24 * time.Hour
	DefaultSiteRetry          = 30 * time.Minute
	DefaultConcurrency        = 500
	DefaultWindow             = 10
	DefaultRecipients         = 100
	DefaultRows               = 20_000
	DefaultRowsPerDestination = 500
	DefaultContentMemory      = 32 << 20
	DefaultLease              = 30 * time.Second
	DefaultPoll               = time.Second
)

// DefaultRetry is delivery.retry of the documentation.
func DefaultRetry() []time.Duration {
	return []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour}
}

// Options is everything that the queue is told. Zero values mean the defaults.
type Options struct {
	Store     Store
	Router    Router
	Deliverer Deliverer
	Observer  Observer // nil: nobody looks
	IDs       *mail.IDSource
	Notices   dsn.Options // delivery status notices
	Logger    *slog.Logger
	Now       func() time.Time
	Steady    func() time.Time // measures the lease, whatever is done to the clock; default: time.Now
	Random    *rand.Rand       // for jitter; default: seeded by the runtime

	Retry     []time.Duration // delivery.retry: waits between attempts, the last one repeats
	Expire    time.Duration   // delivery.expire
	WarnAfter time.Duration   // delivery.warn_after: delay notice; negative: none
	Keep      time.Duration   // policy.quarantine.keep
	SiteRetry time.Duration   // the longest wait before a failing destination is probed again

	Concurrency int // delivery.connections: attempts at once
	Window      int // delivery.connections_per_destination, where Route gives none
	Recipients  int // delivery.recipients_per_message, where Route gives none

	// Rows bounds the recipients in memory, RowsPerDestination those of one
	// destination, ContentMemory the octets of content kept with them.
	Rows               int
	RowsPerDestination int
	ContentMemory      int64

	// Lease is how long this node may deliver after it last reached the store.
	Lease time.Duration
	// Poll is how often destinations are looked for whose time has come.
	Poll time.Duration
	// Alone says that no other node uses the store, as on SQLite: rows of
	// other incarnations are free at once.
	Alone bool
}

// FieldError says which option is wrong, by its path in the configuration file.
type FieldError struct{ Path, Msg string }

// Error is the path and what was expected there.
func (e *FieldError) Error() string { return e.Path + ": " + e.Msg }

// Check tells what is wrong with the numbers and durations; it needs no Store
// and no other part.
func (o Options) Check() error {
	o.defaults()
	return o.checkNumbers()
}

// complete fills in the defaults and checks what was given.
func (o Options) complete() (Options, error) {
	if o.Store == nil || o.Router == nil || o.Deliverer == nil || o.IDs == nil {
		return o, fmt.Errorf("queue: Store, Router, Deliverer and IDs are required")
	}
	o.defaults()
	return o, o.checkNumbers()
}

func (o Options) checkNumbers() error {
	for i, wait := range o.Retry {
		if wait < time.Second {
			return &FieldError{fmt.Sprintf("delivery.retry[%d]", i), "want at least 1s"}
		}
	}
	for _, f := range []struct {
		path string
		bad  bool
		msg  string
	}{
		{"delivery.expire", o.Expire < o.Retry[0], "longer than the first of delivery.retry"},
		{"delivery.connections", o.Concurrency < 1, "at least 1"},
		{"delivery.connections_per_destination", o.Window < 1, "at least 1"},
		{"delivery.recipients_per_message", o.Recipients < 1, "at least 1"},
		{"policy.quarantine.keep", o.Keep < time.Minute, "at least 1m"},
		{"queue.rows_per_destination", o.RowsPerDestination < 8, "at least 8"},
		{"queue.rows", o.Rows < o.RowsPerDestination, "at least queue.rows_per_destination"},
		{"queue.lease", o.Lease < 3*time.Second, "at least 3s"},
	} {
		if f.bad {
			return &FieldError{f.path, "want " + f.msg}
		}
	}
	return nil
}

func (o *Options) defaults() {
	if o.Observer == nil {
		o.Observer = silent{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Steady == nil {
		o.Steady = time.Now // differences of its times are of the monotonic clock
	}
	if o.Random == nil {
		o.Random = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if len(o.Retry) == 0 {
		o.Retry = DefaultRetry()
	}
	orDefault(&o.Expire, DefaultExpire)
	orDefault(&o.WarnAfter, DefaultWarnAfter)
	orDefault(&o.Keep, DefaultKeep)
	orDefault(&o.SiteRetry, DefaultSiteRetry)
	orDefault(&o.Concurrency, DefaultConcurrency)
	orDefault(&o.Window, DefaultWindow)
	orDefault(&o.Recipients, DefaultRecipients)
	orDefault(&o.Rows, DefaultRows)
	orDefault(&o.RowsPerDestination, DefaultRowsPerDestination)
	orDefault(&o.ContentMemory, DefaultContentMemory)
	orDefault(&o.Lease, DefaultLease)
	orDefault(&o.Poll, DefaultPoll)
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
