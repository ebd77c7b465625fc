// Package failure reads reports about single messages: the machine-readable
// part of the Abuse Reporting Format (RFC 5965) with the fields for failed
// authentication (RFC 6591), as DMARC failure reports are sent (RFC 7489
// section 7.3, RFC 9991). Of the message that is reported only the author, the
// subject and the id are kept.
package failure
