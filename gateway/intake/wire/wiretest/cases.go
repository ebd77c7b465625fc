// Package wiretest holds the byte table: what becomes of each sequence of
// octets that a client may send as a message. It is the specification of
// package wire, and runs over {plain, STARTTLS, implicit TLS} x {DATA, BDAT}.
package wiretest

import (
	"strings"

	"gatepost/mail"
)

// LineLimit is the longest line the table expects to pass, with its CRLF.
const LineLimit = 64 << 10

// Form is the way a message comes in.
type Form string

// The forms.
const (
	DATA Form = "DATA"
	BDAT Form = "BDAT"
)

// Outcome is what becomes of a message: its content as it is accepted, or the
// reply that refuses it.
type Outcome struct {
	Content string
	Refused mail.Reply
}

// Case is one row.
type Case struct {
	Name string
	// Sent is what follows the 354 with the end of data, or the octets of BDAT.
	Sent string
	// Forms the row is about.
	Forms []Form
	// Reject and Normalize are the outcomes by newline policy.
	Reject, Normalize Outcome
}

var (
	onlyDATA = []Form{DATA}
	onlyBDAT = []Form{BDAT}
)

const (
	header = "From: a@example.com\r\nSubject: table\r\n\r\n"
	evil   = "MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nSubject: smuggled\r\n\r\nsmuggled\r\n"
	end    = ".\r\n"
)

func passes(content string) Outcome { return Outcome{Content: content} }
func refused(r mail.Reply) Outcome  { return Outcome{Refused: r} }
func row(name string, forms []Form, sent string, reject, normalize Outcome) Case {
	return Case{name, sent, forms, reject, normalize}
}

// same is a row whose outcome does not depend on the newline policy.
func same(name string, forms []Form, sent string, o Outcome) Case {
	return row(name, forms, sent, o, o)
}

// bare is a row that Reject refuses.
func bare(name string, forms []Form, sent, normalized string) Case {
	return row(name, forms, sent, refused(mail.ReplyBareNewline), passes(normalized))
}

// Cases is the whole table.
func Cases() []Case {
	var all []Case
	all = append(all, dots()...)
	all = append(all, smuggling()...)
	all = append(all, counted()...)
	all = append(all, newlines()...)
	return append(all, octets()...)
}

// dots: RFC 5321 section 4.5.2.
func dots() []Case {
	return []Case{
		same("plain", onlyDATA, header+"hello\r\n"+end, passes(header+"hello\r\n")),
		same("empty message", onlyDATA, end, passes("")),
		same("one empty line", onlyDATA, "\r\n"+end, passes("\r\n")),
		same("stuffed dot", onlyDATA, header+"..\r\n..x\r\n...\r\n"+end, passes(header+".\r\n.x\r\n..\r\n")),
		same("stuffed dot first", onlyDATA, "..x\r\n"+end, passes(".x\r\n")),
		same("dot that nobody stuffed", onlyDATA, header+".x\r\n"+end, passes(header+"x\r\n")),
		same("dot and blank", onlyDATA, header+". \r\n"+end, passes(header+" \r\n")),
		same("dots inside lines", onlyDATA, header+"a.\r\nb.c\r\n"+end, passes(header+"a.\r\nb.c\r\n")),
		same("stuffed end of data", onlyDATA, header+"..\r\n"+evil+end, passes(header+".\r\n"+evil)),
		same("trailing empty lines", onlyDATA, header+"x\r\n\r\n\r\n"+end, passes(header+"x\r\n\r\n\r\n")),
	}
}

// smuggling: whatever looks like an end of data to somebody but is not CRLF
// "." CRLF must not be one to us, and the commands behind it are content.
func smuggling() []Case {
	return []Case{
		bare("LF . LF", onlyDATA, header+"x\n.\n"+evil+end, header+"x\r\n.\r\n"+evil),
		bare("LF . CRLF", onlyDATA, header+"x\n.\r\n"+evil+end, header+"x\r\n.\r\n"+evil),
		bare("CR . CRLF", onlyDATA, header+"x\r.\r\n"+evil+end, header+"x\r\n.\r\n"+evil),
		bare("CR . CR", onlyDATA, header+"x\r.\r"+evil+end, header+"x\r\n.\r\n"+evil),
		bare("CR . LF", onlyDATA, header+"x\r.\n"+evil+end, header+"x\r\n.\r\n"+evil),
		bare("LF . CR", onlyDATA, header+"x\n.\r"+evil+end, header+"x\r\n.\r\n"+evil),
		bare("CRLF . LF", onlyDATA, header+"x\r\n.\n"+evil+end, header+"x\r\n\r\n"+evil),
		bare("CRLF . CR", onlyDATA, header+"x\r\n.\r"+evil+end, header+"x\r\n\r\n"+evil),
		bare("CRLF . CR CRLF", onlyDATA, header+"x\r\n.\r\r\n"+evil+end, header+"x\r\n\r\n"+evil),
		bare("CR CRLF . CR CRLF", onlyDATA, header+"x\r\r\n.\r\r\n"+evil+end, header+"x\r\n\r\n"+evil),
		bare("LF LF . LF LF", onlyDATA, header+"x\n\n.\n\n"+evil+end, header+"x\r\n\r\n.\r\n\r\n"+evil),
		// This one holds CRLF "." CRLF, behind a CR of its own.
		bare("CR CRLF . CRLF", onlyDATA, header+"x\r\r\n.\r\n", header+"x\r\n"),
		bare("first . LF", onlyDATA, ".\n"+evil+end, "\r\n"+evil),
		same("NUL CRLF . CRLF", onlyDATA, header+"x\x00\r\n"+end, refused(mail.ReplyNUL)),
		same("CRLF NUL . CRLF", onlyDATA, header+"x\r\n\x00.\r\n"+evil+end, refused(mail.ReplyNUL)),
		same("CRLF . NUL CRLF", onlyDATA, header+"x\r\n.\x00\r\n"+evil+end, refused(mail.ReplyNUL)),
		same("CRLF . CR NUL LF", onlyDATA, header+"x\r\n.\r\x00\n"+evil+end, refused(mail.ReplyNUL)),
		same("CRLF . blank CRLF", onlyDATA, header+"x\r\n. \r\n"+evil+end, passes(header+"x\r\n \r\n"+evil)),
		same("CRLF . . CRLF", onlyDATA, header+"x\r\n..\r\n"+evil+end, passes(header+"x\r\n.\r\n"+evil)),
		same("CRLF 0x85", onlyDATA, header+"x\x85.\x85"+evil+end, passes(header+"x\x85.\x85"+evil)),
		same("vertical tab and form feed", onlyDATA, header+"x\v.\v\f.\f"+evil+end, passes(header+"x\v.\v\f.\f"+evil)),
	}
}

// counted: BDAT ends by its count, so nothing in it ends it or is taken away.
func counted() []Case {
	return []Case{
		same("counted plain", onlyBDAT, header+"hello\r\n", passes(header+"hello\r\n")),
		same("counted nothing", onlyBDAT, "", passes("")),
		same("counted without last CRLF", onlyBDAT, header+"hello", passes(header+"hello")),
		same("counted dots", onlyBDAT, header+".\r\n..\r\n..x\r\n", passes(header+".\r\n..\r\n..x\r\n")),
		same("counted end of data", onlyBDAT, header+"x\r\n.\r\n"+evil+end, passes(header+"x\r\n.\r\n"+evil+end)),
		bare("counted LF . LF", onlyBDAT, header+"x\n.\n"+evil, header+"x\r\n.\r\n"+evil),
		bare("counted CR CRLF . CR CRLF", onlyBDAT, header+"x\r\r\n.\r\r\n"+evil, header+"x\r\n.\r\n"+evil),
		bare("counted last CR", onlyBDAT, header+"x\r", header+"x\r\n"),
		bare("counted last LF", onlyBDAT, header+"x\n", header+"x\r\n"),
		bare("counted CR only", onlyBDAT, "\r", "\r\n"),
	}
}

// newlines: bare CR and LF that look like nothing else.
func newlines() []Case {
	rows := []struct{ name, sent, normalized string }{
		{"bare LF", header + "a\nb\r\n", header + "a\r\nb\r\n"},
		{"bare CR", header + "a\rb\r\n", header + "a\r\nb\r\n"},
		{"CR CR LF", header + "a\r\r\nb\r\n", header + "a\r\nb\r\n"},
		{"LF CR", header + "a\n\rb\r\n", header + "a\r\n\r\nb\r\n"},
		{"many CR", header + "a\r\r\r\rb\r\r\r\n", header + "a\r\nb\r\n"},
		{"bare LF in the header", "From: a@example.com\nSubject: x\n\nbody\r\n", "From: a@example.com\r\nSubject: x\r\n\r\nbody\r\n"},
		{"bare CR in the header", "Subject: x\rFrom: evil@example.com\r\n\r\n", "Subject: x\r\nFrom: evil@example.com\r\n\r\n"},
		{"only LF", strings.Repeat("line\n", 2000) + "\r\n", strings.Repeat("line\r\n", 2000) + "\r\n"},
		{"LF at every octet", strings.Repeat("\n", 40000) + "\r\n", strings.Repeat("\r\n", 40000) + "\r\n"},
		{"CR at every octet", strings.Repeat("\r", 70000) + "\r\n", "\r\n"},
	}
	var out []Case
	for _, r := range rows {
		out = append(out, bare(r.name, onlyDATA, r.sent+end, r.normalized), bare("counted "+r.name, onlyBDAT, r.sent, r.normalized))
	}
	return out
}

// octets: NUL, 8-bit, long lines, long messages.
func octets() []Case {
	fits := strings.Repeat("x", LineLimit-2) + "\r\n"
	rows := []struct {
		name, sent string
		refused    mail.Reply
	}{
		{name: "all but NUL, CR and LF", sent: header + every() + "\r\n"},
		{name: "UTF-8", sent: "Subject: \xc3\xbcber\r\n\r\n\xe2\x82\xac\r\n"},
		{name: "no UTF-8", sent: header + "\xff\xfe\x80\r\n"},
		{name: "998 octets", sent: header + strings.Repeat("y", 998) + "\r\n"},
		{name: "more than 998 octets", sent: header + strings.Repeat("y", 9999) + "\r\n"},
		{name: "longest line", sent: header + fits + fits},
		{name: "longer than the longest line", sent: header + "x" + fits + fits, refused: mail.ReplyMessageLine},
		{name: "longest line by far", sent: header + strings.Repeat("z", 3*LineLimit) + "\r\n", refused: mail.ReplyMessageLine},
		{name: "many lines", sent: header + strings.Repeat(strings.Repeat("w", 76)+"\r\n", 5000)},
		{name: "many empty lines", sent: header + strings.Repeat("\r\n", 100000)},
		{name: "NUL in the header", sent: "Subject: a\x00b\r\n\r\nx\r\n", refused: mail.ReplyNUL},
		{name: "NUL in the body", sent: header + "a\x00b\r\n", refused: mail.ReplyNUL},
		{name: "NUL far behind", sent: header + strings.Repeat("line\r\n", 20000) + "\x00\r\n", refused: mail.ReplyNUL},
	}
	var out []Case
	for _, r := range rows {
		o := passes(r.sent)
		if !r.refused.IsZero() {
			o = refused(r.refused)
		}
		out = append(out, same(r.name, onlyDATA, r.sent+end, o), same("counted "+r.name, onlyBDAT, r.sent, o))
	}
	return out
}

// every is each octet but NUL, CR and LF.
func every() string {
	var b strings.Builder
	for i := 1; i < 256; i++ {
		if i != '\r' && i != '\n' {
			b.WriteByte(byte(i))
		}
	}
	return b.String()
}
