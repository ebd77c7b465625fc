package failure

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	netmail "net/mail"
	"strings"
	"time"

	"gatepost/mail"
)

// hashLength is how much of a hash stands for a local part: 96 bits.
const hashLength = 16

// Redactor replaces what would tell who somebody is.
type Redactor struct{ Key []byte }

// local is what stands for a local part (RFC 6590 section 3, with HMAC-SHA-256
// instead of a plain hash). The domain goes in, so that the same name at two
// domains cannot be joined, and case does not.
func (r Redactor) local(local, domain string) string {
	mac := hmac.New(sha256.New, r.Key)
	mac.Write([]byte(strings.ToLower(local) + "@" + strings.ToLower(domain)))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))[:hashLength]
}

// Address is a mailbox between angle brackets without its local part; the null
// reverse-path stays as it is.
func (r Redactor) Address(a mail.Address) string {
	if a.IsNull() {
		return "<>"
	}
	return "<" + r.local(a.Local(), a.Domain().String()) + "@" + a.Domain().String() + ">"
}

// text replaces every local part in running text: all that stands before an
// "@" and may belong to it, rather too much than too little.
func (r Redactor) text(s string) string {
	var b strings.Builder
	for {
		at := strings.IndexByte(s, '@')
		if at < 0 {
			b.WriteString(s)
			return b.String()
		}
		begin := localBegin(s[:at])
		end := at + 1 + len(s[at+1:]) - len(strings.TrimLeft(s[at+1:], domainOctets))
		b.WriteString(s[:begin])
		if begin < at {
			b.WriteString(r.local(s[begin:at], s[at+1:end]))
		}
		b.WriteString(s[at:end])
		s = s[end:]
	}
}

const domainOctets = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

// localBegin is where the local part at the end of s begins. "=" may belong to
// it, but for the names of RFC 8601's properties.
func localBegin(s string) int {
	if strings.HasSuffix(s, `"`) {
		if open := strings.IndexByte(s, '"'); open < len(s)-1 {
			return open
		}
		return 0
	}
	begin := strings.LastIndexAny(s, " \t\r\n<>()[],;:\"") + 1
	if name, _, ok := strings.Cut(s[begin:], "="); ok && (strings.HasPrefix(name, "smtp.") || strings.HasPrefix(name, "header.")) {
		return begin + len(name) + 1
	}
	return begin
}

// header redacts the fields of an excerpt. What cannot be read is left out:
// nobody could say what it would tell.
func (r Redactor) header(fields []mail.Field) []string {
	var out []string
	for _, f := range fields {
		value, name := "", ""
		switch {
		case f.Is("From"):
			name, value = "From", r.mailboxes(f.Value())
		case f.Is("Date"):
			name, value = "Date", date(f.Value())
		case f.Is("Message-ID"):
			name, value = "Message-ID", messageID(f.Value())
		case f.Is("Subject"):
			name, value = "Subject", "[redacted]"
		case f.Is("DKIM-Signature"):
			name, value = "DKIM-Signature", r.signature(f.Value())
		}
		if value != "" {
			out = append(out, name+": "+value)
		}
	}
	return out
}

// mailboxes are the addresses of a From field, without names.
func (r Redactor) mailboxes(value string) string {
	list, err := mail.ParseAddressHeader(value)
	if err != nil {
		return ""
	}
	var out []string
	for _, box := range list[:min(len(list), 10)] {
		out = append(out, r.Address(box.Address))
	}
	return strings.Join(out, ", ")
}

// date is rewritten: a field that is none could hold anything.
func date(value string) string {
	t, err := netmail.ParseDate(value)
	if err != nil {
		return ""
	}
	return t.Format(time.RFC1123Z)
}

// messageID stays as it is, for the owner of the domain finds the message in
// his log by it. It must look like one (RFC 5322 section 3.6.4).
func messageID(value string) string {
	inner, ok := strings.CutPrefix(value, "<")
	inner, ok2 := strings.CutSuffix(inner, ">")
	left, right, ok3 := strings.Cut(inner, "@")
	if !ok || !ok2 || !ok3 || len(value) > 250 || !isAtoms(left) || !isAtoms(right) {
		return ""
	}
	return value
}

func isAtoms(s string) bool {
	return s != "" && strings.IndexFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~.", c)
	}) < 0
}

// signatureTags are kept of a DKIM-Signature: what its owner needs to see why
// it failed. z= holds copies of header fields (RFC 6376 section 3.5).
var signatureTags = map[string]bool{
	"v": true, "a": true, "c": true, "d": true, "s": true, "t": true, "x": true, "l": true, "q": true, "h": true, "bh": true, "b": true, "i": true,
}

// signature writes the known tags again, each once, i= redacted.
func (r Redactor) signature(value string) string {
	var out []string
	seen := map[string]bool{}
	for tag := range strings.SplitSeq(value, ";") {
		name, v, ok := strings.Cut(tag, "=")
		name = strings.TrimSpace(name)
		if !ok || !signatureTags[name] || seen[name] {
			continue
		}
		seen[name] = true
		v = strings.Join(strings.Fields(mail.SafeText(v, 2000)), "")
		if name == "i" {
			v = r.identity(v)
		}
		if v != "" && (name == "i" || !strings.Contains(v, "@")) {
			out = append(out, name+"="+v)
		}
	}
	return strings.Join(out, "; ")
}

// identity is an i= (RFC 6376 section 3.5): a local part, which may be empty
// and is encoded in ways of its own, and a domain.
func (r Redactor) identity(s string) string {
	at := strings.LastIndexByte(s, '@')
	d, err := mail.ParseDomain(s[at+1:])
	switch {
	case at < 0 || err != nil:
		return ""
	case at == 0:
		return "@" + d.String()
	}
	return r.local(s[:at], d.String()) + "@" + d.String()
}

func asciiOnly(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= 0x80 || c < ' ' {
			return '?'
		}
		return c
	}, s)
}
