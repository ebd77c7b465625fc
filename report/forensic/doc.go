// Package forensic sends failure reports (RFC 9991, RFC 7489 section 7.3): to
// the owner of an author's domain, about one message that did not prove to
// come from there. What such a report tells, package failure decides; here it
// is decided when one is sent and to whom.
//
// Anybody can make us send them, by forging mail, and they are about people's
// letters. So they are off unless an administrator wants them, and few: one
// for each kind of failure and hour (the next one tells how many there were),
// bounds for a domain and day and for all together in an hour. Verified
// destinations only, none that could not be reached, nothing about reports,
// notices, our own domains or mail that a machine sent (RFC 9991 sections 2, 5.1 and 8.1).
//
// Nothing here is waited for: what is offered while the list is full is
// dropped and counted.
package forensic
