package mail

import (
	"context"
	"io"
	"net/netip"
	"time"
)

// Body is an immutable string of octets that can be read any number of times.
type Body interface {
	// Size is the number of octets.
	Size() int64
	// Open starts reading at the first octet. The caller closes the reader.
	Open(ctx context.Context) (io.ReadCloser, error)
}

// Span is a run of octets: from Offset, Length long.
type Span struct {
	Offset int64 `json:"o"`
	Length int64 `json:"l"`
}

// Message is what the queue keeps. Content is immutable; what the gateway adds
// is Prefix, what it takes away is Cuts. Both are applied in delivery.
type Message struct {
	ID       ID
	Received time.Time
	Envelope Envelope
	Origin   Origin
	// Prefix holds whole header fields with CRLF that stand before Content.
	Prefix []byte
	// Cuts are octet ranges of Content's header, in order and apart, that are
	// left out on the way on: forged Authentication-Results and fields of
	// strip_inbound.
	Cuts []Span
	// Content is the message as it was received: header, empty line, body.
	Content Body
	// Shape tells what Content is made of.
	Shape Shape
	// Facts is the encoded record of session, proofs and verdict for the trace.
	// The queue does not look inside.
	Facts []byte
}

// Shape is what one pass over the content found, so that delivery need not
// look again before it has chosen a next hop.
type Shape struct {
	HeaderSize     int64 `json:"header"`                     // octets of the header with the empty line
	EightBitHeader bool  `json:"eight_bit_header,omitempty"` // octets above 127 in the header: needs SMTPUTF8
	EightBitBody   bool  `json:"eight_bit_body,omitempty"`   // octets above 127 in the body: needs 8BITMIME
	LongLine       bool  `json:"long_line,omitempty"`        // a line over 998 octets
}

// Size is the number of octets that leave for the next hop before any
// conversion: the prefix and the content without the cuts.
func (m *Message) Size() int64 {
	n := int64(len(m.Prefix)) + m.Content.Size()
	for _, c := range m.Cuts {
		n -= c.Length
	}
	return n
}

// Envelope is what SMTP said about a message (RFC 5321, 3461, 6152, 6531).
type Envelope struct {
	From       Address // null: the reverse-path "<>"
	Recipients []Recipient
	Return     string // RET of RFC 3461: "", "FULL" or "HDRS"
	EnvID      string // ENVID of RFC 3461, xtext decoded
	Body       string // BODY of RFC 6152: "", "7BIT" or "8BITMIME"
	UTF8       bool   // SMTPUTF8 of RFC 6531
}

// Notify is the set of NOTIFY conditions (RFC 3461 section 4.1). Zero means
// that the client said nothing: failure, and delay as we see fit.
type Notify uint8

// The conditions of NOTIFY. NotifyNever excludes the others.
const (
	NotifySuccess Notify = 1 << iota
	NotifyFailure
	NotifyDelay
	NotifyNever
)

// Recipient is one forward-path with its DSN parameters (RFC 3461).
type Recipient struct {
	Address      Address
	Notify       Notify
	OriginalType string // ORCPT address type such as "rfc822"; empty without ORCPT
	Original     string // ORCPT address, xtext decoded
}

// Role is the part that a session plays.
type Role string

// The roles. RoleMX mail is judged and never signed; RoleRelay mail comes from
// a configured relay client or an authenticated user; RoleInternal is our own:
// DSNs, notices, reports.
const (
	RoleMX       Role = "mx"
	RoleRelay    Role = "relay"
	RoleInternal Role = "internal"
)

// Origin tells who handed a message to us, and what we vouch for. It is kept
// with the message, for delivery may be later and on another node.
type Origin struct {
	Listener string     `json:"listener,omitempty"`
	Role     Role       `json:"role"`
	Addr     netip.Addr `json:"addr,omitzero"`    // of the client, unmapped
	Helo     string     `json:"helo,omitempty"`   // as the client said it, made safe
	Client   string     `json:"client,omitempty"` // name of the relay client
	User     string     `json:"user,omitempty"`   // name of the authenticated user
	TLS      string     `json:"tls,omitempty"`    // version and cipher; empty without TLS
	// From is the domain of the header From that the client may use; zero when
	// the message is not vouched for. Only vouched mail is signed.
	From Domain `json:"from,omitzero"`
	// Confirmed tells that SPF or an aligned DKIM signature confirmed the
	// reverse-path, or that a relay session gave it: it may get a DSN.
	Confirmed bool `json:"confirmed,omitempty"`
}
