package inbox

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/report/extract"
	"gatepost/store"
	"gatepost/store/storetest"
)

// clock is the time of all tests here.
func clock() time.Time { return time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC) }

type rig struct {
	*Inbox
	t     *testing.T
	store *store.Store
	ids   *mail.IDSource
	now   time.Time
	// proven is what the messages prove to come from.
	proven string
}

func each(t *testing.T, change func(*Options), test func(r *rig)) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		r := &rig{t: t, store: open(Schema), now: clock()}
		var err error
		if r.ids, err = mail.NewIDSource(clock, rand.Reader); err != nil {
			t.Fatal(err)
		}
		o := Options{Store: r.store, IDs: r.ids, Now: func() time.Time { return r.now }, Proven: func(*mail.Message) string { return r.proven }}
		if change != nil {
			change(&o)
		}
		if r.Inbox, err = New(o); err != nil {
			t.Fatal(err)
		}
		test(r)
	})
}

// consume gives a message to the inbox.
func (r *rig) consume(content string) Summary {
	r.t.Helper()
	s, err := r.Consume(r.t.Context(), r.message(content))
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) message(content string) *mail.Message {
	return &mail.Message{ID: r.ids.Next(), Content: mail.MemoryBody([]byte(content))}
}

func domain(t *testing.T, s string) mail.Domain {
	t.Helper()
	d, err := mail.ParseDomain(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// row is one record of a report made by xmlReport.
type row struct {
	ip                     string
	count                  int
	disposition, dkim, spf string
	from                   string
}

func xmlReport(org, id, domain string, rows ...row) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<?xml version="1.0"?><feedback><report_metadata><org_name>%s</org_name><report_id>%s</report_id>`+
		`<date_range><begin>%d</begin><end>%d</end></date_range></report_metadata><policy_published><domain>%s</domain><p>reject</p></policy_published>`,
		org, id, clock().Add(-48*time.Hour).Unix(), clock().Add(-24*time.Hour).Unix(), domain)
	for _, r := range rows {
		fmt.Fprintf(&b, `<record><row><source_ip>%s</source_ip><count>%d</count><policy_evaluated><disposition>%s</disposition><dkim>%s</dkim><spf>%s</spf></policy_evaluated></row>`+
			`<identifiers><header_from>%s</header_from></identifiers></record>`, r.ip, r.count, r.disposition, r.dkim, r.spf, r.from)
	}
	return b.String() + "</feedback>"
}

func letter(kind, name, body string) string {
	return "From: Reporter <noreply@reporter.example>\r\nMessage-ID: <1@reporter.example>\r\nMIME-Version: 1.0\r\nContent-Type: " + kind + "; name=\"" + name + "\"\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte(body)) + "\r\n"
}

func xmlLetter(report string) string { return letter("text/xml", "report.xml", report) }

func TestSources(t *testing.T) {
	each(t, nil, func(r *rig) {
		a := row{"192.0.2.1", 10, "none", "pass", "fail", "example.com"}
		b := row{"192.0.2.2", 5, "reject", "fail", "fail", "example.com"}
		sub := row{"2001:db8::1", 2, "quarantine", "fail", "pass", "sub.example.com"}
		first := xmlLetter(xmlReport("google.com", "1", "example.com", a, b))
		r.proven = "google.com"
		if s := r.consume(first); s.Stored != 1 || s.Duplicates != 0 {
			r.t.Fatalf("the first: %+v", s)
		}
		if s := r.consume(first); s.Stored != 0 || s.Duplicates != 1 {
			r.t.Errorf("the same again: %+v", s)
		}
		r.proven = "yahooinc.com"
		r.consume(xmlLetter(xmlReport("yahoo.com", "1", "example.com", b, sub)))
		r.consume(xmlLetter(xmlReport("yahoo.com", "1", "example.net", a)))
		got, err := r.Sources(r.t.Context(), domain(r.t, "example.com"), clock().Add(-30*24*time.Hour))
		if err != nil {
			r.t.Fatal(err)
		}
		// The record of example.com in the report about example.net counts too.
		if want := (Figures{Messages: 32, DMARC: 22, DKIM: 20, SPF: 2, Quarantine: 2, Reject: 10}); got.Total != want {
			r.t.Errorf("total %+v, want %+v", got.Total, want)
		}
		var text []string
		for _, s := range got.Sources {
			text = append(text, fmt.Sprint(s.Source, " ", s.Messages, " ", s.DMARC, " ", s.Reject, " ", s.Orgs))
		}
		want := "192.0.2.1 20 20 0 [google.com yahoo.com (yahooinc.com)]; 192.0.2.2 10 0 10 [google.com yahoo.com (yahooinc.com)]; 2001:db8::1 2 2 0 [yahoo.com (yahooinc.com)]"
		if strings.Join(text, "; ") != want {
			r.t.Errorf("sources %q,\nwant %q", strings.Join(text, "; "), want)
		}
		old, err := r.Sources(r.t.Context(), domain(r.t, "example.com"), clock())
		if err != nil || old.Reports != 0 || len(old.Sources) != 0 {
			r.t.Errorf("none so late: %+v, %v", old, err)
		}
		below, err := r.Sources(r.t.Context(), domain(r.t, "sub.example.com"), time.Unix(0, 0))
		if err != nil || below.Total.Messages != 2 || below.Reports != 1 {
			r.t.Errorf("a subdomain in a report about the domain above: %+v, %v", below, err)
		}
	})
}

func TestListAndShow(t *testing.T) {
	each(t, nil, func(r *rig) {
		r.consume(xmlLetter(xmlReport("google.com", "1", "example.com", row{"192.0.2.1", 3, "none", "pass", "fail", "example.com"})))
		r.consume("From: x@y.example\r\nSubject: hello\r\n\r\nno report\r\n")
		list, err := r.List(r.t.Context(), Filter{Limit: 10})
		if err != nil || len(list) != 1 {
			r.t.Fatalf("%d reports, %v", len(list), err)
		}
		got, rows, err := r.Show(r.t.Context(), list[0].ID, 10)
		if err != nil || got.Sender != "Reporter <noreply@reporter.example>" || got.Messages != 3 || got.Passed != 3 || len(rows) != 1 || rows[0].Source != "192.0.2.1" || rows[0].DKIM != "pass" {
			r.t.Errorf("%+v, %+v, %v", got, rows, err)
		}
		for _, f := range []Filter{{Kind: extract.TLS, Limit: 9}, {Domain: domain(r.t, "example.net"), Limit: 9}, {Since: clock().Add(time.Hour), Limit: 9}} {
			if none, err := r.List(r.t.Context(), f); err != nil || len(none) != 0 {
				r.t.Errorf("%+v: %d reports, %v", f, len(none), err)
			}
		}
		if _, err := r.List(r.t.Context(), Filter{Kind: "x", Limit: 9}); !errors.Is(err, ErrKind) {
			r.t.Errorf("a kind that is none: %v", err)
		}
		unread, err := r.Unread(r.t.Context(), time.Unix(0, 0), 10)
		if err != nil || len(unread) != 1 || unread[0].Reason != "there is no report in the message" {
			r.t.Fatalf("unread %+v, %v", unread, err)
		}
		kept, err := r.ShowUnread(r.t.Context(), unread[0].ID)
		if err != nil || !strings.Contains(string(kept.Content), "no report\r\n") {
			r.t.Errorf("kept %q, %v", kept.Content, err)
		}
		for _, id := range []mail.ID{1, list[0].ID} {
			if _, err := r.ShowUnread(r.t.Context(), id); !errors.Is(err, ErrUnknown) {
				r.t.Errorf("%s: %v", id, err)
			}
		}
		if _, _, err := r.Show(r.t.Context(), unread[0].ID, 1); !errors.Is(err, ErrUnknown) {
			r.t.Errorf("what was not read is no report: %v", err)
		}
	})
}

func rowsOf(n int) []row {
	var out []row
	for i := range n {
		ip := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		out = append(out, row{ip.String(), 1, "none", "pass", "pass", "example.com"})
	}
	return out
}

// TestLargeReport: written in several batches, it is there when all are.
func TestLargeReport(t *testing.T) {
	each(t, nil, func(r *rig) {
		const n = 3*rowsAtOnce + 7
		big := r.message(xmlLetter(xmlReport("google.com", "big", "example.com", rowsOf(n)...)))
		cut := &breaking{Store: r.store, after: 2}
		r.o.Store = cut
		if s, err := r.Consume(r.t.Context(), big); err == nil {
			r.t.Fatalf("the store broke, and nobody heard: %+v", s)
		}
		r.o.Store = r.store
		if list, err := r.List(r.t.Context(), Filter{Limit: 10}); err != nil || len(list) != 0 {
			r.t.Errorf("half a report is listed: %+v, %v", list, err)
		}
		if half, err := r.Sources(r.t.Context(), domain(r.t, "example.com"), time.Unix(0, 0)); err != nil || half.Reports != 0 || len(half.Sources) != 0 {
			r.t.Errorf("half a report is counted: %+v, %v", half.Total, err)
		}
		other := r.message(xmlLetter(xmlReport("google.com", "big", "example.com", rowsOf(1)...)))
		if _, err := r.Consume(r.t.Context(), other); !errors.Is(err, errBusy) {
			r.t.Errorf("another while it is written: %v", err)
		}
		if s, err := r.Consume(r.t.Context(), big); err != nil || s.Stored != 1 {
			r.t.Fatalf("the second try: %+v, %v", s, err)
		}
		got, err := r.Sources(r.t.Context(), domain(r.t, "example.com"), time.Unix(0, 0))
		if err != nil || got.Total.Messages != n || len(got.Sources) != n || got.Reports != 1 {
			r.t.Errorf("%d messages of %d sources in %d reports, %v", got.Total.Messages, len(got.Sources), got.Reports, err)
		}
	})
}

// TestHalfReports: one that nobody finishes goes after a day.
func TestHalfReports(t *testing.T) {
	each(t, nil, func(r *rig) {
		r.o.Store = &breaking{Store: r.store, after: 1}
		if _, err := r.Consume(r.t.Context(), r.message(xmlLetter(xmlReport("google.com", "big", "example.com", rowsOf(rowsAtOnce+1)...)))); !errors.Is(err, errBroken) {
			r.t.Fatal(err)
		}
		r.o.Store = r.store
		for _, c := range []struct {
			after time.Duration
			left  int64
		}{{time.Hour, 1}, {25 * time.Hour, 0}} {
			r.now = clock().Add(c.after)
			if err := r.Expire(r.t.Context(), time.Unix(0, 0)); err != nil {
				r.t.Fatal(err)
			}
			var n int64
			if err := r.store.Get(r.t.Context(), "SELECT COUNT(*) FROM report_in", nil, &n); err != nil || n != c.left {
				r.t.Errorf("after %s: %d reports, %v", c.after, n, err)
			}
		}
	})
}

// hiding is a store in which another node's report cannot be seen yet.
type hiding struct{ Store }

func (h hiding) Get(ctx context.Context, sql string, args []any, dest ...any) error {
	if strings.Contains(sql, "report_id = ?") {
		return store.ErrNotFound
	}
	return h.Store.Get(ctx, sql, args, dest...)
}

// TestTwoNodes: the same report at the same moment is stored once, and the
// other node looks again.
func TestTwoNodes(t *testing.T) {
	each(t, nil, func(r *rig) {
		letter := xmlLetter(xmlReport("google.com", "1", "example.com", rowsOf(1)...))
		r.consume(letter)
		r.o.Store = hiding{r.store}
		m := r.message(letter)
		if _, err := r.Consume(r.t.Context(), m); !errors.Is(err, errBusy) {
			r.t.Errorf("at the same moment: %v", err)
		}
		r.o.Store = r.store
		if s, err := r.Consume(r.t.Context(), m); err != nil || s.Duplicates != 1 {
			r.t.Errorf("a moment later: %+v, %v", s, err)
		}
	})
}

var errBroken = errors.New("broken")

// breaking is a store that breaks after some batches.
type breaking struct {
	Store
	after int
}

func (b *breaking) Submit(ctx context.Context, statements ...store.Statement) ([]int64, error) {
	if b.after--; b.after < 0 {
		return nil, errBroken
	}
	return b.Store.Submit(ctx, statements...)
}

func TestExpire(t *testing.T) {
	each(t, nil, func(r *rig) {
		r.consume(xmlLetter(xmlReport("google.com", "old", "example.com", rowsOf(rowsAtOnce+1)...)))
		r.consume("Subject: no report\r\n\r\n")
		r.now = clock().Add(10 * 24 * time.Hour)
		r.consume(xmlLetter(xmlReport("google.com", "new", "example.com", rowsOf(1)...)))
		if err := r.Expire(r.t.Context(), clock().Add(24*time.Hour)); err != nil {
			r.t.Fatal(err)
		}
		list, err := r.List(r.t.Context(), Filter{Limit: 10})
		if err != nil || len(list) != 1 || list[0].ReportID != "new" {
			r.t.Errorf("left: %+v, %v", list, err)
		}
		for table, want := range map[string]int64{"report_in": 1, "report_in_record": 1, "report_in_unread": 0} {
			var n int64
			if err := r.store.Get(r.t.Context(), "SELECT COUNT(*) FROM "+table, nil, &n); err != nil || n != want {
				r.t.Errorf("%s has %d rows, want %d, %v", table, n, want, err)
			}
		}
	})
}

// TestBounds: neither reports nor rubbish fill the disk.
func TestBounds(t *testing.T) {
	each(t, func(o *Options) { o.Reports, o.Records, o.Unread, o.Content = 3, 10, 2, 30 }, func(r *rig) {
		for i, want := range []struct{ rows, stored int }{{4, 1}, {6, 1}, {1, 0}, {0, 1}, {0, 0}} {
			r.proven = fmt.Sprintf("reporter%d.example", i)
			s := r.consume(xmlLetter(xmlReport("google.com", fmt.Sprint(i), "example.com", rowsOf(want.rows)...)))
			if s.Stored != want.stored || want.stored == 0 && !strings.Contains(s.String(), "no more room") {
				r.t.Errorf("report %d with %d records: %s", i, want.rows, s)
			}
		}
		r.consume("Subject: last\r\n\r\n" + strings.Repeat("x", 1000))
		unread, err := r.Unread(r.t.Context(), time.Unix(0, 0), 10)
		if err != nil || len(unread) != 2 {
			r.t.Fatalf("%d kept, %v", len(unread), err)
		}
		kept, err := r.ShowUnread(r.t.Context(), unread[0].ID)
		if err != nil || len(kept.Content) != 30 || kept.Size != 1017 || !strings.HasPrefix(string(kept.Content), "Subject: last") {
			r.t.Errorf("kept %d octets of %d: %q, %v", len(kept.Content), kept.Size, kept.Content, err)
		}
	})
}

// TestStrangersOctets: nothing that a stranger writes makes the store refuse
// the batch, for then the message would be tried again for days.
func TestStrangersOctets(t *testing.T) {
	each(t, nil, func(r *rig) {
		bad := "a\x00b\xff\xfe\u202ec"
		r.consume("From: " + bad + "\r\nMessage-ID: " + bad + "\r\nContent-Type: text/xml; name=\"" + bad + ".xml\"\r\n\r\n<" + bad)
		r.consume(xmlLetter(strings.ReplaceAll(xmlReport("go\xffgle", "i\xffd", "example.com", row{"192.0.2.1", 1, "no\xffne", "pa\xffss", "\xff", "\xff.example"}), "<record>", "\xff<record>")))
		r.consume(letter("application/json", "x.json", `{"organization-name":"\u0000\ud800","report-id":"\u0000x","date-range":{"start-datetime":"2026-01-01T00:00:00Z","end-datetime":"2026-01-02T00:00:00Z"},`+
			`"policies":[{"policy":{"policy-type":"\u0000","policy-domain":"example.com"}}]}`))
		r.consume("Message-ID: <f@x>\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: a\x00\xff\r\nReported-Domain: example.com\r\nUser-Agent: \xff\x00\r\nDelivery-Result: \xff\x00\r\n")
		list, err := r.List(r.t.Context(), Filter{Limit: 10})
		if err != nil || len(list) != 3 {
			r.t.Errorf("%d reports, %v: %+v", len(list), err, list)
		}
		if unread, err := r.Unread(r.t.Context(), time.Unix(0, 0), 10); err != nil || len(unread) != 1 {
			r.t.Errorf("unread: %+v, %v", unread, err)
		}
	})
}

// TestOneMessageTwice: the queue may hand a message over again after a crash.
func TestOneMessageTwice(t *testing.T) {
	each(t, nil, func(r *rig) {
		for _, content := range []string{"Subject: nothing\r\n\r\n", xmlLetter(xmlReport("google.com", "1", "example.com", rowsOf(2)...))} {
			m := r.message(content)
			for range 2 {
				if _, err := r.Consume(r.t.Context(), m); err != nil {
					r.t.Fatal(err)
				}
			}
		}
		list, err := r.List(r.t.Context(), Filter{Limit: 10})
		unread, err2 := r.Unread(r.t.Context(), time.Unix(0, 0), 10)
		if err != nil || err2 != nil || len(list) != 1 || len(unread) != 1 {
			r.t.Errorf("%d reports, %d unread, %v, %v", len(list), len(unread), err, err2)
		}
	})
}

// TestLongKeys: an index has room for 2,700 octets of key on PostgreSQL.
func TestLongKeys(t *testing.T) {
	each(t, nil, func(r *rig) {
		long := strings.Repeat("ü", 5000)
		r.consume(xmlLetter(xmlReport(long, long, "example.com", rowsOf(1)...)))
		if list, err := r.List(r.t.Context(), Filter{Limit: 10}); err != nil || len(list) != 1 || len(list[0].ReportID) > maxKey {
			r.t.Errorf("%+v, %v", list, err)
		}
	})
}
