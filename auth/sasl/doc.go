// Package sasl authenticates: clients of ours to us, and us to next hops
// (RFC 4422, RFC 4954).
//
// On the server's side a mechanism takes what the client says and asks a
// [Check] whether the password fits. PLAIN (RFC 4616) is go-sasl's, LOGIN
// (draft-murchison-sasl-login), which Exchange calls "Basic authentication",
// is ours. On the client's side both are there for delivery.
//
// Passwords are kept as argon2id hashes in the PHC string form ([Hash]). To
// check one costs 19 MiB and tens of milliseconds, so that a [Verifier] lets
// only a few run at once and remembers for a short while what fitted; else
// AUTH would be a way to exhaust the gateway. A user that does not exist costs
// the same as one that does.
package sasl

import "fmt"

// FieldError names the option that is wrong by its key path.
type FieldError struct {
	Path string // "users[2].password_hash"
	Msg  string
}

// Error is the path and what is wrong there.
func (e *FieldError) Error() string { return fmt.Sprintf("%s: %s", e.Path, e.Msg) }
