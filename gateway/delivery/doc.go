// Package delivery carries messages to their next hops by SMTP (RFC 5321) and
// LMTP (RFC 2033). It gets a job from the queue, a message with the recipients
// that share one destination, and gives back one Result per recipient.
//
// The way of a job: the destination becomes a list of targets, best first
// (targets.go: next hops, MX, null MX, loops). For each target a kept
// connection is taken or a new one is opened (dial.go, pool.go: source address,
// TLS rule, EHLO, AUTH). Then the form of the message is chosen by what the
// server offers, the message is signed in that form, and transactions carry
// it to the recipients (attempt.go, form.go). A target that fails as a whole
// makes way for the next one; what a server says about the message or a
// recipient is final for this attempt.
//
// Signing is the last thing that touches the bytes. What a failure means,
// temporary or permanent, of the recipient or of the whole site, is decided in
// one place, failure.go. Package smtpc speaks the protocol and has no opinion;
// package downgrade re-encodes 8-bit mail for servers without 8BITMIME.
package delivery
