// Package failure reads and writes reports about single messages: the
// machine-readable part of the Abuse Reporting Format (RFC 5965) with the
// fields for failed authentication (RFC 6591), as DMARC failure reports are
// sent (RFC 7489 section 7.3, RFC 9991).
//
// Of a message that others report to us only the author, the subject and the
// id are kept.
//
// Of a message that we report only what an owner of the author's domain needs
// to find the fault is told: a few fields of the header by name, with the local
// part of every address replaced by a keyed hash (RFC 6590), so that equal
// ones stay equal; nothing of the subject, the recipients or the body.
package failure
