// Package mail holds the nouns of the gateway: what a message is while it is
// on its way. An Address names a mailbox (RFC 5321 section 4.1.2), a Domain
// is a host name in its A-label form (RFC 5890), an Envelope is what SMTP says
// about a message, a Header is what the message says about itself, an Origin
// tells who handed it to us, and a Status is what became of it for one
// recipient.
//
// The package stands on the ground floor: it imports nothing of ours and does
// no input or output. Address is the only code that writes an address to a
// wire, and Status is the only code that carries text of a remote host, made
// safe for logs, traces and notices.
package mail
