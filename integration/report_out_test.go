package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"gatepost/report/aggregate"
	"gatepost/report/extract"
	"gatepost/report/tally"
	"gatepost/store"
)

// reportZone has domains whose records ask for reports.
const reportZone = `
rua.test.          TXT  "v=spf1 ip4:127.0.0.20 -all"
_dmarc.rua.test.   TXT  "v=DMARC1; p=reject; rua=mailto:dmarc@rua.test,mailto:x@stranger.test,mailto:y@agreed.test"
rua.test._report._dmarc.agreed.test. TXT "v=DMARC1"
forged.test.        TXT  "v=spf1 -all"
_dmarc.forged.test. TXT  "v=DMARC1; p=reject; rua=mailto:dmarc@forged.test"
`

const reportsOn = "}\nreport: {dmarc_aggregate: {enabled: true, from: reports@example.test, org: Example Inc, window: 0}"

// fromDomain sends a message of a domain of the world to bob.
func fromDomain(t *testing.T, s *site, client, domain, subject string, code int) {
	t.Helper()
	send(t, client, s.mx, code, "a@"+domain, "bob@example.test", letter("a@"+domain, "bob@example.test", subject, "x"))
}

// withinOneDay waits for midnight (UTC) to pass where it is near: the clock of
// the binary cannot be set, and what it counts belongs to a day.
func withinOneDay(t *testing.T) {
	t.Helper()
	now := time.Now()
	if left := now.Truncate(24 * time.Hour).Add(24 * time.Hour).Sub(now); left < 3*time.Minute {
		t.Logf("waits %s for midnight to pass", left)
		<-time.After(left)
	}
}

// daysPass makes what was counted today a thing of days ago, and starts again.
func (s *site) daysPass(days int) {
	s.t.Helper()
	s.stop()
	db, err := store.Open(context.Background(), store.Options{URL: "sqlite", Dir: s.dir + "/data"})
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := db.Submit(context.Background(), store.Statement{SQL: "UPDATE report_tally SET day = day - ? WHERE day > ?", Args: []any{days, int64(tally.DayOf(time.Now())) - 2}}); err != nil {
		s.t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.start()
}

// readReport opens a report as its receiver does.
func readReport(t *testing.T, message []byte) *aggregate.Report {
	t.Helper()
	found, err := extract.Message(bytes.NewReader(message), extract.Limits{})
	if err != nil || len(found.Documents) != 1 {
		t.Fatalf("%d reports, %v\n%s", len(found.Documents), err, message)
	}
	r, err := aggregate.Parse(found.Documents[0].Data, aggregate.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestReportsOut: mail is counted and told of to who asks for it and agreed;
// a forger who is refused makes us write to nobody; a bounce pauses.
func TestReportsOut(t *testing.T) {
	t.Parallel()
	withinOneDay(t)
	s := startSite(t, reportZone, func(vars map[string]string) { vars["policy"] = reportsOn })
	s.keys()
	fromDomain(t, s, fromWorld, "rua.test", "one", 250)
	fromDomain(t, s, fromWorld, "rua.test", "two", 250)
	fromDomain(t, s, fromStranger, "rua.test", "stolen", 550)
	fromDomain(t, s, fromStranger, "forged.test", "forged", 550)
	fromDomain(t, s, fromWorld, "good.test", "asks for nothing", 250)
	fromDomain(t, s, fromWorld, "rua.test", "Report Domain: example.test Submitter: rua.test Report-ID: <1>", 250)

	preview := s.mustRun("report", "preview", "rua.test")
	contains(t, preview, "counted    3 messages, 2 of them accepted, in 2 records", "to         dmarc@rua.test", "to         y@agreed.test",
		"not to     mailto:x@stranger.test", "not now    the day is not over", "<source_ip>127.0.0.99</source_ip>", "<org_name>Example Inc</org_name>")
	lacks(t, preview, "127.0.0.20</source_ip>\n        <count>3")
	contains(t, s.mustRun("report", "preview", "forged.test"), "1 messages, 0 of them accepted", "not now    all mail of this domain was refused")
	contains(t, s.mustRun("report", "preview", "good.test"), "0 messages", "no mail of this domain was judged on that day by a record that asks for reports")
	var answer struct {
		XML string
		To  []string
	}
	if err := json.Unmarshal([]byte(s.mustRun("report", "preview", "rua.test", "--format", "rfc7489", "--json")), &answer); err != nil || len(answer.To) != 2 || !strings.Contains(answer.XML, "<pct>100</pct>") {
		t.Errorf("%+v, %v", answer, err)
	}
	if out, err := s.run("report", "send", "rua.test", "--day", "today"); err == nil || !strings.Contains(out, "reports are about days that are over") {
		t.Errorf("today: %v %s", err, out)
	}

	s.daysPass(2)
	m := s.world.wait(t, "Report Domain: rua.test")
	s.settled()
	if len(m.To) > 2 || m.From != "reports@example.test" {
		t.Errorf("from %s to %v", m.From, m.To)
	}
	var to []string
	for _, x := range s.world.all() {
		to = append(to, x.To...)
	}
	if slices.Sort(to); fmt.Sprint(to) != "[dmarc@rua.test y@agreed.test]" {
		t.Errorf("reports went to %v", to)
	}
	r := readReport(t, m.Data)
	if r.Org != "Example Inc" || r.Domain.String() != "rua.test" || r.Policy.P != "reject" || len(r.Records) != 2 {
		t.Errorf("%+v", r)
	}
	for _, x := range r.Records {
		good := x.Source == netip.MustParseAddr(fromWorld) && x.Count == 2 && x.Disposition == "pass" && x.SPF == "pass"
		if stolen := x.Source == netip.MustParseAddr(fromStranger) && x.Count == 1 && x.Disposition == "reject" && x.SPF == "fail"; !good && !stolen {
			t.Errorf("%+v", x)
		}
	}
	contains(t, s.mustRun("dkim", "verify", writeFile(t, s.dir, "report.eml", string(m.Data))), "pass", "example.test")
	s.shows([]string{"report", "sent"}, "rua.test", "dmarc@rua.test (delivered)", "y@agreed.test (delivered)")
	lacks(t, s.mustRun("report", "sent"), "forged.test", "for a while")

	s.world.OnRcpt = func(to string) error {
		if to == "dmarc@rua.test" {
			return smtpError(550, smtp.EnhancedCode{5, 1, 1}, "no such user")
		}
		return nil
	}
	fromDomain(t, s, fromWorld, "rua.test", "three", 250)
	s.daysPass(3)
	out := s.shows([]string{"report", "sent"}, "dmarc@rua.test (failed)", "get no reports for a while: 1", "no such user")
	if n := strings.Count(out, "y@agreed.test (delivered)"); n != 2 {
		t.Errorf("the other one got %d reports\n%s", n, out)
	}
	fromDomain(t, s, fromWorld, "rua.test", "four", 250)
	contains(t, s.mustRun("report", "preview", "rua.test"), "not to     mailto:dmarc@rua.test: paused until", "to         y@agreed.test")
	checkAccount(t, s.gate)
}

// TestReportsOutAreOff: without a word in the configuration nothing leaves,
// but it can be looked at.
func TestReportsOutAreOff(t *testing.T) {
	t.Parallel()
	withinOneDay(t)
	s := startSite(t, reportZone, nil)
	fromDomain(t, s, fromWorld, "rua.test", "one", 250)
	s.daysPass(2)
	out := s.mustRun("report", "preview", "rua.test", "--day", dayBefore(2))
	contains(t, out, "1 messages, 1 of them accepted", "to         dmarc@rua.test", "not now    report.dmarc_aggregate.enabled is false", "not now    report.dmarc_aggregate.from is not set")
	if out, err := s.run("report", "send", "rua.test", "--day", dayBefore(2)); err == nil || !strings.Contains(out, "enabled is false") {
		t.Errorf("send: %v %s", err, out)
	}
	s.settled()
	if all := s.world.all(); len(all) != 0 {
		t.Errorf("%d messages left", len(all))
	}
	contains(t, s.mustRun("report", "sent"), "no reports were sent")
}

// TestReportsMeet: one Gatepost's report is read by another, and told of to
// nobody.
func TestReportsMeet(t *testing.T) {
	t.Parallel()
	withinOneDay(t)
	other := freeAddress(t)
	s := startSite(t, reportZone+"example.net. TXT \"v=spf1 ip4:127.0.0.20 -all\"\n_dmarc.example.net. TXT \"v=DMARC1; p=reject; rua=mailto:dmarc@example.net\"\n",
		func(vars map[string]string) {
			vars["world"] = other
		})
	s.keys()
	peer := startGate(t, `
hostname: mx.example.net
store: {min_free: 1MiB}
dns: {servers: [{address: "{{dns}}"}], timeout: 2s}
listeners: [{name: mx, address: "{{mx}}", role: mx}]
next_hops: [{name: inside, urls: ["smtp://{{inside}}"], tls: {policy: "off"}}]
domains: [{name: example.net, next_hop: inside, recipients: {accept: all}}]
report: {inbox: [dmarc@example.net], dmarc_aggregate: {enabled: true, from: dmarc@example.net}}
`, map[string]string{"dns": s.vars["dns"], "mx": other, "inside": s.inside.Addr})
	fromDomain(t, s, fromWorld, "example.net", "hello", 250)
	s.daysPass(3)
	s.vars["policy"] = reportsOn
	s.configure(siteConfig, s.vars)
	s.mustRun("reload") // the hour has come, but nobody has looked yet
	sent := s.mustRun("report", "send", "example.net", "--day", dayBefore(3))
	contains(t, sent, "sent       example.net about "+dayBefore(3)+" to dmarc@example.net")
	if out, err := s.run("report", "send", "example.net", "--day", dayBefore(3)); err == nil || !strings.Contains(out, "sent already") {
		t.Errorf("twice: %v %s", err, out)
	}
	out := peer.shows([]string{"report", "list"}, "example.net", "Example Inc", "100.0%")
	if strings.Count(out, "Example Inc") != 1 {
		t.Errorf("%s", out)
	}
	contains(t, peer.mustRun("report", "sources", "example.net", "--no-names"), "127.0.0.20", "1 messages, dmarc 100.0%")
	peer.logged(`"consumed"`)
	contains(t, peer.mustRun("report", "preview", "example.test"), "0 messages")
}

// dayBefore is a day so many days ago.
func dayBefore(days int) string { return time.Now().UTC().AddDate(0, 0, -days).Format(time.DateOnly) }
