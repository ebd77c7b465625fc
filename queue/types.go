package queue

import (
	"context"
	"time"

	"gatepost/mail"
	"gatepost/store"
	"gatepost/trace"
)

// Store is the part of *store.Store that the queue uses. Its tests put a
// failing one in its place.
type Store interface {
	Submit(ctx context.Context, statements ...store.Statement) ([]int64, error)
	Select(ctx context.Context, each func(scan func(dest ...any) error) error, sql string, args ...any) error
	Get(ctx context.Context, sql string, args []any, dest ...any) error
}

// Router tells where a recipient's mail goes. It may answer differently after
// the configuration changed; then Queue.Reroute is called. It must not do
// input or output.
type Router interface {
	Route(ctx context.Context, m *mail.Message, to mail.Address) (Route, error)
}

// Route is the way of one recipient. Zero numbers mean the defaults of Options.
type Route struct {
	Dest       string // opaque to the queue; never empty
	Window     int    // attempts at once at this destination
	Recipients int    // of one message in one attempt
}

// Deliverer carries one job to its destination. It returns one result per
// recipient, in order. A result that is missing counts as temporary trouble
// of our own. When ctx ends it stops at the next safe point.
type Deliverer interface {
	Deliver(ctx context.Context, job Job) []Result
}

// Job is a message with the recipients that share one destination.
type Job struct {
	Dest       string
	Message    *mail.Message
	Recipients []Pending
	// Probe says that the destination failed before and that this attempt
	// finds out whether it is back.
	Probe bool
	// Lease tells, by an error, that the recipients are no longer ours. It is
	// to be asked before MAIL and before the final dot.
	Lease func(ctx context.Context) error
}

// Pending is a recipient that waits for its delivery.
type Pending struct {
	N int // number within the message
	mail.Recipient
	Attempts int // made before this one
	Expires  time.Time
}

// Result is what became of one recipient in one attempt.
type Result struct {
	mail.Status
	// LackedDSN says that the next hop accepted the recipient and does not
	// offer DSN: what NOTIFY asks for is ours to do (RFC 3461 section 5.2.2).
	LackedDSN bool
	// Consumed says that the recipient is the gateway itself: the message was
	// read, and nobody else gets it.
	Consumed bool
}

// Event is told to the Observer when it is on disk.
type Event struct {
	Kind      trace.Kind
	At        time.Time
	Message   *mail.Message // Content may no longer be there to read
	Recipient mail.Address  // null where the event concerns the whole message
	Dest      string
	Status    mail.Status
	Attempts  int       // made so far
	Next      time.Time // of Deferred: when to try again
	Notice    mail.ID   // the notice to the sender, if there is one
	Reason    string    // of Held, Failed and Deleted
	By        string    // who did it: an administrator's name
}

// Observer writes the mail log and counts. It is called from many goroutines
// and must be quick.
type Observer interface {
	Observe(Event)
}

type silent struct{}

func (silent) Observe(Event) {}
