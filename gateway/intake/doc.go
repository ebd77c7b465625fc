// Package intake takes mail in: it is what stands between a TCP connection
// and the queue.
//
// An [Intake] owns the listening sockets. Of every connection it learns first
// who is there: behind a balancer the PROXY header says so, else the socket
// does; one client may hold only so many connections and is told 421 before
// the banner. Then the wire (package wire) reads the bytes, TLS included, and
// go-smtp understands the commands. What they mean is decided here, in two
// structs: a session lives from EHLO to QUIT and knows role, user and errors;
// a transaction lives from MAIL to the end of DATA, and a reset drops it
// (RFC 5321 section 4.1.1.5).
//
// A session is a relay session where the client's address is one of the
// listener's relay clients or the client has authenticated (RFC 4954). Any
// other session on an mx listener is judged and reaches our own domains only;
// on a smarthost listener it cannot send at all. Policy is asked at MAIL, at
// RCPT and for the content.
//
// While a message arrives it is spooled, in memory first and in an unlinked
// file when it is large. Nothing in it is changed: what we add, Received
// (RFC 5321 section 4.4) and Authentication-Results (RFC 8601) among it, stands
// in the prefix; what must not pass, forged fields, becomes cuts. Then the
// Acceptor takes it, and only when it says that the message is durable does
// the client hear 250.
package intake
