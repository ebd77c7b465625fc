// Package compose makes mail messages of reports that we send: a DMARC
// aggregate report as RFC 9990 section 3.5.2 and RFC 7489 section 7.2.1.1 want
// it, and a failure report (RFC 6591, RFC 9991). An aggregate report composed
// twice is the same, octet for octet, but for what Options say: the file in it
// and its names depend on the report alone, so that a second try after a crash
// is seen as the same report.
package compose
