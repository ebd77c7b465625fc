// Package wire is where bytes become commands. It owns the TCP connection and
// TLS and is the only code that sees what a client really sent; go-smtp, which
// knows what commands mean, gets plaintext from it over a virtual net.Conn, one
// clean line or one counted chunk at a time.
//
//	TCP -> Serve -> Conn (before TLS) -> go-smtp
//	          |
//	       STARTTLS: that Conn ends, handshake, a new Conn begins -> go-smtp
//
// A Conn is one TLS state of a TCP connection. After STARTTLS (RFC 3207) the
// go-smtp connection ends and a new one begins over the same socket, its
// greeting swallowed, so that nothing can carry over.
//
// There is no goroutine and no pipe between the socket and go-smtp: go-smtp's
// own goroutine runs the protocol of this package inside Conn.Read. Whenever
// go-smtp asks for more, the reply to what it got last is complete; the wire
// settles that reply (passes, edits or swallows it), then finds the next thing
// to feed. Replies go out when the wire has to wait for the client, so
// pipelined commands (RFC 2920) cost one write.
//
// # Commands
//
// A command line ends in CRLF (RFC 5321 section 2.3.8) and nothing else. Each
// of these has one answer, and the connection goes on in step behind it:
//
//   - bare CR, bare LF or NUL in a command line: 500 5.5.2, at once; the rest
//     up to the next CRLF belongs to the refused line
//   - a line over 512 octets (RFC 5321 section 4.5.3.1.4), Settings.CommandLimit
//     for MAIL and RCPT, 12288 for AUTH (RFC 4954 section 4): 500 5.5.2
//   - an unknown verb: 500 5.5.1; a command out of order: 503 5.5.1
//   - HTTP: 500 5.5.1, and the connection closes
//   - octets behind STARTTLS: 554 5.5.1, and the connection closes
//   - a BDAT whose size cannot be read or is absurd: 501 5.5.4 or 552 5.3.4,
//     and the connection closes, for nobody knows where the next command is
//
// # Messages
//
// DATA becomes BDAT (RFC 3030) for go-smtp: "BDAT 0" asks whether a message may
// come, which turns into 354; the message follows in counted chunks, the last
// of them marked. Only CRLF "." CRLF ends it, and a dot is taken away only
// behind CRLF (RFC 5321 section 4.5.2). BDAT of the client passes by count.
//
// What is wrong with a message is answered once it has come in whole, or, for
// BDAT, behind the chunk that shows it. Its transaction ends at once, the
// session sees smtp.ErrDataReset from its reader (see Prepare), and
// Conn.Refused tells why:
//
//   - bare CR or LF where Settings says Reject: mail.ReplyBareNewline
//   - NUL, whatever Settings says, for 8BITMIME excludes it (RFC 6152 and RFC
//     2045 section 2.8): mail.ReplyNUL
//   - a line over Settings.LineLimit: mail.ReplyMessageLine
//   - more octets than Settings.MessageSize: mail.ReplyTooBig
//
// Where Settings says Normalize, a bare LF becomes CRLF, and so does a run of
// CRs together with the LF behind it, if there is one. That happens after the
// end of data was found and dots were taken away, so it never makes either.
//
// # Time
//
// A command line has Settings.Command to come in whole. A message has
// Settings.Data, must not pause for longer than Settings.Command and must keep
// Settings.MinRate. A connection has Settings.Session. Each ends in 421 4.4.2.
package wire
