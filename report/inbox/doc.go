// Package inbox is where reports about our domains arrive: a message to an
// address of report.inbox is not delivered but read. What it says goes into
// tables of our own, one row per report and one per record; a report that was
// there before (same reporter, same id, same domain) counts once. What cannot
// be read is kept for a while with the reason, so that nothing vanishes.
//
// The three kinds are DMARC aggregate reports, failure reports and SMTP TLS
// reports. Anyone can send a report: what stands in it is what a stranger says.
// Its numbers are bounded and its texts are made safe. Reports about any domain
// are taken, for the inbox may stand in the records of domains that are not in
// the configuration. Each is kept with the domain that its mail was proven to
// come from, so that a forged one hides no true one and is seen for what it is.
//
// The tables have bounds, and each day a sender may use a share of them only
// (allowance.go): a stranger's flood costs the others nothing.
package inbox
