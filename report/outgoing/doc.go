// Package outgoing tells the owners of domains what was seen of them: once a
// day a DMARC aggregate report for each policy domain that asks for one (RFC
// 7489 section 7.2, RFC 9990), made of what package tally counted, and handed
// to the queue like any other mail.
//
// It must never hurt us, nor anybody else. Nothing is sent unless it is
// switched on. A domain gets a report only when some of its mail was let in: a
// forger who is always refused makes us write to nobody. The addresses are
// asked of DNS when the report is made, and those outside of the domain must
// have agreed (RFC 9990 section 4). Reports a day, copies for an address,
// records and octets are bounded; an address that bounced is left alone for a
// while. Each report goes out at a time of its own within a window, the same
// on all nodes, so that neither we nor who receives reports for many gets them
// all at once.
//
// The report and the row that says that it was sent are committed together:
// however many nodes there are and whenever one stops, a domain gets one
// report about a day. What cannot be sent now is tried again later, and no
// more when it is older than three days.
//
// Round does what is due. It is told the settings each time, so that a reload
// changes them as a whole.
package outgoing
