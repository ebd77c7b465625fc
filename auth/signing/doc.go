// Package signing makes the DKIM signatures (RFC 6376, RFC 8463) of mail that
// the gateway vouches for.
//
// The header From decides: its domain, as kept in mail.Origin, finds the rule,
// the rule names d= and the kinds of keys, the key ring gives the selectors.
// Mail of the mx role is never signed. Signing is the last thing that touches
// the bytes, so Sign reads the message in the very form that goes out; what it
// made is kept by message, form and selectors, and a second attempt or another
// next hop does not sign again.
//
// The work is github.com/emersion/go-msgauth's. Around it stand guards for what
// it does not do: a message without the empty line behind the header, a list of
// signed fields too long for a line, a run of blank lines that it would hold in
// memory, and more RSA signatures at once than there are processors.
package signing
