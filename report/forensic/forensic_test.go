package forensic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
	"gatepost/dnsx"
	"gatepost/mail"
	"gatepost/policy"
	"gatepost/report/extract"
	"gatepost/report/failure"
	"gatepost/store"
)

func domain(t testing.TB, s string) mail.Domain {
	t.Helper()
	d, err := mail.ParseDomain(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func addr(t testing.TB, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s, false)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// world is everything around a Sender.
type world struct {
	t        *testing.T
	now      time.Time
	settings Settings
	paused   map[string]bool
	counts   map[string]int64
	trouble  error
	refuse   error
	next     mail.ID
	accepted []*mail.Message
	with     []store.Statement
	told     map[string]int
}

func (w *world) Paused(_ context.Context, a mail.Address) (bool, error) {
	return w.paused[a.String()], w.trouble
}

func (w *world) Count(_ context.Context, a mail.Address, since time.Time) (int64, error) {
	if !since.Equal(w.now.Add(-24 * time.Hour)) {
		w.t.Errorf("counted since %s", since)
	}
	return w.counts[a.String()], nil
}

func (w *world) Copies(m *mail.Message) []store.Statement {
	return []store.Statement{{SQL: "copies of " + m.ID.String()}}
}

func (w *world) Accept(_ context.Context, m *mail.Message, with []store.Statement) error {
	if w.refuse == nil {
		w.accepted, w.with = append(w.accepted, m), with
	}
	return w.refuse
}

func (w *world) Next() mail.ID { w.next++; return w.next }

// FailureDestinations takes every mailto; a domain "no.example" refuses, "!" is a size.
func (w *world) FailureDestinations(_ context.Context, policyDomain mail.Domain, uris []dmarc.ReportURI) (ok []dmarc.Destination, refused []dmarc.RefusedDestination, err error) {
	for _, u := range uris {
		a := addr(w.t, strings.TrimPrefix(u.URI, "mailto:"))
		if a.Domain() == domain(w.t, "no.example") {
			refused = append(refused, dmarc.RefusedDestination{URI: u.URI, Reason: "no"})
		} else {
			ok = append(ok, dmarc.Destination{Address: a, MaxSize: u.MaxSize})
		}
	}
	return ok, refused, nil
}

func (w *world) TXT(_ context.Context, name string) (dnsx.Answer[string], error) {
	if name != "bounce.author.example" {
		return dnsx.Answer[string]{}, errors.New("no such name")
	}
	return dnsx.Answer[string]{Records: []string{"other", "V=spf1 -all"}}, nil
}

func newWorld(t *testing.T) (*world, *Sender) {
	w := &world{t: t, now: time.Unix(1700000000, 0), paused: map[string]bool{}, counts: map[string]int64{}, told: map[string]int{}}
	w.settings = Settings{Enabled: true, From: addr(t, "dmarc@receiver.example"), Org: "Receiver", Submitter: domain(t, "mx.receiver.example"), Software: "Gatepost/1",
		PerDomain: 10, PerHour: 100, DNS: w, Ours: func(d mail.Domain) bool { return d == domain(t, "ours.example") }}
	x, err := New(Options{Settings: func() Settings { return w.settings }, Addresses: w, Acceptor: w, IDs: w, Redactor: failure.Redactor{Key: []byte("k")},
		Now: func() time.Time { return w.now }, Count: func(result string) { w.told[result]++ }})
	if err != nil {
		t.Fatal(err)
	}
	return w, x
}

// drain sends what waits, as Run does.
func (w *world) drain(x *Sender) {
	for {
		select {
		case j := <-x.jobs:
			w.told[x.send(w.t.Context(), j)]++
		default:
			return
		}
	}
}

// message is one that fails: author.example asks by record.
func message(t testing.TB, record string, change ...func(*Message)) Message {
	t.Helper()
	r, err := dmarc.ParseRecord(record)
	if err != nil {
		t.Fatal(err)
	}
	h, err := mail.ParseHeader([]byte("From: Alice <alice@author.example>\r\nTo: victim@receiver.example\r\nSubject: secret\r\nMessage-ID: <1@author.example>\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	author := domain(t, "author.example")
	m := Message{ID: 99, At: time.Unix(1700000000, 0), Client: netip.MustParseAddr("192.0.2.1"), Port: 25000, Helo: "bad.example",
		Envelope: &mail.Envelope{From: addr(t, "bob@bounce.author.example"), Recipients: []mail.Recipient{{Address: addr(t, "victim@receiver.example")}}},
		Verdict:  &policy.Verdict{Action: policy.Reject}, Header: h,
		Facts: &policy.Facts{Proved: true, From: addr(t, "alice@author.example"), SPF: spf.Result{Value: "fail", Domain: domain(t, "bounce.author.example"), Identity: "mailfrom"},
			DKIM:  []dkim.Result{{Value: "fail", Domain: domain(t, "other.example"), Selector: "o"}, {Value: "fail", Domain: author, Selector: "s1", Identity: "alice@author.example"}},
			DMARC: dmarc.Result{Value: dmarc.Fail, From: author, PolicyDomain: author, Policy: "reject", Record: r}}}
	for _, f := range change {
		f(&m)
	}
	return m
}

const asks = "v=DMARC1; p=reject; fo=1; ruf=mailto:ruf@author.example"

// read is the report that was sent last.
func (w *world) read() *failure.Report {
	w.t.Helper()
	if len(w.accepted) == 0 {
		w.t.Fatalf("nothing was sent: %v", w.told)
	}
	m := w.accepted[len(w.accepted)-1]
	body, err := m.Content.Open(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer body.Close()
	found, err := extract.Message(body, extract.Limits{})
	if err != nil || len(found.Documents) != 1 {
		w.t.Fatal(found, err)
	}
	r, err := failure.Parse(found.Documents[0].Data, found.Documents[0].Original)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func TestReport(t *testing.T) {
	w, x := newWorld(t)
	x.Offer(message(t, asks))
	w.drain(x)
	r := w.read()
	m := w.accepted[0]
	if m.Origin.Role != mail.RoleInternal || m.Origin.From != domain(t, "receiver.example") || m.Envelope.From != w.settings.From || len(m.Envelope.Recipients) != 1 ||
		m.Envelope.Recipients[0].Notify != mail.NotifyNever || m.Envelope.Recipients[0].Address != addr(t, "ruf@author.example") || w.with[0].SQL != "copies of "+m.ID.String() {
		t.Errorf("%+v %+v", m, w.with)
	}
	if r.AuthFailure != "dmarc" || r.Delivery != "reject" || r.Alignment != "dkim, spf" || r.DKIMDomain != "author.example" || r.DKIMSel != "s1" || r.Source.String() != "192.0.2.1" || r.Incidents != "1" {
		t.Errorf("%+v", r)
	}
	body, err := m.Content.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	for _, private := range []string{"alice", "bob", "victim", "secret"} {
		if strings.Contains(strings.ToLower(string(text)), private) {
			t.Errorf("it tells %q:\n%s", private, text)
		}
	}
	if !strings.Contains(string(text), `SPF-DNS: txt : bounce.author.example : "V=spf1 -all"`) || m.Shape.HeaderSize != int64(strings.Index(string(text), "\r\n\r\n")+4) {
		t.Errorf("no SPF record, or a header of %d:\n%s", m.Shape.HeaderSize, text)
	}
	if w.told[Sent] != 1 || strings.Contains(string(text), "header.i=") {
		t.Error(w.told, string(text))
	}
}

// TestNamesLeakThroughWords: a Message-ID that names the recipient, and a
// domain in an SPF record that a macro made of the sender's local part.
func TestNamesLeakThroughWords(t *testing.T) {
	for id, told := range map[string]bool{"<20261121.Victim=receiver.example@list.example>": false, "<1@author.example>": true} {
		w, x := newWorld(t)
		x.Offer(message(t, asks, func(m *Message) {
			h, err := mail.ParseHeader([]byte("From: alice@author.example\r\nMessage-ID: " + id + "\r\n\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			m.Header, m.Envelope.Recipients[0].Address = h, addr(t, "victim+list@receiver.example")
			m.Facts.SPF.Value, m.Facts.SPF.Reason = "permerror", "syntax error in the SPF record of bob.bounce.author.example: unknown field"
		}))
		w.drain(x)
		body, err := w.accepted[0].Content.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(body)
		if err != nil || strings.Contains(strings.ToLower(string(text)), "victim") || strings.Contains(string(text), "bob.") {
			t.Errorf("%s: %v\n%s", id, err, text)
		}
		if strings.Contains(string(text), "Message-ID: "+id) != told {
			t.Errorf("%s is told: %t", id, !told)
		}
	}
}

// TestWhatIsReported: by fo= and what failed.
func TestWhatIsReported(t *testing.T) {
	aligned := func(m *Message) { m.Facts.DMARC.Value, m.Facts.DMARC.DKIMAligned = dmarc.Pass, true }
	good := func(m *Message) {
		aligned(m)
		m.Facts.DMARC.SPFAligned, m.Facts.SPF.Value, m.Facts.DKIM = true, "pass", []dkim.Result{{Value: "pass"}}
	}
	for _, c := range []struct {
		fo, what string
		change   func(*Message)
		want     string
	}{
		{"0", "all failed", func(*Message) {}, "dmarc"},
		{"0", "DKIM aligned", aligned, ""},
		{"1", "all failed", func(*Message) {}, "dmarc"},
		{"1", "DKIM aligned, SPF not", aligned, "dmarc"},
		{"1", "all aligned", good, ""},
		{"1", "SPF could not be asked", func(m *Message) { aligned(m); m.Facts.SPF.Value = "temperror" }, ""},
		{"1", "DKIM could not be asked", func(m *Message) {
			good(m)
			m.Facts.DMARC.DKIMAligned, m.Facts.DKIM = false, []dkim.Result{{Value: "temperror"}}
		}, ""},
		{"d", "a bad signature", aligned, "signature"},
		{"d", "none bad", good, ""},
		{"d", "no signature at all", func(m *Message) { m.Facts.DKIM = nil }, ""},
		{"s", "SPF fails", aligned, "spf"},
		{"s", "SPF is neutral", func(m *Message) { m.Facts.SPF.Value = "neutral" }, ""},
		{"d:s", "both", aligned, "signature"},
		{"0:d", "all failed", func(*Message) {}, "dmarc"},
		{"0:s", "DKIM aligned", aligned, "spf"},
		{"1", "DNS trouble", func(m *Message) { m.Facts.DMARC.Value = dmarc.TempError }, ""},
		{"1", "a bad record", func(m *Message) { m.Facts.DMARC.Value = dmarc.PermError }, ""},
		{"1", "a report", func(m *Message) { m.Facts.Report = true }, ""},
		{"1", "a notice", func(m *Message) { m.Envelope.From = mail.Address{} }, ""},
		{"1", "a machine's answer", func(m *Message) {
			m.Header.Fields = append(m.Header.Fields, mail.Field{Name: "auto-submitted", Raw: []byte("auto-submitted: auto-replied\r\n")})
		}, ""},
		{"1", "a person's letter", func(m *Message) {
			m.Header.Fields = append(m.Header.Fields, mail.Field{Name: "Auto-Submitted", Raw: []byte("Auto-Submitted: No\r\n")})
		}, "dmarc"},
		{"1", "put off", func(m *Message) { m.Verdict.Action = policy.Defer }, ""},
		{"1", "behind a filter of ours, by nobody knows whom", func(m *Message) { m.Facts.Upstream = policy.Upstream{By: m.Client, Reason: "x"} }, ""},
		{"1", "not judged", func(m *Message) { m.Facts.Proved = false }, ""},
		{"1", "not readable", func(m *Message) { m.Facts.Unread = "x" }, ""},
		{"1", "our own domain", func(m *Message) { m.Facts.DMARC.From = domain(t, "ours.example") }, ""},
		{"1", "policy of our own domain", func(m *Message) { m.Facts.DMARC.PolicyDomain = domain(t, "ours.example") }, ""},
		{"1; psd=y", "a public suffix", func(*Message) {}, ""},
		{"1", "no ruf", func(m *Message) { m.Facts.DMARC.Record.Failure = nil }, ""},
		{"1", "no record", func(m *Message) { m.Facts.DMARC.Record = nil }, ""},
	} {
		w, x := newWorld(t)
		x.Offer(message(t, "v=DMARC1; p=reject; ruf=mailto:ruf@author.example; fo="+c.fo, c.change))
		w.drain(x)
		got := ""
		if len(w.accepted) > 0 {
			got = w.read().AuthFailure
		}
		if got != c.want {
			t.Errorf("fo=%s, %s: %q, want %q", c.fo, c.what, got, c.want)
		}
	}
}

func TestOff(t *testing.T) {
	w, x := newWorld(t)
	x.Offer(message(t, asks))
	w.settings.Enabled = false // switched off while it waits
	x.Offer(message(t, asks, func(m *Message) { m.Helo = "x" }))
	w.drain(x)
	if len(w.accepted) > 0 || w.told[Dropped] != 1 || len(w.told) != 1 {
		t.Error(w.told)
	}
}

func TestDestinations(t *testing.T) {
	const two = "v=DMARC1; p=none; ruf=mailto:a@author.example,mailto:b@author.example"
	for _, c := range []struct {
		name, record string
		change       func(*world)
		want, result string
	}{
		{"both", two, func(*world) {}, "a@author.example b@author.example", Sent},
		{"one paused", two, func(w *world) { w.paused["a@author.example"] = true }, "b@author.example", Sent},
		{"all paused", asks, func(w *world) { w.paused["ruf@author.example"] = true }, "", Paused},
		{"one has enough", two, func(w *world) { w.counts["b@author.example"] = 10 }, "a@author.example", Sent},
		{"all have enough", asks, func(w *world) { w.counts["ruf@author.example"] = 10 }, "", Limited},
		{"not quite enough", asks, func(w *world) { w.counts["ruf@author.example"] = 9 }, "ruf@author.example", Sent},
		{"not verified", "v=DMARC1; p=none; ruf=mailto:a@no.example", func(*world) {}, "", NoDestination},
		{"one not verified", "v=DMARC1; p=none; ruf=mailto:a@no.example,mailto:a@author.example", func(*world) {}, "a@author.example", Sent},
		{"too small for it", "v=DMARC1; p=none; ruf=mailto:a@author.example!1k", func(*world) {}, "", NoDestination},
		{"one too small for it", "v=DMARC1; p=none; ruf=mailto:a@author.example!1k,mailto:b@author.example!20k", func(*world) {}, "b@author.example", Sent},
		{"the store is away", asks, func(w *world) { w.trouble = errors.New("away") }, "", Failed},
		{"the queue is full", asks, func(w *world) { w.refuse = errors.New("full") }, "", Failed},
	} {
		w, x := newWorld(t)
		c.change(w)
		x.Offer(message(t, c.record))
		w.drain(x)
		var to []string
		for _, m := range w.accepted {
			for _, r := range m.Envelope.Recipients {
				to = append(to, r.Address.String())
			}
		}
		if strings.Join(to, " ") != c.want || w.told[c.result] != 1 {
			t.Errorf("%s: to %v, %v", c.name, to, w.told)
		}
	}
}

// TestLimits: one for each kind and hour, so many for a domain and day, so
// many in an hour; the next one tells how many there were.
func TestLimits(t *testing.T) {
	w, x := newWorld(t)
	w.settings.PerDomain, w.settings.PerHour = 2, 3
	from := func(last byte, domain mail.Domain) func(*Message) {
		return func(m *Message) {
			m.Client = netip.AddrFrom4([4]byte{192, 0, 2, last})
			m.Facts.DMARC.PolicyDomain = domain
		}
	}
	a, b, c := domain(t, "a.example"), domain(t, "b.example"), domain(t, "c.example")
	offer := func(change func(*Message)) { x.Offer(message(t, asks, change)) }
	for range 5 {
		offer(from(1, a))
	}
	offer(from(2, a))
	offer(from(3, a)) // the domain has enough
	offer(from(1, b))
	offer(from(1, c)) // the hour has enough
	w.drain(x)
	if w.told[Sent] != 3 || w.told[Repeated] != 4 || w.told[Limited] != 2 {
		t.Error(w.told)
	}
	w.now = w.now.Add(time.Hour)
	offer(from(1, a)) // still the same day
	offer(from(1, b))
	w.drain(x)
	if w.told[Sent] != 4 || w.told[Limited] != 3 || w.read().Incidents != "1" {
		t.Error(w.told)
	}
	offer(from(1, b))
	offer(from(1, b))
	w.now = w.now.Add(time.Hour)
	offer(from(1, b))
	w.drain(x)
	if w.told[Sent] != 5 || w.read().Incidents != "3" {
		t.Error(w.told, w.read().Incidents)
	}
	w.now = w.now.Add(24 * time.Hour)
	offer(from(1, a))
	w.drain(x)
	if w.told[Sent] != 6 {
		t.Error(w.told)
	}
}

// TestOfferNeverWaits: under a flood memory is bounded, and what does not fit
// is counted.
func TestOfferNeverWaits(t *testing.T) {
	w, x := newWorld(t)
	w.settings.PerHour, w.settings.PerDomain = 1<<30, 1<<30
	for i := range maxKnown + 500 {
		x.Offer(message(t, asks, func(m *Message) { m.Client = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }))
	}
	if len(x.jobs) != waiting || w.told[Dropped] != maxKnown-waiting || w.told[Limited] != 500 || len(x.limits.seen) != maxKnown {
		t.Errorf("%d wait, %v, %d known", len(x.jobs), w.told, len(x.limits.seen))
	}
}

// TestDomainsAreBounded: over the hours of a day too.
func TestDomainsAreBounded(t *testing.T) {
	l, s := newLimits(), Settings{PerDomain: 1 << 30, PerHour: 1 << 30}
	now := time.Unix(1700000000, 0)
	for i := range maxKnown {
		l.admit(domain(t, fmt.Sprintf("d%d.example", i)), fmt.Sprint(i), now, s)
	}
	if _, result := l.admit(domain(t, "new.example"), "new", now.Add(time.Hour), s); result != Limited || len(l.domains) != maxKnown {
		t.Errorf("%q with %d domains", result, len(l.domains))
	}
}

// TestClientBehindAFilter: the report tells the client that was judged.
func TestClientBehindAFilter(t *testing.T) {
	w, x := newWorld(t)
	x.Offer(message(t, asks, func(m *Message) {
		m.Facts.Upstream = policy.Upstream{Addr: netip.MustParseAddr("2001:db8::9"), Helo: "real.example"}
		m.Verdict.Action = policy.Quarantine
	}))
	if j := <-x.jobs; j.incident.Helo != "real.example" || j.incident.Port != 0 {
		t.Errorf("%+v", j.incident)
	} else {
		x.jobs <- j
	}
	w.drain(x)
	if r := w.read(); r.Source.String() != "2001:db8::9" || r.Delivery != "policy" {
		t.Errorf("%+v", r)
	}
}

// TestSubdomainsUseUpTheHour: who has one name has all names below it.
func TestSubdomainsUseUpTheHour(t *testing.T) {
	w, x := newWorld(t)
	w.settings.PerDomain, w.settings.PerHour = 2, 5
	for i := range 20 {
		x.Offer(message(t, asks, func(m *Message) { m.Facts.DMARC.PolicyDomain = domain(t, fmt.Sprintf("a%d.evil.example", i)) }))
	}
	x.Offer(message(t, asks))
	w.drain(x)
	if w.told[Sent] != 3 || w.told[Limited] != 18 {
		t.Error(w.told)
	}
}

func TestRunEndsAndCounts(t *testing.T) {
	w, x := newWorld(t)
	x.Offer(message(t, asks))
	ctx, cancel := context.WithCancel(t.Context())
	x.o.Count = func(result string) { w.told[result]++; cancel() }
	if err := x.Run(ctx); err != nil || w.told[Sent] != 1 {
		t.Error(err, w.told)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("a sender without anything")
	}
	if fmt.Sprint(delivery(policy.Tag)) != "delivered" {
		t.Error("tagged mail is delivered")
	}
}
