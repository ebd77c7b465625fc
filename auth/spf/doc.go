// Package spf tells whether a client may use a domain in MAIL FROM, or in
// HELO where the reverse-path is null (RFC 7208).
//
// The evaluation (order of terms, limits, comparing addresses) is that of
// blitiri.com.ar/go/spf. It never sees a record as it was published: every
// record is first parsed whole here, so that a syntax error counts even
// behind a term that matches (section 4.6), and its macros are expanded here,
// with the sender from mail.Address and not from a string that would be split
// at an @. What the library gets is the same record without macros and
// modifiers but redirect=. Its questions come back to this package and are
// answered by dnsx, each for the one address family that counts.
//
// The explanation (exp=, section 6.2) is fetched and expanded here too, once,
// after the result is fail; it is text of a stranger and is made safe.
package spf
