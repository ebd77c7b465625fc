package forensic

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/mail"
	"gatepost/policy"
	"gatepost/report/failure"
)

// eligible tells whether a report about m may be sent at all.
func eligible(m *Message, ours func(mail.Domain) bool) bool {
	f := m.Facts
	r := f.DMARC.Record
	switch {
	case !f.Proved || f.Unread != "" || r == nil || len(r.Failure) == 0:
		return false // nobody asks
	case r.PSD == "y":
		return false // RFC 9991 section 2: not for the owner of a public suffix
	case f.Upstream.Hidden():
		return false // we would tell of a filter of ours
	case f.Report || m.Envelope.From.IsNull() || automatic(m.Header):
		return false // reports about reports, notices and answers would go on for ever
	case m.Verdict.Action == policy.Defer:
		return false // it comes again
	case ours(f.DMARC.From) || ours(f.DMARC.PolicyDomain):
		return false // the log tells us more
	}
	return true
}

// automatic tells whether a machine says that it sent the message (RFC 3834
// section 5).
func automatic(h mail.Header) bool {
	return slices.ContainsFunc(h.All("Auto-Submitted"), func(f mail.Field) bool { return !strings.EqualFold(f.Value(), "no") })
}

// failed is what failed as far as the record's fo= wishes to know (RFC 9989
// section 4.7); "" is nothing. DNS trouble is no failure.
func failed(f *policy.Facts) string {
	r := f.DMARC
	if r.Value != dmarc.Pass && r.Value != dmarc.Fail {
		return ""
	}
	asked := func(option string) bool { return slices.Contains(r.Record.FailureOptions, option) }
	switch {
	case r.Value == dmarc.Fail && (asked("0") || asked("1")):
		return failure.DMARC
	case asked("1") && len(unaligned(f)) > 0:
		return failure.DMARC
	case asked("d") && slices.ContainsFunc(f.DKIM, badSignature):
		return failure.Signature
	case asked("s") && (f.SPF.Value == "fail" || f.SPF.Value == "softfail"):
		return failure.SPF
	}
	return ""
}

// unaligned are the methods that gave no aligned pass, though DNS answered.
func unaligned(f *policy.Facts) []string {
	var out []string
	trouble := slices.ContainsFunc(f.DKIM, func(r dkim.Result) bool { return r.Value == "temperror" })
	if !f.DMARC.DKIMAligned && !trouble {
		out = append(out, "dkim")
	}
	if !f.DMARC.SPFAligned && f.SPF.Value != "temperror" {
		out = append(out, "spf")
	}
	return out
}

func badSignature(r dkim.Result) bool {
	return r.Value == "fail" || r.Value == "permerror" || r.Value == "policy"
}

// signature is the one to be told: a bad one of the author's domain, else any
// bad one.
func signature(f *policy.Facts) (dkim.Result, bool) {
	from := f.DMARC.From
	i := slices.IndexFunc(f.DKIM, func(r dkim.Result) bool {
		return badSignature(r) && (r.Domain.Within(from) || from.Within(r.Domain))
	})
	if i < 0 {
		i = slices.IndexFunc(f.DKIM, badSignature)
	}
	if i < 0 {
		return dkim.Result{}, false
	}
	return f.DKIM[i], true
}

// likeness is equal for messages that failed alike.
func likeness(m *Message, kind string) string {
	sig, _ := signature(m.Facts)
	return fmt.Sprintf("%s %s %s %s %s %q", m.Facts.DMARC.PolicyDomain, m.Facts.DMARC.From, client(m), kind, sig.Domain, sig.Selector)
}

// client is who brought the message to us or to the filter in front of us.
func client(m *Message) netip.Addr {
	if m.Facts.Upstream.Addr.IsValid() {
		return m.Facts.Upstream.Addr
	}
	return m.Client
}

// incident is what may be told of m.
func incident(m *Message, kind string, s Settings) failure.Incident {
	f := m.Facts
	i := failure.Incident{
		ID: m.ID, At: m.At, Client: client(m), Port: m.Port, Helo: m.Helo, MailFrom: m.Envelope.From, Domain: f.DMARC.From,
		Failure: kind, Delivery: delivery(m.Verdict.Action), Unaligned: unaligned(f), Results: results(f, s.Submitter),
		Header: withoutRecipients(failure.Excerpt(m.Header), m.Envelope), ReportingBy: s.Submitter.String(), Agent: s.Software,
	}
	if f.Upstream.Addr.IsValid() {
		i.Port, i.Helo = 0, f.Upstream.Helo
	}
	if sig, ok := signature(f); ok && !f.DMARC.DKIMAligned || ok && kind == failure.Signature {
		i.DKIMDomain, i.DKIMSel, i.DKIMID = sig.Domain, sig.Selector, sig.Identity
	}
	return i
}

// withoutRecipients leaves out a Message-ID in which a recipient's name stands,
// as senders of bulk mail like: whoever forged the message knows it, but the
// owner of the domain need not.
func withoutRecipients(fields []mail.Field, e *mail.Envelope) []mail.Field {
	return slices.DeleteFunc(fields, func(f mail.Field) bool {
		return f.Is("Message-ID") && slices.ContainsFunc(e.Recipients, func(r mail.Recipient) bool {
			name, _, _ := strings.Cut(strings.ToLower(r.Address.Local()), "+")
			return strings.Contains(strings.ToLower(f.Value()), name)
		})
	})
}

// delivery is the word for what became of the message (RFC 6591 section
// 3.2.2).
func delivery(a policy.Action) string {
	switch a {
	case policy.Reject:
		return "reject"
	case policy.Quarantine:
		return "policy"
	}
	return "delivered"
}

// results is our Authentication-Results without i=, which has a local part, and
// without words about SPF: they may name a domain that a macro made of one
// (RFC 7208 section 7.2).
func results(f *policy.Facts, by mail.Domain) string {
	told := *f
	told.SPF.Reason = ""
	told.DKIM = slices.Clone(f.DKIM)
	for i := range told.DKIM {
		told.DKIM[i].Identity = ""
	}
	return string(told.AuthenticationResults(by.String()))
}
