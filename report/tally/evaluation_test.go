package tally

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
	"gatepost/mail"
	"gatepost/policy"
)

func domain(t testing.TB, s string) mail.Domain {
	t.Helper()
	d, err := mail.ParseDomain(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func address(t testing.TB, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s, true)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func noon() time.Time { return time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC) }

// failing is a message that fails p=reject of example.com and was let in.
func failing(t testing.TB) Message {
	t.Helper()
	record, err := dmarc.ParseRecord("v=DMARC1; p=reject; sp=quarantine; rua=mailto:d@example.com; ruf=mailto:f@example.com; fo=1:d; adkim=s")
	if err != nil {
		t.Fatal(err)
	}
	return Message{
		At: noon(), Client: netip.MustParseAddr("192.0.2.1"),
		Envelope: &mail.Envelope{From: address(t, "b@bounce.example"), Recipients: []mail.Recipient{{Address: address(t, "x@ours.test")}, {Address: address(t, "y@ours.test")}}},
		Facts: &policy.Facts{
			Proved: true, From: address(t, "a@news.example.com"),
			SPF:         spf.Result{Value: "pass", Domain: domain(t, "bounce.example"), Identity: "mailfrom"},
			DKIM:        []dkim.Result{{Value: "fail", Domain: domain(t, "example.com"), Selector: "s1"}},
			DMARC:       dmarc.Result{Value: "fail", From: domain(t, "news.example.com"), PolicyDomain: domain(t, "example.com"), Policy: "reject", Record: record},
			Disposition: policy.Disposition{Requested: "reject", Applied: "reject"},
		},
		Verdict: &policy.Verdict{Action: policy.Accept},
	}
}

func TestEvaluation(t *testing.T) {
	m := failing(t)
	m.Facts.Disposition.Override = "monitor"
	want := `{"source":"192.0.2.1","header_from":"news.example.com","envelope_from":"bounce.example","envelope_to":"ours.test","disposition":"none",` +
		`"reason":{"type":"local_policy","comment":"monitor"},"signatures":[{"domain":"example.com","selector":"s1","result":"fail"}],` +
		`"sender":{"domain":"bounce.example","scope":"mfrom","result":"pass"},"policy":{"p":"reject","sp":"quarantine","adkim_strict":true,"pct":100,"fo":["1","d"]}}`
	got, err := json.Marshal(m.evaluate())
	if err != nil || string(got) != want {
		t.Errorf("got  %s\nwant %s, %v", got, want, err)
	}
	var back Evaluation
	if err := json.Unmarshal(got, &back); err != nil || !reflect.DeepEqual(back, m.evaluate()) {
		t.Errorf("read back %+v, %v", back, err)
	}
}

// TestDispositions: what was done, and why it is not what was asked for.
func TestDispositions(t *testing.T) {
	for name, c := range map[string]struct {
		value, policy, override string
		action                  policy.Action
		rule, want              string
	}{
		"pass":                           {"pass", "reject", "", policy.Accept, "", "pass"},
		"pass, rejected by SPF":          {"pass", "reject", "", policy.Reject, "spf", "reject local_policy spf"},
		"fail, rejected":                 {"fail", "reject", "", policy.Reject, "dmarc", "reject"},
		"fail, quarantined":              {"fail", "quarantine", "", policy.Quarantine, "dmarc", "quarantine"},
		"fail, tagged":                   {"fail", "quarantine", "", policy.Tag, "dmarc", "quarantine"},
		"fail, nothing asked":            {"fail", "none", "", policy.Accept, "", "none"},
		"nothing asked, rejected by SPF": {"fail", "none", "", policy.Reject, "spf", "reject local_policy spf"},
		"rejected as spoofed":            {"fail", "reject", "", policy.Reject, "spoofed", "reject local_policy spoofed"},
		"local policy":                   {"fail", "reject", "local_policy", policy.Quarantine, "dmarc", "quarantine local_policy local_policy"},
		"test mode":                      {"fail", "reject", "testing", policy.Quarantine, "dmarc", "quarantine policy_test_mode "},
		"test mode of quarantine":        {"fail", "quarantine", "testing", policy.Accept, "", "none policy_test_mode "},
		"sampled out":                    {"fail", "quarantine", "sampled_out", policy.Accept, "", "none sampled_out "},
		"forwarder":                      {"fail", "reject", "trusted_forwarder", policy.Accept, "", "none trusted_forwarder list.example"},
		"monitor":                        {"fail", "reject", "monitor", policy.Accept, "", "none local_policy monitor"},
		"override":                       {"fail", "reject", "policy_override", policy.Accept, "override", "none local_policy policy_override"},
		"override to a tag":              {"fail", "reject", "policy_override", policy.Tag, "override", "quarantine local_policy policy_override"},
		"policy switched to accept":      {"fail", "reject", "", policy.Accept, "", "none local_policy "},
	} {
		m := failing(t)
		m.Facts.DMARC.Value, m.Facts.DMARC.Policy, m.Facts.Disposition.Override = c.value, c.policy, c.override
		m.Facts.Disposition.Sealer = domain(t, "list.example")
		m.Facts.Disposition.Note = "for the eyes of our administrators"
		m.Verdict = &policy.Verdict{Action: c.action, Rule: c.rule}
		e := m.evaluate()
		got := e.Disposition
		if e.Reason != (Reason{}) {
			got += " " + e.Reason.Type + " " + e.Reason.Comment
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestWhatCounts: only what was judged by a record that asks for reports.
func TestWhatCounts(t *testing.T) {
	if m := failing(t); !m.counts() {
		t.Fatal("the plain case does not count")
	}
	for name, change := range map[string]func(*Message){
		"exempt, relayed or internal": func(m *Message) { m.Facts.Proved = false },
		"behind a filter, unknown":    func(m *Message) { m.Facts.Upstream.By = netip.MustParseAddr("10.0.0.1") },
		"a report":                    func(m *Message) { m.Facts.Report = true },
		"no record":                   func(m *Message) { m.Facts.DMARC = dmarc.Result{Value: "none"} },
		"DNS trouble":                 func(m *Message) { m.Facts.DMARC.Value = "temperror" },
		"an unusable record":          func(m *Message) { m.Facts.DMARC.Value = "permerror" },
		"no rua":                      func(m *Message) { m.Facts.DMARC.Record.Aggregate = nil },
		"put off":                     func(m *Message) { m.Verdict.Action = policy.Defer },
	} {
		m := failing(t)
		change(&m)
		if m.counts() {
			t.Errorf("%s: counts", name)
		}
	}
}

// TestKey: what a report tells apart has another key, and nothing else has.
func TestKey(t *testing.T) {
	seen := map[string]string{}
	same := failing(t)
	seen[string(same.append(nil))] = "the plain case"
	for name, change := range map[string]func(*Message){
		"policy domain": func(m *Message) { m.Facts.DMARC.PolicyDomain = domain(t, "news.example.com") },
		"source":        func(m *Message) { m.Client = netip.MustParseAddr("2001:db8::1") },
		"upstream":      func(m *Message) { m.Facts.Upstream.Addr = netip.MustParseAddr("192.0.2.99") },
		"header from":   func(m *Message) { m.Facts.From = address(t, "a@example.com") },
		"envelope from": func(m *Message) { m.Envelope.From = mail.Address{} },
		"envelope to": func(m *Message) {
			m.Envelope.Recipients = []mail.Recipient{{Address: address(t, "x@third.test")}}
		},
		"two domains":    func(m *Message) { m.Envelope.Recipients[1].Address = address(t, "y@other.test") },
		"disposition":    func(m *Message) { m.Verdict = &policy.Verdict{Action: policy.Reject, Rule: "dmarc"} },
		"reason":         func(m *Message) { m.Facts.Disposition.Override = "sampled_out" },
		"comment":        func(m *Message) { m.Facts.Disposition.Override = "monitor" },
		"dkim aligned":   func(m *Message) { m.Facts.DMARC.DKIMAligned = true },
		"spf aligned":    func(m *Message) { m.Facts.DMARC.SPFAligned = true },
		"spf result":     func(m *Message) { m.Facts.SPF.Value = "fail" },
		"spf domain":     func(m *Message) { m.Facts.SPF.Domain = domain(t, "other.example") },
		"spf scope":      func(m *Message) { m.Facts.SPF.Identity = "helo" },
		"selector":       func(m *Message) { m.Facts.DKIM[0].Selector = "s2" },
		"signer":         func(m *Message) { m.Facts.DKIM[0].Domain = domain(t, "d.example") },
		"signature":      func(m *Message) { m.Facts.DKIM[0].Value = "pass" },
		"no signature":   func(m *Message) { m.Facts.DKIM = nil },
		"two signatures": func(m *Message) { m.Facts.DKIM = append(m.Facts.DKIM, m.Facts.DKIM[0]) },
		"p":              func(m *Message) { m.Facts.DMARC.Record.Policy = "none" },
		"sp":             func(m *Message) { m.Facts.DMARC.Record.Subdomains = "" },
		"np":             func(m *Message) { m.Facts.DMARC.Record.NonExistent = "none" },
		"adkim":          func(m *Message) { m.Facts.DMARC.Record.DKIMStrict = false },
		"aspf":           func(m *Message) { m.Facts.DMARC.Record.SPFStrict = true },
		"t":              func(m *Message) { m.Facts.DMARC.Record.Testing = true },
		"pct":            func(m *Message) { m.Facts.DMARC.Record.Pct = 0 },
		"fo":             func(m *Message) { m.Facts.DMARC.Record.FailureOptions = []string{"1"} },
		"fo and signer": func(m *Message) {
			m.Facts.DMARC.Record.FailureOptions = []string{"1"}
			m.Facts.DKIM[0].Domain = domain(t, "dexample.com")
		},
	} {
		m := failing(t)
		change(&m)
		key := string(m.append(nil))
		if other, ok := seen[key]; ok {
			t.Errorf("%s has the key of %s", name, other)
		}
		seen[key] = name
		if reflect.DeepEqual(m.evaluate(), same.evaluate()) && name != "policy domain" {
			t.Errorf("%s makes no other evaluation", name)
		}
	}
	for name, change := range map[string]func(*Message){
		"time":      func(m *Message) { m.At = m.At.Add(time.Hour) },
		"recipient": func(m *Message) { m.Envelope.Recipients[0].Address = address(t, "z@ours.test") },
		"mailbox":   func(m *Message) { m.Facts.From = address(t, "z@news.example.com") },
		"note":      func(m *Message) { m.Facts.Disposition.Note = "x" },
	} {
		m := failing(t)
		change(&m)
		if string(m.append(nil)) != string(same.append(nil)) {
			t.Errorf("%s changes the key", name)
		}
	}
}

// TestSignatures: the best come first, and there are not too many.
func TestSignatures(t *testing.T) {
	f := failing(t).Facts
	f.DKIM = nil
	for range 20 {
		f.DKIM = append(f.DKIM, dkim.Result{Value: "fail", Domain: domain(t, "junk.example")})
	}
	for _, s := range []string{"other.example", "example.com", "news.example.com"} {
		f.DKIM = append(f.DKIM, dkim.Result{Value: "pass", Domain: domain(t, s)})
	}
	f.DKIM = append(f.DKIM, dkim.Result{Value: "permerror"}) // no domain at all
	var got []string
	for _, s := range signatures(f, nil) {
		got = append(got, s.Domain.String())
	}
	if len(got) != maxSignatures || got[0] != "news.example.com" || got[1] != "example.com" || got[2] != "other.example" || got[3] != "junk.example" {
		t.Errorf("%v", got)
	}
}

func TestDay(t *testing.T) {
	for text, want := range map[string]string{
		"2026-11-01T00:00:00Z": "2026-11-01", "2026-11-01T23:59:59Z": "2026-11-01", "2026-11-01T23:59:59-01:00": "2026-11-02",
		"1969-12-31T23:00:00Z": "1969-12-31", "1970-01-01T00:00:00Z": "1970-01-01",
	} {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		d := DayOf(at)
		var back Day
		if err := back.UnmarshalText([]byte(d.String())); d.String() != want || back != d || err != nil {
			t.Errorf("%s: %s, %s, %v", text, d, back, err)
		}
	}
	var d Day
	if d.UnmarshalText([]byte("1.11.2026")) == nil {
		t.Error("a day that is none was read")
	}
}
