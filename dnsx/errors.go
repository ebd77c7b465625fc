package dnsx

import (
	"errors"
	"fmt"
)

// Kind tells why a question has no answer.
type Kind string

// The kinds. NoData is a name that exists without the type asked for;
// Temporary is everything that a later try may change.
const (
	NXDomain  Kind = "nxdomain"
	NoData    Kind = "nodata"
	Temporary Kind = "temporary"
)

// Error is the error of every look-up.
type Error struct {
	Kind       Kind
	Name, Type string
	// Authentic tells that a validating server proved that there is nothing.
	Authentic bool
	// Chain holds the CNAME targets that were followed before nothing was found.
	Chain []string
	Err   error // what went wrong in the end; may be nil
}

// Error says what was asked and what became of it, with the cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.brief()
	}
	return fmt.Sprintf("%s: %v", e.brief(), e.Err)
}

func (e *Error) brief() string {
	what := map[Kind]string{NXDomain: "name does not exist", NoData: "no such record", Temporary: "temporary failure"}[e.Kind]
	return fmt.Sprintf("looking up %s %s: %s", e.Type, e.Name, what)
}

// Brief words an error for strangers: without our servers and what they said.
func Brief(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.brief()
	}
	return err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// IsNXDomain tells whether err says that the name does not exist.
func IsNXDomain(err error) bool { return isKind(err, NXDomain) }

// IsNotFound tells whether err says for certain that there is no such record.
func IsNotFound(err error) bool { return isKind(err, NXDomain) || isKind(err, NoData) }

// IsTemporary tells whether err leaves open what the answer would be: every
// error but NXDOMAIN and NODATA.
func IsTemporary(err error) bool { return err != nil && !IsNotFound(err) }

func isKind(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}
