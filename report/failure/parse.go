package failure

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"

	"gatepost/mail"
)

// Report is one report. Empty fields were not given.
type Report struct {
	Type        string     `json:"type"` // of the feedback: auth-failure, abuse, …
	Agent       string     `json:"user_agent,omitempty"`
	Reporter    string     `json:"reporting_mta,omitempty"`
	Domain      string     `json:"domain"` // reported
	Source      netip.Addr `json:"source,omitzero"`
	AuthFailure string     `json:"auth_failure,omitempty"` // dmarc, dkim, spf, …
	Delivery    string     `json:"delivery_result,omitempty"`
	Alignment   string     `json:"identity_alignment,omitempty"` // what was aligned: none, dkim, spf
	Arrival     string     `json:"arrival_date,omitempty"`
	MailFrom    string     `json:"original_mail_from,omitempty"`
	RcptTo      string     `json:"original_rcpt_to,omitempty"`
	DKIMDomain  string     `json:"dkim_domain,omitempty"`
	DKIMSel     string     `json:"dkim_selector,omitempty"`
	Results     string     `json:"authentication_results,omitempty"`
	From        string     `json:"from,omitempty"` // of the message
	Subject     string     `json:"subject,omitempty"`
	MessageID   string     `json:"message_id,omitempty"`
	Incidents   string     `json:"incidents,omitempty"`
}

// Bounds of one report.
const (
	maxFields = 200
	maxPart   = 64 << 10
	maxText   = 500
)

// Error is why a report is not read, in words that may be shown.
type Error struct{ Reason string }

// Error is the reason.
func (e *Error) Error() string { return e.Reason }

func refuse(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// Parse reads the part message/feedback-report, and what the reporter sent of
// the message that it is about.
func Parse(part, original []byte) (*Report, error) {
	fields, err := read(unwrapped(part), true)
	if err != nil {
		return nil, err
	}
	about, err := read(original, false)
	if err != nil {
		return nil, err
	}
	r := &Report{
		Type: strings.ToLower(fields["feedback-type"]), Agent: fields["user-agent"], Reporter: fields["reporting-mta"],
		AuthFailure: strings.ToLower(fields["auth-failure"]), Delivery: strings.ToLower(fields["delivery-result"]),
		Alignment: strings.ToLower(fields["identity-alignment"]), Arrival: fields["arrival-date"],
		MailFrom: fields["original-mail-from"], RcptTo: fields["original-rcpt-to"], DKIMDomain: fields["dkim-domain"],
		DKIMSel: fields["dkim-selector"], Results: fields["authentication-results"], Incidents: fields["incidents"],
		From: about["from"], Subject: about["subject"], MessageID: about["message-id"],
	}
	if r.Arrival == "" {
		r.Arrival = fields["received-date"]
	}
	if r.Type == "" { // RFC 5965 section 3.1
		return nil, refuse("the feedback report has no Feedback-Type")
	}
	return r, r.complete(fields)
}

// complete finds the domain and the source.
func (r *Report) complete(fields map[string]string) error {
	if ip := strings.Trim(fields["source-ip"], "[]"); ip != "" {
		addr, err := netip.ParseAddr(strings.TrimPrefix(strings.ToLower(ip), "ipv6:"))
		if err != nil || addr.Zone() != "" {
			return refuse("Source-IP %q is no address", mail.SafeText(ip, 60))
		}
		r.Source = addr.Unmap()
	}
	name := fields["reported-domain"]
	if name == "" { // optional in RFC 5965; then the author's is meant
		name = domainIn(r.From)
	}
	d, err := mail.ParseDomain(strings.TrimSuffix(name, "."))
	if err != nil {
		return refuse("the feedback report names no domain: Reported-Domain is %q", mail.SafeText(name, 80))
	}
	r.Domain = d.String()
	return nil
}

// domainIn is what stands behind the last @ of a field.
func domainIn(from string) string {
	_, domain, _ := cutLast(from, "@")
	domain, _, _ = strings.Cut(domain, ">")
	return strings.TrimSpace(domain)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// unwrapped undoes base64 that a mail program put around the part without
// saying so in a way that is seen (RFC 5965 section 2 wants none).
func unwrapped(part []byte) []byte {
	if bytes.IndexByte(part, ':') >= 0 || len(part) > 2*maxPart {
		return part
	}
	compact := bytes.Join(bytes.Fields(part), nil)
	if out, err := base64.StdEncoding.DecodeString(string(compact)); err == nil {
		return out
	}
	return part
}

// read gives the fields of a header by lower-case name; of several with one
// name the first. A part that is all fields must not be longer than maxPart.
func read(b []byte, whole bool) (map[string]string, error) {
	if whole && len(b) > maxPart {
		return nil, refuse("the feedback report is longer than %d octets", maxPart)
	}
	b = bytes.TrimLeft(b[:min(len(b), maxPart)], "\r\n")
	fields, name := map[string]string{}, ""
	for line := range bytes.Lines(b) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			if name != "" {
				fields[name] = mail.SafeText(fields[name]+" "+string(bytes.TrimSpace(line)), maxText)
			}
			continue
		}
		key, value, ok := bytes.Cut(line, []byte(":"))
		name = strings.ToLower(mail.SafeText(string(key), 80))
		if _, seen := fields[name]; !ok || seen {
			name = ""
			continue
		}
		if len(fields) >= maxFields {
			if whole {
				return nil, refuse("the feedback report has more than %d fields", maxFields)
			}
			break
		}
		fields[name] = mail.SafeText(string(bytes.TrimSpace(value)), maxText)
	}
	return fields, nil
}
