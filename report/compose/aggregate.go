package compose

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"gatepost/mail"
	"gatepost/report/aggregate"
)

// Options of one message.
type Options struct {
	From      mail.Address // of the message; its domain should be one that we sign for
	Org       string       // who reports, for people
	Submitter mail.Domain  // who reports: our host name
	Now       time.Time    // the message's date
	MessageID string       // with or without angle brackets
	Format    aggregate.Format
}

// ErrOptions reports a message that cannot be made of what was given.
var ErrOptions = errors.New("report cannot be composed")

// ReportID identifies the report of submitter about the mail that came under
// domain's policy from begin to end. More is what else tells two reports of
// one period apart, such as the policy where it changed. It is the Report-ID
// in the document and the subject and the unique-id in the file name, which
// must be the same (RFC 9990 section 3.1.4): letters and digits only.
func ReportID(submitter, domain mail.Domain, begin, end time.Time, more ...string) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s\n%d\n%d\n%q", submitter, domain, begin.Unix(), end.Unix(), more)
	return hex.EncodeToString(sum.Sum(nil)[:12])
}

// Aggregate makes the message that carries r, with CRLF and in US-ASCII. A
// limit that a Destination has is about the size of this message.
func Aggregate(r *aggregate.Report, to []mail.Address, o Options) ([]byte, error) {
	if err := check(r.ID, to, o); err != nil {
		return nil, err
	}
	packed, err := pack(r, o.Format)
	if err != nil {
		return nil, err
	}
	m := &message{boundary: "=_" + r.ID}
	m.header(to, o)
	m.field("Subject", subject(r, o))
	m.field("Content-Type", fmt.Sprintf("multipart/mixed; boundary=%q", m.boundary))
	m.line("")
	m.line("This is a DMARC aggregate report in MIME format.")
	m.part("text/plain; charset=us-ascii", "7bit")
	m.text(summary(r, o))
	// RFC 9990 section 3.5.2: the media type and the file name are what a
	// reader goes by. A name is never folded, for not all readers join it again.
	name := FileName(o.Submitter, r)
	m.part(fmt.Sprintf("application/gzip;\r\n name=%q", name), "base64", fmt.Sprintf("Content-Disposition: attachment;\r\n filename=%q", name))
	m.base64(packed)
	m.end()
	return m.Bytes(), nil
}

// check looks for what the message cannot be without.
func check(id string, to []mail.Address, o Options) error {
	wrong := func(what string) error { return fmt.Errorf("%w: %s", ErrOptions, what) }
	switch {
	case !isUniqueID(id):
		return wrong("the report's id is not made of letters and digits")
	case len(to) == 0:
		return wrong("nobody to send it to")
	case o.From.IsNull() || !o.From.IsASCII():
		return wrong("no usable sender")
	case o.Submitter.IsZero() || o.Submitter.IsLiteral():
		return wrong("no submitter")
	case messageID(o.MessageID) == "":
		return wrong("no message id")
	case o.Now.IsZero():
		return wrong("no date")
	}
	for _, a := range to {
		if a.IsNull() || !a.IsASCII() {
			return wrong("a recipient has no address in US-ASCII")
		}
	}
	return nil
}

// isUniqueID tells whether s can be the unique-id of a file name.
func isUniqueID(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 60
}

// FileName is the name of the report's file (RFC 9990 section 3.5.2).
func FileName(submitter mail.Domain, r *aggregate.Report) string {
	return fmt.Sprintf("%s!%s!%d!%d!%s.xml.gz", submitter, r.Domain, r.Begin.Unix(), r.End.Unix(), r.ID)
}

// subject is folded between its parts. RFC 7489 wants a msg-id, with an "@";
// RFC 9990 an id that is the same everywhere.
func subject(r *aggregate.Report, o Options) string {
	id := r.ID
	if o.Format == aggregate.RFC7489 {
		id += "@" + o.Submitter.String()
	}
	return fmt.Sprintf("Report Domain: %s\r\n Submitter: %s\r\n Report-ID: <%s>", r.Domain, o.Submitter, id)
}

// pack compresses the document. The header of the file holds neither name nor
// time (RFC 1952 section 2.3).
func pack(r *aggregate.Report, f aggregate.Format) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if err := aggregate.Write(z, r, f); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// summary is for people who open the mailbox.
func summary(r *aggregate.Report, o Options) []string {
	var messages, passed int64
	for _, x := range r.Records {
		messages += x.Count
		if x.Passed() {
			passed += x.Count
		}
	}
	const layout = "2006-01-02 15:04:05 UTC"
	return []string{
		"This is a DMARC aggregate report, made by a machine for a machine.",
		"",
		"Policy domain: " + r.Domain.String(),
		"Reported by:   " + o.Org,
		"Submitter:     " + o.Submitter.String(),
		"From:          " + r.Begin.UTC().Format(layout),
		"To:            " + r.End.UTC().Format(layout),
		fmt.Sprintf("Messages:      %d, of them %d passed DMARC", messages, passed),
		"Contact:       " + r.Email,
		"",
		"Nobody reads answers to the address that this message was sent from,",
		"unless it is the one above. To get no more of these reports take the",
		"rua tag out of the DMARC record of the domain.",
	}
}
