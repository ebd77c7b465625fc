package dsn

import (
	"strings"

	"gatepost/mail"
)

// status is the part for programs (RFC 3464 section 2): fields about the
// message, then a group of fields per recipient.
func (r *report) status() string {
	var b strings.Builder
	field := func(name, value string) {
		if !r.global {
			value = asciiOnly(value)
		}
		fold(&b, name+": "+value)
	}
	field("Reporting-MTA", "dns; "+r.options.Hostname)
	if id := r.Message.Envelope.EnvID; id != "" {
		field("Original-Envelope-Id", mail.SafeText(id, 200))
	}
	if helo, err := mail.ParseDomain(r.Message.Origin.Helo); err == nil {
		field("Received-From-MTA", "dns; "+helo.String())
	}
	field("Arrival-Date", r.Message.Received.UTC().Format(dateFormat))
	field("X-Gatepost-Id", r.Message.ID.String())
	for _, to := range r.Recipients {
		b.WriteString("\r\n")
		r.recipientStatus(to, field)
	}
	return b.String()
}

func (r *report) recipientStatus(to Recipient, field func(name, value string)) {
	if isAtom(to.OriginalType) {
		field("Original-Recipient", to.OriginalType+"; "+mail.SafeText(to.Original, 320))
	}
	addressType := "rfc822"
	if !to.Address.IsASCII() {
		addressType = "utf-8" // RFC 6533 section 3
	}
	field("Final-Recipient", addressType+"; "+to.Address.String())
	field("Action", map[Kind]string{Failure: "failed", Delay: "delayed", Success: "relayed"}[r.Kind])
	field("Status", r.code(to).String())
	if host := remoteHost(to.Status); host != "" {
		field("Remote-MTA", "dns; "+host)
	}
	if to.Status.Said {
		field("Diagnostic-Code", "smtp; "+mail.SafeText(to.Status.String(), 1000))
	} else if to.Status.Code != 0 {
		field("Diagnostic-Code", "x-gatepost; "+mail.SafeText(to.Status.Text, 1000))
	}
	field("Last-Attempt-Date", r.At.UTC().Format(dateFormat))
	if r.Kind == Delay {
		field("Will-Retry-Until", to.Until.UTC().Format(dateFormat))
	}
}

// code is the enhanced code, whose class agrees with the action.
func (r *report) code(to Recipient) mail.Enhanced {
	if to.Expired {
		return mail.ReplyExpired.Enhanced
	}
	class := map[Kind]uint16{Failure: 5, Delay: 4, Success: 2}[r.Kind]
	if e := to.Status.Enhanced; e[0] == class {
		return e
	}
	return mail.Enhanced{class, 0, 0}
}

// remoteHost is the name of the host that spoke: "mx.example[192.0.2.1]:25".
func remoteHost(s mail.Status) string {
	host, _, _ := strings.Cut(s.Remote, "[")
	if domain, err := mail.ParseDomain(host); err == nil {
		return domain.String()
	}
	return ""
}

// isAtom tells whether s can be an address type (RFC 3464 section 2.1.2).
func isAtom(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 40
}

func asciiOnly(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= 0x80 {
			return '?'
		}
		return c
	}, s)
}

// fold writes a field with lines of at most 76 octets where it has spaces, and
// of at most 900 in any case.
func fold(b *strings.Builder, field string) {
	for len(field) > 76 {
		n := strings.LastIndexByte(field[:76], ' ')
		if n < strings.IndexByte(field, ' ')+1 {
			n = strings.IndexByte(field[76:], ' ') + 76
			if n < 76 || n > lineCut {
				n = runeStart(field, min(len(field), lineCut))
			}
		}
		if n == len(field) {
			break
		}
		b.WriteString(field[:n])
		b.WriteString("\r\n ")
		field = strings.TrimLeft(field[n:], " ")
	}
	b.WriteString(field)
	b.WriteString("\r\n")
}

// runeStart is the last octet up to n where s may be cut.
func runeStart(s string, n int) int {
	for n > 0 && n < len(s) && s[n]&0xc0 == 0x80 {
		n--
	}
	return n
}
