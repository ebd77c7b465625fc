package failure

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"gatepost/mail"
)

// What failed (RFC 6591 section 3.3, RFC 9991 section 4).
const (
	DMARC     = "dmarc"
	Signature = "signature"
	SPF       = "spf"
)

// Incident is a message that failed, as far as it may be told.
type Incident struct {
	ID          mail.ID // of the transaction at our door
	At          time.Time
	Client      netip.Addr
	Port        uint16 // zero: not known
	Helo        string
	MailFrom    mail.Address
	Domain      mail.Domain // the author's
	Failure     string      // DMARC, Signature or SPF
	Delivery    string      // delivered, spam, policy, reject or other
	Unaligned   []string    // methods that gave no aligned pass: dkim, spf
	Results     string      // our Authentication-Results field, whole
	DKIMDomain  mail.Domain // of the signature that failed; zero: none
	DKIMSel     string
	DKIMID      string      // its i=
	SPFDomain   mail.Domain // zero: not told
	SPFRecord   string
	Incidents   int          // like messages since the last report; 0 counts as 1
	Header      []mail.Field // Excerpt of the message's
	ReportingBy string       // our host name
	Agent       string       // name and version of this program
}

// Bounds of what is written.
const (
	maxField  = 900  // octets of a value
	maxResult = 4000 // octets of Authentication-Results
	foldAt    = 76
)

// Write makes the machine-readable part and what is told of the message's
// header, which Parse reads. Both are US-ASCII with CRLF. No address leaves
// with its local part.
func Write(i *Incident, r Redactor) (part, original []byte) {
	w := &writer{}
	w.field("Feedback-Type", "auth-failure")
	w.field("User-Agent", i.Agent)
	w.field("Version", "1")
	w.field("Original-Envelope-Id", i.ID.String())
	w.field("Original-Mail-From", r.Address(i.MailFrom))
	w.field("Arrival-Date", i.At.UTC().Format(time.RFC1123Z))
	w.field("Reporting-MTA", "dns; "+i.ReportingBy)
	if i.Client.IsValid() {
		w.field("Source-IP", i.Client.Unmap().WithZone("").String())
	}
	if i.Port != 0 { // RFC 6692
		w.field("Source-Port", fmt.Sprint(i.Port))
	}
	w.field("Incidents", fmt.Sprint(max(i.Incidents, 1)))
	w.field("Reported-Domain", i.Domain.String())
	w.results(r.text(i.Results))
	w.field("Delivery-Result", i.Delivery)
	w.field("Auth-Failure", i.Failure)
	w.field("Identity-Alignment", alignment(i.Unaligned))
	if !i.DKIMDomain.IsZero() {
		w.field("DKIM-Domain", i.DKIMDomain.String())
		w.field("DKIM-Identity", r.identity(i.DKIMID))
		w.field("DKIM-Selector", i.DKIMSel)
	}
	if !i.SPFDomain.IsZero() && i.SPFRecord != "" {
		w.field("SPF-DNS", fmt.Sprintf("txt : %s : %s", i.SPFDomain, quoted(i.SPFRecord)))
	}
	return []byte(w.String()), i.original(r)
}

// alignment lists what failed (RFC 9991 section 4; RFC 7489 section 7.3 lists
// what did not).
func alignment(failed []string) string {
	if len(failed) == 0 {
		return "none"
	}
	return strings.Join(failed, ", ")
}

// original is the redacted header, under the Received field that we would
// have written.
func (i *Incident) original(r Redactor) []byte {
	w := &writer{}
	helo := "unknown"
	if d, err := mail.ParseDomain(i.Helo); err == nil {
		helo = d.String()
	}
	client := "unknown"
	if i.Client.IsValid() {
		client = mail.LiteralDomain(i.Client.Unmap().WithZone("")).String()
	}
	w.field("Received", fmt.Sprintf("from %s (%s) by %s with SMTP id %s; %s", helo, client, i.ReportingBy, i.ID, i.At.UTC().Format(time.RFC1123Z)))
	for _, f := range r.header(i.Header) {
		name, value, _ := strings.Cut(f, ": ")
		w.field(name, value)
	}
	return []byte(w.String())
}

// writer writes header fields.
type writer struct{ strings.Builder }

// field writes one, folded; without a value it is left out.
func (w *writer) field(name, value string) {
	limit := maxField
	if name == "DKIM-Signature" {
		limit = maxResult
	}
	if value = asciiOnly(mail.SafeText(value, limit)); value == "" {
		return
	}
	w.WriteString(name + ":")
	line := len(name) + 1
	for i, word := range strings.Fields(value) {
		for n := 0; len(word) > 0; n++ {
			room := len(word)
			// Only a signature is cut where there is no blank: its values may be.
			if name == "DKIM-Signature" {
				room = min(room, foldAt-1)
			}
			if i+n > 0 && line+1+room > foldAt {
				w.WriteString("\r\n")
				line = 0
			}
			if n == 0 || line == 0 {
				w.WriteString(" ")
				line++
			}
			w.WriteString(word[:room])
			line += room
			word = word[room:]
		}
	}
	w.WriteString("\r\n")
}

// results writes the field that authres formatted: name, folded lines.
func (w *writer) results(field string) {
	_, value, _ := strings.Cut(field, ":")
	w.field("Authentication-Results", strings.Join(strings.Fields(value), " "))
}

// quoted is a quoted-string (RFC 5322 section 3.2.4).
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(asciiOnly(mail.SafeText(s, maxField/2))) + `"`
}
