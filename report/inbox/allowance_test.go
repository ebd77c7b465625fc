package inbox

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/store"
)

func xmlOf(id int, rows int) string {
	return xmlLetter(xmlReport("google.com", fmt.Sprint(id), "example.com", rowsOf(rows)...))
}

// A stranger who knows the address sent a hundred messages, and there was no
// room for anybody's reports until they expired.
func TestOneSenderTookAllTheRoom(t *testing.T) {
	log := &bytes.Buffer{}
	each(t, func(o *Options) {
		o.Sender, o.Daily = Allowance{Reports: 3, Records: 10}, Allowance{Reports: 6}
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
	}, func(r *rig) {
		log.Reset()
		take := func(sender string, id, rows int) string {
			r.proven = sender
			return r.consume(xmlOf(id, rows)).String()
		}
		for i, want := range []string{"1 new", "1 new", "1 new", "flood.example sent 3 reports today", "flood.example sent 3 reports today"} {
			if got := take("flood.example", i, 1); !strings.Contains(got, want) {
				r.t.Errorf("message %d: %s", i, got)
			}
		}
		for _, c := range []struct {
			sender string
			rows   int
			want   string
		}{
			{"google.com", 9, "1 new"},                       // another sender has its own share
			{"google.com", 2, "2 more records than google."}, // by records
			{"google.com", 1, "1 new"},
			{"google.com", 1, "google.com sent 3 reports today"}, // the unread one counted
			{"", 1, "all senders together sent 6 reports today"}, // by all together
			{"other.example", 1, "all senders together sent 6 reports today"},
		} {
			if got := take(c.sender, 100+len(log.String())+c.rows, c.rows); !strings.Contains(got, c.want) {
				r.t.Errorf("%q: %s, want %s", c.sender, got, c.want)
			}
		}
		refusals, err := r.Refusals(r.t.Context(), clock(), 10)
		if got := fmt.Sprint(refusals); err != nil || got != "[{2026-11-01 * 2} {2026-11-01 flood.example 2} {2026-11-01 google.com 1}]" {
			r.t.Errorf("refusals %s, %v", got, err)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 3 { // once for each of the three
			r.t.Errorf("%d warnings:\n%s", n, log)
		}
		r.now = clock().Add(24 * time.Hour)
		if got := take("flood.example", 1000, 1); !strings.Contains(got, "1 new") {
			r.t.Errorf("the next day: %s", got)
		}
		r.now = clock().Add(40 * 24 * time.Hour)
		if err := r.Expire(r.t.Context(), time.Unix(0, 0)); err != nil {
			r.t.Fatal(err)
		}
		var n int64
		if err := r.store.Get(r.t.Context(), "SELECT COUNT(*) FROM report_in_day", nil, &n); err != nil || n != 0 {
			r.t.Errorf("%d counters left, %v", n, err)
		}
	})
}

// What could not be read cost nothing, so that bombs could be sent all day.
func TestWhatIsNotReadCountsToo(t *testing.T) {
	each(t, func(o *Options) { o.Sender.Octets = 3 << 20 }, func(r *rig) {
		bomb := letter("application/gzip", "x.xml.gz", zeros(r.t, 2<<20))
		for i, want := range []string{"grows more than", "grows more than", "grows more than", "report refused: mail that proves no sender sent 3 MiB today"} {
			if got := r.consume(bomb).String(); !strings.Contains(got, want) {
				r.t.Errorf("bomb %d: %s", i, got)
			}
		}
	})
}

// Who knew or guessed the id of a report could send it first under the
// reporter's name; the true one was then taken for known, and lost.
func TestForgedReportHidTheTrueOne(t *testing.T) {
	each(t, nil, func(r *rig) {
		forged := xmlLetter(xmlReport("google.com", "7", "example.com", row{"192.0.2.66", 1000000, "none", "pass", "pass", "example.com"}))
		r.consume(forged)
		r.proven = "evil.example"
		r.consume(forged)
		r.proven = "google.com"
		letter := xmlLetter(xmlReport("google.com", "7", "example.com", row{"192.0.2.1", 3, "none", "pass", "pass", "example.com"}))
		if s := r.consume(letter); s.Stored != 1 {
			r.t.Fatalf("the true report: %+v", s)
		}
		if s := r.consume(letter); s.Duplicates != 1 {
			r.t.Fatalf("the true report again: %+v", s)
		}
		list, err := r.List(r.t.Context(), Filter{Limit: 10})
		if err != nil || len(list) != 3 || list[0].Proven != "google.com" || list[1].Proven != "evil.example" || list[2].Proven != "" {
			r.t.Errorf("%+v, %v", list, err)
		}
		got, err := r.Sources(r.t.Context(), domain(r.t, "example.com"), time.Unix(0, 0))
		if err != nil || got.Reports != 3 || got.Unproven != 1 {
			r.t.Errorf("%+v, %v", got, err)
		}
		for _, s := range got.Sources {
			if want := map[string]string{"192.0.2.66": "[google.com (unproven) google.com (evil.example)]", "192.0.2.1": "[google.com]"}[s.Source]; fmt.Sprint(s.Orgs) != want {
				r.t.Errorf("%s: reporters %v, want %s", s.Source, s.Orgs, want)
			}
		}
	})
}

// One sender's rubbish pushed out what others had sent that could not be read.
func TestRubbishOfOneSenderStaysItsOwn(t *testing.T) {
	each(t, func(o *Options) { o.Unread = 8 }, func(r *rig) {
		r.proven = "reporter.example"
		r.consume("Subject: a report in a new format\r\n\r\n")
		r.proven = ""
		for range 10 {
			r.consume("Subject: rubbish\r\n\r\n")
		}
		unread, err := r.Unread(r.t.Context(), time.Unix(0, 0), 100)
		if err != nil || len(unread) != 3 || unread[2].Proven != "reporter.example" {
			r.t.Errorf("%+v, %v", unread, err)
		}
	})
}

func TestShares(t *testing.T) {
	got := Allowance{}.share(DefaultReports, DefaultRecords, shareOfSender)
	if want := (Allowance{2000, 40_000, 80 << 20}); got.Reports != want.Reports || got.Records != want.Records || got.Octets < 78<<20 || got.Octets > want.Octets {
		t.Errorf("of one sender: %+v", got)
	}
	if got := (Allowance{Records: 5}).share(1, 1, shareOfAll); got != (Allowance{5 * leastReports, 5, 5 * leastOctets}) {
		t.Errorf("of small tables: %+v", got)
	}
}

// zeros is gzip of that many octets.
func zeros(t *testing.T, n int) string {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Tables of the version before get the new columns, and old reports stay.
func TestUpgradeKeepsReports(t *testing.T) {
	dir := t.TempDir()
	open := func(steps []string) *store.Store {
		s, err := store.Open(t.Context(), store.Options{URL: "sqlite", Dir: dir, Schemas: []store.Schema{{Name: Schema.Name, Steps: steps}}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	old := open(Schema.Steps[:1])
	_, err := old.Submit(t.Context(), store.Statement{SQL: "INSERT INTO report_in (id, message, kind, org, report_id, domain, part, begins, ends, received, sender, records, messages, passed, complete, detail)" +
		" VALUES (1, 1, 'dmarc', 'google.com', '7', 'example.com', 0, 0, 0, 0, '', 0, 0, 0, 1, ?)", Args: []any{[]byte("{}")}})
	if err := errors.Join(err, old.Close()); err != nil {
		t.Fatal(err)
	}
	s := open(Schema.Steps)
	defer s.Close()
	ids, err := mail.NewIDSource(clock, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x, err := New(Options{Store: s, IDs: ids, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := x.List(t.Context(), Filter{Limit: 10}); err != nil || len(list) != 1 || list[0].Proven != "" {
		t.Errorf("%+v, %v", list, err)
	}
}

// All senders together are bounded by records too.
func TestRecordsOfAllSenders(t *testing.T) {
	each(t, func(o *Options) { o.Daily.Records = 10 }, func(r *rig) {
		for i, c := range []struct {
			sender string
			rows   int
			want   string
		}{{"a.example", 6, "1 new"}, {"b.example", 5, "5 more records than b.example may send today"}, {"b.example", 4, "1 new"}, {"c.example", 1, "all senders together sent 10 records today"}} {
			r.proven = c.sender
			if got := r.consume(xmlOf(i, c.rows)).String(); !strings.Contains(got, c.want) {
				r.t.Errorf("message %d: %s", i, got)
			}
		}
	})
}

// A sender whose domain proves him can send made-up numbers too; they spoiled
// every sum until they expired.
func TestForget(t *testing.T) {
	each(t, nil, func(r *rig) {
		for i, sender := range []string{"google.com", "evil.example", "evil.example", ""} {
			r.proven = sender
			r.consume(xmlOf(i, 2))
			r.consume("Subject: no report\r\n\r\n")
		}
		for _, c := range []struct {
			sender          string
			n, left, unread int
		}{{"evil.example", 2, 2, 2}, {"evil.example", 0, 2, 2}, {"", 1, 1, 1}} {
			n, err := r.Forget(r.t.Context(), c.sender)
			list, err2 := r.List(r.t.Context(), Filter{Limit: 10})
			unread, err3 := r.Unread(r.t.Context(), time.Unix(0, 0), 10)
			if err := errors.Join(err, err2, err3); err != nil || n != c.n || len(list) != c.left || len(unread) != c.unread {
				r.t.Errorf("%q: %d removed, %d reports and %d unread left, %v", c.sender, n, len(list), len(unread), err)
			}
		}
		var rows int64
		if err := r.store.Get(r.t.Context(), "SELECT COUNT(*) FROM report_in_record", nil, &rows); err != nil || rows != 2 {
			r.t.Errorf("%d records left, %v", rows, err)
		}
	})
}
