// Package policy judges mail: facts in, verdict out. It never touches a socket
// and knows no SMTP library.
//
// A session asks it three times. Mail judges the reverse-path: who relays
// through us may send only as the addresses of its send_as. Recipient judges a
// forward-path: on an mx session only our domains are reached, and there only
// the recipients that exist. Content judges the message: on a relay session
// the header From must be one that the client may use, and then we vouch for
// it, so that it gets signed; on an mx session the proofs are gathered (SPF,
// RFC 7208; DKIM, RFC 6376; ARC, RFC 8617; reverse DNS, RFC 8601 section 2.7.3; DMARC,
// RFC 9989) and an ordered list of rules, in order.go, turns them into one of
// accept, tag, quarantine, reject, defer.
//
// In monitor mode the list runs all the same, but a rule that judges mail
// never acts: the verdict says in Would what it would have been. What keeps
// the gateway itself safe (relaying, send_as, header limits) acts in both.
package policy
