package queue

import (
	"errors"
	"fmt"

	"gatepost/store"
)

// Reason says why Accept refused a message.
type Reason string

// The reasons. All but Invalid are temporary.
const (
	ReasonFull        Reason = "full"        // no space: 452
	ReasonUnavailable Reason = "unavailable" // the store cannot be written: 451
	ReasonUnknown     Reason = "unknown"     // nobody knows whether it is stored: close without an answer
	ReasonRoute       Reason = "route"       // no way for a recipient could be found: 451
	ReasonInvalid     Reason = "invalid"     // not a message that can be queued
)

// Error is what Accept fails with.
type Error struct {
	Reason Reason
	Err    error
}

// Error is for the log, never for an SMTP client.
func (e *Error) Error() string { return fmt.Sprintf("queue: %s: %v", e.Reason, e.Err) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary tells whether the client may try again.
func (e *Error) Temporary() bool { return e.Reason != ReasonInvalid }

var (
	// ErrNotFound reports a message that is not in the queue.
	ErrNotFound = errors.New("queue: no such message")
	// ErrNotOurs reports that the lease of this node ran out, or that another
	// node took over.
	ErrNotOurs = errors.New("queue: message no longer ours")
)

// acceptError gives an error of the store its reason.
func acceptError(err error) *Error {
	switch {
	case errors.Is(err, store.ErrFull):
		return &Error{ReasonFull, err}
	case errors.Is(err, store.ErrUnknown):
		return &Error{ReasonUnknown, err}
	}
	return &Error{ReasonUnavailable, err}
}
