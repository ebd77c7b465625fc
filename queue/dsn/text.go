package dsn

import (
	"fmt"
	"strings"

	"gatepost/mail"
)

// text is the part for people: what happened, why, and what they can do.
func (r *report) text() string {
	var b strings.Builder
	line := func(format string, args ...any) {
		wrap(&b, "", fmt.Sprintf(format, args...))
	}
	line("This is the mail system at %s.", r.options.Hostname)
	line("")
	line("%s", map[Kind]string{
		Failure: "Your message could not be delivered to the recipients below. It will not be tried again.",
		Delay:   "Your message is still waiting for the recipients below. You need not do anything: it will be tried again, and you will hear from us if it fails for good.",
		Success: "Your message was passed on for the recipients below to a system that will not tell what becomes of it. You asked to be told.",
	}[r.Kind])
	line("")
	if r.returned.subject != "" {
		line("Subject: %s", r.returned.subject)
	}
	line("Sent: %s", r.Message.Received.UTC().Format(dateFormat))
	line("Reference: %s", r.Message.ID)
	for _, to := range r.Recipients {
		line("")
		r.recipientText(&b, to)
	}
	line("")
	line("If you need help, write to %s and give the reference %s.", r.options.Postmaster.String(), r.Message.ID)
	return b.String()
}

func (r *report) recipientText(b *strings.Builder, to Recipient) {
	wrap(b, "", to.Address.Path())
	say := func(format string, args ...any) { wrap(b, "    ", mail.SafeText(fmt.Sprintf(format, args...), 2000)) }
	if hint := r.hint(to); hint != "" {
		say("%s", hint)
	}
	switch s := to.Status; {
	case s.Code == 0:
	case s.Said && s.Remote != "":
		say("The mail server %s said: %s", s.Remote, s)
	case s.Remote != "":
		say("%s, when we spoke to %s (%s)", s.Text, s.Remote, codes(s))
	default:
		say("%s (%s)", s.Text, codes(s))
	}
	if r.Kind == Delay {
		say("It will be tried until %s.", to.Until.UTC().Format(dateFormat))
	}
}

func codes(s mail.Status) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", s.Code, s.Enhanced))
}

// hints explain enhanced codes (RFC 3463) by subject and detail; detail 0 is
// any other of the subject.
var hints = map[[2]uint16]string{
	{1, 0}:  "The address is not right, or no longer. Please check how it is written.",
	{1, 2}:  "The domain of the address does not exist. Please check how it is written.",
	{1, 10}: "The domain of the address takes no mail.",
	{2, 0}:  "The recipient's mailbox does not take the message.",
	{2, 1}:  "The recipient's mailbox is disabled.",
	{2, 2}:  "The recipient's mailbox is full. Please try again later or reach the recipient in another way.",
	{2, 3}:  "The message is too large for the recipient. Please send less, or a link.",
	{3, 4}:  "The message is too large for the recipient's mail system. Please send less, or a link.",
	{4, 0}:  "The recipient's mail system could not be reached.",
	{6, 0}:  "The recipient's mail system cannot take a message of this form.",
	{7, 0}:  "The recipient's mail system refused the message by its rules. Only its administrators can say why and change that.",
}

// hint is what a failure means for somebody who does not know codes.
func (r *report) hint(to Recipient) string {
	if to.Expired {
		return "It was tried again and again, and is given up now. The last attempt ended like this:"
	}
	if r.Kind != Failure {
		return ""
	}
	e := to.Status.Enhanced
	if hint, ok := hints[[2]uint16{e[1], e[2]}]; ok {
		return hint
	}
	return hints[[2]uint16{e[1], 0}]
}

// wrap writes a paragraph in lines of at most 72 octets, where it has spaces.
func wrap(b *strings.Builder, indent, paragraph string) {
	line := indent
	for word := range strings.FieldsSeq(paragraph) {
		for len(word) > lineCut {
			n := runeStart(word, lineCut)
			b.WriteString(strings.TrimRight(line, " ") + "\r\n" + indent + word[:n] + "\r\n")
			line, word = indent, word[n:]
		}
		if len(line)+len(word) > 72 && line != indent {
			b.WriteString(strings.TrimRight(line, " ") + "\r\n")
			line = indent
		}
		line += word + " "
	}
	b.WriteString(strings.TrimRight(line, " ") + "\r\n")
}
