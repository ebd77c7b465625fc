package compose

import (
	"fmt"

	"gatepost/mail"
	"gatepost/report/failure"
)

// Failure makes the message that carries a failure report (RFC 5965 section 2,
// RFC 6591): words for people, the part for machines, and what is told of the
// header. Both come from failure.Write. Submitter and Format of o are not used.
func Failure(i *failure.Incident, r failure.Redactor, to []mail.Address, o Options) ([]byte, error) {
	if o.Submitter.IsZero() {
		o.Submitter = o.From.Domain()
	}
	if err := check("1", to, o); err != nil {
		return nil, err
	}
	part, original := failure.Write(i, r)
	m := &message{boundary: "=_failure." + i.ID.String()}
	m.header(to, o)
	m.field("Subject", "DMARC failure report:\r\n "+i.Domain.String())
	m.field("Content-Type", fmt.Sprintf("multipart/report; report-type=feedback-report;\r\n boundary=%q", m.boundary))
	m.line("")
	m.line("This is an authentication failure report in MIME format (RFC 6591).")
	m.part("text/plain; charset=us-ascii", "7bit")
	m.text([]string{
		"This is a report about one message, made by a machine for a machine.",
		"",
		"Author's domain: " + i.Domain.String(),
		"Reported by:     " + o.Org,
		"",
		"The message did not prove that the owner of the domain sent it. He asks",
		"for such reports by the ruf tag of his DMARC record. Local parts of",
		"addresses are replaced by hashes (RFC 6590); subject, recipients and",
		"body are not told.",
	})
	m.part("message/feedback-report", "7bit")
	m.Write(part)
	m.part("text/rfc822-headers", "7bit")
	m.Write(original)
	m.end()
	return m.Bytes(), nil
}
