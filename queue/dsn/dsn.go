// Package dsn writes delivery status notices: what the sender of a message is
// told when it could not be delivered, is still waiting, or was handed to a
// system that tells no more (RFC 3461, RFC 3464). A notice is a multipart of
// type report (RFC 6522): a text for people, one for programs, and the message
// or its header.
//
// Whether a sender is told is decided in one place, Denied. A null
// reverse-path never gets a notice (RFC 5321 section 4.5.5), nor does a sender
// whom nothing confirmed, for such addresses are forged more often than not.
//
// Messages with internationalized addresses or headers get the forms of
// RFC 6533.
package dsn

import (
	"fmt"
	"time"

	"gatepost/mail"
)

// Kind is the occasion of a notice.
type Kind string

// The kinds. Success is told only where the next hop will not do so itself,
// and says "relayed" (RFC 3461 section 5.2.2).
const (
	Failure Kind = "failure"
	Delay   Kind = "delay"
	Success Kind = "success"
)

// Denied is why the sender of m is not told about a recipient; empty: he is.
func Denied(m *mail.Message, r mail.Recipient, kind Kind) string {
	switch {
	case m.Envelope.From.IsNull():
		return "null reverse-path"
	case !m.Origin.Confirmed:
		return "reverse-path not confirmed"
	case r.Notify&mail.NotifyNever != 0:
		return "NOTIFY=NEVER"
	case !asked(r.Notify, kind):
		return "not asked for by NOTIFY"
	}
	return ""
}

// Wanted tells whether the sender of m is told about a recipient.
func Wanted(m *mail.Message, r mail.Recipient, kind Kind) bool { return Denied(m, r, kind) == "" }

// asked reads NOTIFY (RFC 3461 section 4.1): without it failures are told, and
// delays as we see fit.
func asked(n mail.Notify, kind Kind) bool {
	switch kind {
	case Failure:
		return n == 0 || n&mail.NotifyFailure != 0
	case Delay:
		return n == 0 || n&mail.NotifyDelay != 0
	}
	return n&mail.NotifySuccess != 0
}

// Notice is what is to be told.
type Notice struct {
	ID         mail.ID // of the notice
	Kind       Kind
	Message    *mail.Message
	Recipients []Recipient
	At         time.Time
}

// Recipient is one recipient that a notice is about.
type Recipient struct {
	mail.Recipient
	Status  mail.Status // of the last attempt
	Expired bool        // given up after that attempt, for it took too long
	Until   time.Time   // how long a delayed one will be tried
}

// Options are what all notices have in common.
type Options struct {
	Hostname   string       // hostname: the reporting MTA
	Postmaster mail.Address // postmaster: whom a notice is from
	// ReturnLimit is the largest message that is returned whole; of others the
	// header is. Default 64 KiB.
	ReturnLimit int64
}

// DefaultReturnLimit keeps notices small. Senders have their own message.
const DefaultReturnLimit = 64 << 10

// Writer writes notices. It is safe for concurrent use.
type Writer struct{ options Options }

// New checks the options.
func New(o Options) (*Writer, error) {
	if o.Hostname == "" || o.Postmaster.IsNull() {
		return nil, fmt.Errorf("dsn: hostname and postmaster are required")
	}
	if o.ReturnLimit == 0 {
		o.ReturnLimit = DefaultReturnLimit
	}
	return &Writer{o}, nil
}
