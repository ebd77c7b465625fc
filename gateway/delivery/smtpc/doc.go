// Package smtpc is the client side of SMTP (RFC 5321) and LMTP (RFC 2033) on
// one connection: greeting, EHLO, STARTTLS (RFC 3207), AUTH (RFC 4954), and
// transactions with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC
// 6152), SMTPUTF8 (RFC 6531) and DSN (RFC 3461).
//
// It reports what the server said and how far it came, and has no opinion on
// what that means for a message: an *Error tells the stage and either the
// server's reply or what happened to the connection. Every read and write has
// a deadline (RFC 5321 section 4.5.3.2), and every reply is bounded. A server
// that answers 421 ends the connection at any stage.
package smtpc
