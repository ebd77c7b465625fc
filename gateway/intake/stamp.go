package intake

import (
	"crypto/tls"
	"strings"
	"time"

	"gatepost/mail"
)

// foldAt is where a line of ours is folded (RFC 5322 section 2.1.1).
const foldAt = 78

// tlsClause is how TLS stands in a Received field.
type tlsClause struct{ version, cipher string }

func newTLSClause(state tls.ConnectionState) tlsClause {
	return tlsClause{tlsVersionText(state), tls.CipherSuiteName(state.CipherSuite)}
}

// protocol is the word behind "with" (RFC 3848, RFC 6531 section 4.3).
func (s *session) protocol(authenticated, utf8 bool) string {
	s.mu.Lock()
	extended := s.extended
	s.mu.Unlock()
	if !extended {
		return "SMTP"
	}
	name := "ESMTP"
	if utf8 {
		name = "UTF8SMTP"
	}
	if s.secure {
		name += "S"
	}
	if authenticated {
		name += "A"
	}
	return name
}

// prefix is what stands before the message: newest first, as each hop does.
func (s *session) prefix(m *message, now time.Time) []byte {
	var b []byte
	if m.who.Role == mail.RoleMX {
		b = append(b, s.Policy.TagField(m.verdict)...)
		b = append(b, m.facts.AuthenticationResults(s.authservID)...)
	}
	b = append(b, s.received(m, now)...)
	if m.who.Role != mail.RoleRelay {
		return b
	}
	// RFC 6409 section 8: a submission server completes the header.
	if !m.header.Has("Date") {
		b = append(b, "Date: "+rfc5322Date(now)+"\r\n"...)
	}
	if !m.header.Has("Message-ID") {
		b = append(b, "Message-ID: <"+m.id.String()+"@"+s.hostname+">\r\n"...)
	}
	return b
}

// received is the Received field (RFC 5321 section 4.4). All that a stranger
// said is a checked domain or is left out.
func (s *session) received(m *message, now time.Time) string {
	f := folder{}
	f.add("Received:", "from", s.fromDomain(m), s.tcpInfo(m))
	if s.secure {
		f.next("(using", s.cipher.version, "with", "cipher", s.cipher.cipher+")")
	}
	f.next("by", s.hostname, "with", m.with, "id", m.id.String())
	if len(m.env.Recipients) == 1 { // with several it would show one to the others
		f.next("for", m.env.Recipients[0].Address.Path())
	}
	f.attach(";")
	f.next(rfc5322Date(now))
	return f.String()
}

// fromDomain is what the client called itself, or its address where that is
// no domain.
func (s *session) fromDomain(m *message) string {
	if d, ok := heloDomain(m.who.Helo); ok {
		return d.String()
	}
	return mail.LiteralDomain(m.who.Addr).String()
}

// tcpInfo is the client as we see it.
func (s *session) tcpInfo(m *message) string {
	literal := mail.LiteralDomain(m.who.Addr).String()
	if d, err := mail.ParseDomain(m.iprev.Name); err == nil && m.iprev.Value == "pass" {
		return "(" + d.String() + " " + literal + ")"
	}
	return "(" + literal + ")"
}

func rfc5322Date(t time.Time) string { return t.UTC().Format("Mon, 2 Jan 2006 15:04:05 -0700") }

// folder writes a field word by word and folds long lines.
type folder struct {
	b    strings.Builder
	line int
}

// add puts words behind each other.
func (f *folder) add(words ...string) {
	for _, w := range words {
		switch {
		case f.line == 0:
		case f.line+1+len(w) > foldAt:
			f.b.WriteString("\r\n\t")
			f.line = 1
		default:
			f.b.WriteByte(' ')
			f.line++
		}
		f.b.WriteString(w)
		f.line += len(w)
	}
}

// next begins a new line.
func (f *folder) next(words ...string) {
	f.b.WriteString("\r\n\t")
	f.line = 0
	f.add(words...)
}

// attach puts s behind the last word.
func (f *folder) attach(s string) {
	f.b.WriteString(s)
	f.line += len(s)
}

// String is the field with its CRLF.
func (f *folder) String() string { return f.b.String() + "\r\n" }
