package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// reportLetter is a real report of another server, addressed to us.
func reportLetter(t *testing.T, file string) string {
	t.Helper()
	root := os.Getenv("GATEPOST_SUITES")
	if root == "" {
		root = "../../shared/suites"
	}
	b, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Skipf("SKIPPED LOUDLY: the samples are absent; set GATEPOST_SUITES: %v", err)
	}
	_, body, ok := strings.Cut(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n\n")
	if !ok {
		t.Fatalf("%s is no message", file)
	}
	head := "From: reports@good.test\nSubject: Report\nMessage-ID: <1@good.test>\nDate: Mon, 2 Nov 2026 10:00:00 +0000\nMIME-Version: 1.0\n"
	for _, field := range []string{"Content-Type", "Content-Transfer-Encoding"} {
		head += fieldOf(string(b), field)
	}
	return strings.ReplaceAll(head+"\n"+body, "\n", "\r\n")
}

// fieldOf is a field of a message with its folding.
func fieldOf(message, name string) string {
	head, _, _ := strings.Cut(strings.ReplaceAll(message, "\r\n", "\n"), "\n\n")
	out, in := "", false
	for _, line := range strings.Split(head, "\n") {
		if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") {
			in = strings.HasPrefix(strings.ToLower(line), strings.ToLower(name)+":")
		}
		if in {
			out += line + "\n"
		}
	}
	return out
}

// TestReportInbox: reports are read, counted once, and asked about; a normal
// recipient of the same message gets it.
func TestReportInbox(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", func(vars map[string]string) {
		vars["policy"] = "}\nreport: {inbox: [Reports@example.test]"
	})
	contains(t, s.mustRun("report", "list"), "no reports")
	google := reportLetter(t, "mox/testdata/dmarc-reports/google.eml")
	id := queuedID(t, send(t, fromWorld, s.mx, 250, "a@good.test", "reports@example.test,bob@example.test", google))
	s.inside.wait(t, "Subject: Report")
	s.settled()
	if m := s.inside.all(); len(m) != 1 || len(m[0].To) != 1 || m[0].To[0] != "bob@example.test" {
		t.Errorf("the normal recipient: %+v", m)
	}
	s.traced(id, "consumed", "report:", "report read: 1 new, 0 known", "delivered")
	send(t, fromWorld, s.mx, 250, "a@good.test", "REPORTS@example.test", google)
	tls := reportLetter(t, "mox/testdata/tlsreports/microsoft.eml")
	send(t, fromWorld, s.mx, 250, "a@good.test", "reports@example.test", tls)
	rubbish := queuedID(t, send(t, fromWorld, s.mx, 250, "a@good.test", "reports@example.test", letter("a@good.test", "reports@example.test", "hello", "no report")))
	s.settled()
	s.traced(rubbish, "consumed", "there is no report in the message")
	checkAccount(t, s.gate)

	out := s.mustRun("report", "list", "--since", "1d")
	contains(t, out, "google.com", "good.test", "Microsoft Corporation", "test.xmox.nl", "could not be read: 1", "there is no report in the message")
	if n := strings.Count(out, "google.com"); n != 1 {
		t.Errorf("the same report is there %d times\n%s", n, out)
	}
	var list struct {
		Reports []struct{ ID, Kind string }
		Unread  []struct{ ID string }
	}
	if err := json.Unmarshal([]byte(s.mustRun("report", "list", "--json")), &list); err != nil || len(list.Reports) != 2 || len(list.Unread) != 1 {
		t.Fatalf("--json: %+v, %v", list, err)
	}
	contains(t, s.mustRun("report", "show", list.Unread[0].ID), "reason     there is no report", "Subject: hello")
	contains(t, s.mustRun("report", "list", "--kind", "tls"), "Microsoft Corporation", "100.0%")
	sources := s.mustRun("report", "sources", "ueber.net", "--since", "9999d", "--no-names")
	contains(t, sources, "1 reports, 5 messages, dmarc 100.0%", "google.com (good.test)")
	for _, r := range list.Reports {
		if r.Kind == "dmarc" {
			contains(t, s.mustRun("report", "show", r.ID), "13488712042596170873", "ueber.net", "dkim=pass")
		}
	}
	contains(t, s.mustRun("report", "forget", "good.test"), "2 reports of good.test removed")
	contains(t, s.mustRun("report", "list"), "no reports")
	for _, wrong := range [][]string{{"report", "forget", "not a domain"}, {"report", "show", "0zzzzzzzzzz00"}, {"report", "sources", "not a domain"}, {"report", "list", "--kind", "x"}, {"report", "list", "--since", "x"}} {
		if out, err := s.run(wrong...); err == nil {
			t.Errorf("gatepost %v: %s", wrong, out)
		}
	}
}

// A stranger who knew the address of the inbox could fill its tables in an
// hour: what he sends beyond his share of a day is not opened.
func TestReportFloodIsRefused(t *testing.T) {
	t.Parallel()
	withinOneDay(t)
	s := startSite(t, "", func(vars map[string]string) {
		vars["policy"] = "}\nreport: {inbox: [reports@example.test], max_reports: 100"
	})
	last := ""
	for range 11 {
		last = queuedID(t, send(t, fromWorld, s.mx, 250, "a@good.test", "reports@example.test", letter("a@good.test", "reports@example.test", "flood", "no report")))
		s.settled()
	}
	s.traced(last, "consumed", "report refused: good.test sent 10 reports today")
	contains(t, s.mustRun("report", "list"), "not read, for the sender had sent enough that day", "1 messages, good.test")
	google := reportLetter(t, "mox/testdata/dmarc-reports/google.eml")
	google = strings.Replace(google, "reports@good.test", "reports@nowhere.test", 1)
	other := queuedID(t, send(t, fromWorld, s.mx, 250, "a@nowhere.test", "reports@example.test", google))
	s.settled()
	s.traced(other, "consumed", "report read: 1 new")
	contains(t, s.mustRun("report", "list"), "google.com", "unproven")
	checkAccount(t, s.gate)
}
