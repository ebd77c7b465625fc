package trace

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"gatepost/mail"
	"gatepost/store"
)

// Kind is what happened to a message or a recipient.
type Kind string

// The kinds of events. Delivered, Bounced, Failed, Consumed, Discarded and
// Deleted end a recipient; the others stand on its way.
const (
	KindAccepted  Kind = "accepted"  // the message is ours
	KindRefused   Kind = "refused"   // never became ours
	KindDelivered Kind = "delivered" // the next hop took over
	KindDeferred  Kind = "deferred"  // will be tried again
	KindBounced   Kind = "bounced"   // failed, and the sender is told
	KindFailed    Kind = "failed"    // failed, and nobody may be told
	KindHeld      Kind = "held"      // waits for an administrator
	KindReleased  Kind = "released"  // no longer held
	KindDeleted   Kind = "deleted"   // by an administrator, or kept long enough
	KindExpired   Kind = "expired"   // given up; bounced or failed follows
	KindDelayed   Kind = "delayed"   // still waiting, and the sender is told
	KindRelayed   Kind = "relayed"   // the sender is told of success, on request
	KindDSN       Kind = "dsn"       // Related is a notice about this message
	KindConsumed  Kind = "consumed"  // a report that we read ourselves
	KindDiscarded Kind = "discarded" // by the rule named in Reason
)

// Ends tells whether a recipient is done after an event of this kind.
func (k Kind) Ends() bool {
	switch k {
	case KindDelivered, KindBounced, KindFailed, KindConsumed, KindDiscarded, KindDeleted:
		return true
	}
	return false
}

// Event is one thing that happened.
type Event struct {
	At   time.Time `json:"at"`
	Kind Kind      `json:"kind"`
	// Recipient is null when the event concerns the whole message.
	Recipient mail.Address `json:"recipient,omitzero"`
	N         int          `json:"n,omitempty"` // of the recipient within the message
	Dest      string       `json:"dest,omitempty"`
	Attempt   int          `json:"attempt,omitempty"` // 1 is the first
	Status    *mail.Status `json:"status,omitempty"`
	Next      time.Time    `json:"next,omitzero"`    // of deferred: when to try again
	Reason    string       `json:"reason,omitempty"` // rule, or why
	By        string       `json:"by,omitempty"`     // name of the administrator
	Related   mail.ID      `json:"related,omitzero"` // the notice
}

// Accepted is what was known when the message became ours.
type Accepted struct {
	At         time.Time       `json:"at"`
	Origin     mail.Origin     `json:"origin"`
	From       mail.Address    `json:"from"`
	Recipients []mail.Address  `json:"recipients"`
	Size       int64           `json:"size"`
	EnvID      string          `json:"envid,omitempty"`
	Facts      json.RawMessage `json:"facts,omitempty"` // proofs and verdict
}

// AcceptedOf is the acceptance of m.
func AcceptedOf(m *mail.Message) *Accepted {
	a := &Accepted{
		At:     m.Received,
		Origin: m.Origin,
		From:   m.Envelope.From,
		EnvID:  mail.SafeText(m.Envelope.EnvID, textLimit),
		Facts:  m.Facts,
	}
	if m.Content != nil {
		a.Size = m.Size()
	}
	for _, r := range m.Envelope.Recipients {
		a.Recipients = append(a.Recipients, r.Address)
	}
	return a
}

// Record is one row: what one batch of the queue has to tell.
type Record struct {
	ID   mail.ID      `json:"-"`
	At   time.Time    `json:"-"`
	From mail.Address `json:"-"`
	// Accepted stands in the record of the message's end, once.
	Accepted *Accepted `json:"accepted,omitempty"`
	Events   []Event   `json:"events,omitempty"`
	// Refusal stands alone.
	Refusal *Refusal `json:"refusal,omitempty"`
}

// Schema holds the table. The column who is for searching: every address of
// the record in lower case, each with a space on both sides.
var Schema = store.Schema{Name: "trace", Steps: []string{`
CREATE TABLE trace (
	n {{serial}},
	message {{int}},
	at {{int}},
	who {{text}},
	record {{bytes}}
) {{strict}};
CREATE INDEX trace_message ON trace (message)`}}

const insertRecord = "INSERT INTO trace (message, at, who, record) VALUES (?, ?, ?, ?)"

// Statement writes the record. It belongs into the batch that does what the
// record tells.
func (r Record) Statement() store.Statement {
	return store.Statement{
		SQL:  insertRecord,
		Args: []any{int64(r.ID), r.At.UnixMilli(), r.who(), r.encode()},
	}
}

// who is what the record can be found by.
func (r Record) who() string {
	var seen []string
	add := func(address string) {
		if address = fold(address); address != "" && !slices.Contains(seen, address) && len(seen) < whoLimit {
			seen = append(seen, address)
		}
	}
	add(r.From.String())
	if r.Accepted != nil {
		add(r.Accepted.From.String())
		for _, to := range r.Accepted.Recipients {
			add(to.String())
		}
	}
	for i := range r.Events {
		add(r.Events[i].Recipient.String())
	}
	if r.Refusal != nil {
		add(r.Refusal.From)
		for _, to := range r.Refusal.To {
			add(to)
		}
	}
	if len(seen) == 0 {
		return ""
	}
	return " " + strings.Join(seen, " ") + " "
}

// fold makes an address, perhaps a stranger's nonsense, comparable: lower
// case, no space inside.
func fold(address string) string {
	return strings.ReplaceAll(strings.ToLower(mail.SafeText(address, addressLimit)), " ", "_")
}
