package tally

import (
	"net/netip"
	"time"

	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/mail"
	"gatepost/policy"
)

// Day is a day of UTC, in days since 1970.
type Day int64

// DayOf is the day that t lies in.
func DayOf(t time.Time) Day {
	seconds := t.Unix()
	d := seconds / secondsPerDay
	if seconds%secondsPerDay < 0 {
		d--
	}
	return Day(d)
}

const secondsPerDay = 24 * 60 * 60

// Begin is the first moment of the day, and the end of the day before.
func (d Day) Begin() time.Time { return time.Unix(int64(d)*secondsPerDay, 0).UTC() }

// String is the day as 2006-01-02.
func (d Day) String() string { return d.Begin().Format(time.DateOnly) }

// MarshalText writes the day as 2006-01-02.
func (d Day) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Day) UnmarshalText(b []byte) error {
	t, err := time.Parse(time.DateOnly, string(b))
	*d = DayOf(t)
	return err
}

// Message is one judged message of a stranger.
type Message struct {
	At       time.Time
	Client   netip.Addr
	Envelope *mail.Envelope
	Facts    *policy.Facts
	Verdict  *policy.Verdict
}

// The dispositions. Pass is RFC 9990's word for mail that passed DMARC and was
// let in.
const (
	Pass       = "pass"
	None       = "none"
	Quarantine = "quarantine"
	Reject     = "reject"
)

// The reasons why a disposition is not what the policy asks for.
const (
	TestMode         = "policy_test_mode"
	SampledOut       = "sampled_out"
	TrustedForwarder = "trusted_forwarder"
	LocalPolicy      = "local_policy"
)

// Evaluation is what a report tells of a message. Messages with equal
// evaluations are counted together.
type Evaluation struct {
	Source       netip.Addr  `json:"source"`
	HeaderFrom   mail.Domain `json:"header_from"`
	EnvelopeFrom mail.Domain `json:"envelope_from,omitzero"`
	EnvelopeTo   mail.Domain `json:"envelope_to,omitzero"` // zero where recipients have several
	Disposition  string      `json:"disposition"`
	DKIM         bool        `json:"dkim,omitempty"` // passed and aligned
	SPF          bool        `json:"spf,omitempty"`  // likewise
	Reason       Reason      `json:"reason,omitzero"`
	Signatures   []Signature `json:"signatures,omitempty"`
	Sender       Sender      `json:"sender,omitzero"`
	Policy       Policy      `json:"policy"`
}

// Reason is why the disposition is not what the policy asks for.
type Reason struct {
	Type    string `json:"type,omitempty"`
	Comment string `json:"comment,omitempty"`
}

// Signature is the result of one DKIM signature.
type Signature struct {
	Domain   string `json:"domain"`
	Selector string `json:"selector,omitempty"`
	Result   string `json:"result"`
}

// Sender is the result of SPF.
type Sender struct {
	Domain string `json:"domain,omitempty"`
	Scope  string `json:"scope,omitempty"` // mfrom or helo
	Result string `json:"result,omitempty"`
}

// Policy is what the record said that the message was judged by.
type Policy struct {
	P          string   `json:"p"`
	SP         string   `json:"sp,omitempty"`
	NP         string   `json:"np,omitempty"`
	DKIMStrict bool     `json:"adkim_strict,omitempty"`
	SPFStrict  bool     `json:"aspf_strict,omitempty"`
	Pct        int      `json:"pct"`
	Testing    bool     `json:"t,omitempty"`
	FO         []string `json:"fo,omitempty"`
}

// counts tells whether the message belongs into a report: it was judged by a
// record that asks for reports, is none itself, its client is known though it
// came through a filter of ours, and it was not put off, for then it comes
// again.
func (m *Message) counts() bool {
	r := &m.Facts.DMARC
	return m.Facts.Proved && !m.Facts.Report && !m.Facts.Upstream.Hidden() && (r.Value == dmarc.Pass || r.Value == dmarc.Fail) &&
		r.Record != nil && len(r.Record.Aggregate) > 0 && !r.PolicyDomain.IsZero() && m.Verdict.Action != policy.Defer
}

// source is the client that was judged.
func (m *Message) source() netip.Addr {
	if a := m.Facts.Upstream.Addr; a.IsValid() {
		return a
	}
	return m.Client
}

// recipients is the domain of the recipients where all have the same.
func (m *Message) recipients() (d mail.Domain) {
	for i, r := range m.Envelope.Recipients {
		if i > 0 && r.Address.Domain() != d {
			return mail.Domain{}
		}
		d = r.Address.Domain()
	}
	return d
}

// disposition is what was done. A tag is a quarantine too: "flag as
// suspicious" (RFC 7489 section 6.3).
func (m *Message) disposition() string {
	switch m.Verdict.Action {
	case policy.Reject:
		return Reject
	case policy.Quarantine, policy.Tag:
		return Quarantine
	}
	if m.Facts.DMARC.Value == dmarc.Pass {
		return Pass
	}
	return None
}

// reason is why that is not what the domain's owner asked for. Mail that
// another rule stopped says so even where the policy would have done the same.
// The type mailing_list is not used: no rule knows one.
func (m *Message) reason() Reason {
	f, v := m.Facts, m.Verdict
	done := m.disposition()
	if v.Rule != "dmarc" && v.Action != policy.Accept && v.Rule != "override" {
		return Reason{LocalPolicy, v.Rule}
	}
	if done == Pass || done == f.DMARC.Policy {
		return Reason{}
	}
	switch f.Disposition.Override {
	case "testing":
		return Reason{Type: TestMode}
	case "sampled_out":
		return Reason{Type: SampledOut}
	case "trusted_forwarder":
		return Reason{TrustedForwarder, f.Disposition.Sealer.String()}
	case "":
		return Reason{Type: LocalPolicy}
	}
	return Reason{LocalPolicy, f.Disposition.Override}
}

// maxSignatures bounds the signatures of a row: RFC 9990 allows 100, and a
// sender makes as many as he likes.
const maxSignatures = 10

// maxNames bounds the octets of their domains and selectors together: names
// may be long, and rows are many.
const maxNames = 1024

// signatures picks the signatures of a row, in the order of RFC 9990 section
// 3.1.4: those that pass for the author's domain, for a name above or below
// it, for anybody, and the others.
func signatures(f *policy.Facts, picked []*dkim.Result) []*dkim.Result {
	from, names := f.From.Domain(), 0
	for class := range 4 {
		for i := range f.DKIM {
			s := &f.DKIM[i]
			if s.Domain.IsZero() || classOf(s, from) != class {
				continue
			}
			names += len(s.Domain.String()) + len(s.Selector)
			if len(picked) == maxSignatures || names > maxNames {
				return picked
			}
			picked = append(picked, s)
		}
	}
	return picked
}

func classOf(s *dkim.Result, from mail.Domain) int {
	switch {
	case s.Value != dkim.Pass:
		return 3
	case s.Domain == from:
		return 0
	case s.Domain.Within(from) || from.Within(s.Domain):
		return 1
	}
	return 2
}

func scope(identity string) string {
	if identity == "helo" {
		return "helo"
	}
	return "mfrom"
}

// evaluate writes out what append encodes.
func (m *Message) evaluate() Evaluation {
	f := m.Facts
	e := Evaluation{
		Source: m.source(), HeaderFrom: f.From.Domain(), EnvelopeFrom: m.Envelope.From.Domain(), EnvelopeTo: m.recipients(),
		Disposition: m.disposition(), DKIM: f.DMARC.DKIMAligned, SPF: f.DMARC.SPFAligned, Reason: m.reason(),
		Sender: Sender{f.SPF.Domain.String(), scope(f.SPF.Identity), f.SPF.Value},
	}
	for _, s := range signatures(f, nil) {
		e.Signatures = append(e.Signatures, Signature{s.Domain.String(), s.Selector, s.Value})
	}
	r := f.DMARC.Record
	e.Policy = Policy{r.Policy, r.Subdomains, r.NonExistent, r.DKIMStrict, r.SPFStrict, r.Pct, r.Testing, r.FailureOptions}
	return e
}

// append encodes the policy domain and the evaluation, so that equal ones and
// only those are equal. No text in it can hold the octet between them.
func (m *Message) append(b []byte) []byte {
	f := m.Facts
	text := func(s string) { b = append(append(b, s...), 0) }
	text(f.DMARC.PolicyDomain.String())
	b = append(m.source().AppendTo(b), 0)
	text(f.From.Domain().String())
	text(m.Envelope.From.Domain().String())
	text(m.recipients().String())
	text(m.disposition())
	b = appendFlags(b, f.DMARC.DKIMAligned, f.DMARC.SPFAligned)
	reason := m.reason()
	text(reason.Type)
	text(reason.Comment)
	text(f.SPF.Domain.String())
	text(scope(f.SPF.Identity))
	text(f.SPF.Value)
	b = appendPolicy(b, f.DMARC.Record)
	var room [maxSignatures]*dkim.Result
	for _, s := range signatures(f, room[:0]) {
		text(s.Domain.String())
		text(s.Selector)
		text(s.Value)
	}
	return b
}

func appendPolicy(b []byte, r *dmarc.Record) []byte {
	for _, s := range [...]string{r.Policy, r.Subdomains, r.NonExistent} {
		b = append(append(b, s...), 0)
	}
	b = append(appendFlags(b, r.DKIMStrict, r.SPFStrict, r.Testing), byte(r.Pct), 0)
	for _, option := range r.FailureOptions {
		b = append(b, option...)
	}
	return append(b, 0)
}

func appendFlags(b []byte, flags ...bool) []byte {
	for _, on := range flags {
		if on {
			b = append(b, '1')
		}
		b = append(b, 0)
	}
	return b
}
