// Package inbox is where reports about our domains arrive: a message to an
// address of report.inbox is not delivered but read. What it says goes into
// tables of our own, one row per report and one per record; a report that was
// there before (same reporter, same id, same domain) counts once. What cannot
// be read is kept for a while with the reason, so that nothing vanishes.
//
// The three kinds are DMARC aggregate reports, failure reports and SMTP TLS
// reports. Anyone can send a report: what stands in it is what a stranger says.
// Its numbers are bounded, its texts are made safe, its domain must be one that
// could receive reports, and the tables have bounds of their own.
package inbox
