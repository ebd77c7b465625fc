package queue

import (
	"sync/atomic"
	"time"

	"gatepost/mail"
)

// parcel is what one attempt carries: recipients of one message that go to one
// destination. We own their rows as long as it is in memory.
type parcel struct {
	id      mail.ID
	dest    string
	sender  int64 // whose turn in the destination's ring
	owner   int64 // incarnation that owns the rows
	rows    []row
	whole   bool          // rows are all recipients that the message has
	message *mail.Message // nil: to be loaded before the attempt
	kept    *memory       // what message takes up, nil where that is not counted
	routes  uint64        // epoch of the routes that dest comes from; 0: unknown
	probe   bool          // set when started
	turn    int           // of the destination when started
}

// memory is what the content of a message takes up, for all parcels that hold it.
type memory struct {
	octets int64
	users  atomic.Int32
}

// row is one recipient as the store knows it.
type row struct {
	Pending
	due time.Time // when a notice of delay is due, else Expires
}

// pending is the parcel's recipients for a Job.
func (p *parcel) pending() []Pending {
	out := make([]Pending, len(p.rows))
	for i, r := range p.rows {
		out[i] = r.Pending
	}
	return out
}
