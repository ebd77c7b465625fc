// Package canon brings headers and bodies into the forms over which DKIM and
// ARC compute their hashes: "simple" and "relaxed" (RFC 6376 section 3.4).
//
// Bodies are read once and in bulk. A BodyHasher takes the octets of a body as
// they come and feeds every hash that some signature asks for: two forms at
// most, and for each form one running hash from which the digests of all l=
// limits are taken on the way. Empty lines and white space at the end are
// counted, never kept, so that the cost is linear in the size of the body
// whatever it holds.
//
// Lines end in CRLF. A CR or LF alone is an octet like any other.
package canon

import "errors"

// Form is a canonicalization algorithm.
type Form string

// The forms of RFC 6376 section 3.4.
const (
	Simple  Form = "simple"
	Relaxed Form = "relaxed"
)

// ErrForm reports a c= value that names no known form.
var ErrForm = errors.New("unknown canonicalization")

// ParseForms reads a c= value "header/body"; a missing body part is simple
// (RFC 6376 section 3.5).
func ParseForms(s string) (header, body Form, err error) {
	header, body = Form(s), Simple
	for i := range len(s) {
		if s[i] == '/' {
			header, body = Form(s[:i]), Form(s[i+1:])
			break
		}
	}
	if !header.known() || !body.known() {
		return "", "", ErrForm
	}
	return header, body, nil
}

func (f Form) known() bool { return f == Simple || f == Relaxed }
