package inbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatepost/report/extract"
)

// suites is the directory of other people's samples, or the test is skipped.
func suites(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("GATEPOST_SUITES")
	if dir == "" {
		dir = "../../../shared/suites"
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("SKIPPED LOUDLY: the samples are absent; set GATEPOST_SUITES: %v", err)
	}
	return dir
}

// outcome of a sample: its reports, or why it is refused.
type outcome struct {
	kind     extract.Kind
	org      string
	domain   string
	records  int
	messages int64
	passed   int64
	reason   string // part of it
}

// samples says what becomes of every file of the suites, by the end of its
// path. Each refusal is documented in docs/operations.md.
var samples = map[string]outcome{
	"mox/testdata/dmarc-reports/xs4all.eml":                                             {"dmarc", "xs4all.nl", "ueber.net", 1, 1, 1, ""},
	"mox/testdata/dmarc-reports/yahoo.eml":                                              {"dmarc", "Yahoo! Inc.", "ueber.net", 1, 1, 1, ""},
	"mox/testdata/dmarc-reports/google.eml":                                             {"dmarc", "google.com", "ueber.net", 2, 5, 5, ""},
	"mox/testdata/dmarc-reports/mailru.eml":                                             {"dmarc", "Mail.Ru", "ueber.net", 1, 1, 0, ""},
	"mox/testdata/dmarc-reports/outlook.eml":                                            {"dmarc", "Outlook.com", "ueber.net", 1, 2, 2, ""},
	"mox/testdata/tlsreports/example.eml":                                               {"tls", "Google Inc.", "test.xmox.nl", 0, 3, 3, ""},
	"mox/testdata/tlsreports/microsoft.eml":                                             {"tls", "Microsoft Corporation", "test.xmox.nl", 0, 2, 2, ""},
	"parsedmarc-samples/samples/aggregate/!example.com!1538204542!1538463818.xml":       {"dmarc", "accurateplastics.com", "example.com", 1, 1, 0, ""},
	"parsedmarc-samples/samples/aggregate/!large-example.com!1711897200!1711983600.xml": {"dmarc", "accurateplastics.com", "example.com", 2286, 2286, 0, ""},
	"parsedmarc-samples/samples/aggregate/Report domain- borschow.com Submitter- google.com Report-ID- 949348866075514174.eml":   {"dmarc", "google.com", "borschow.com", 1, 1, 0, ""},
	"parsedmarc-samples/samples/aggregate/addisonfoods.com!example.com!1536105600!1536191999.xml":                                {"dmarc", "addisonfoods.com", "example.com", 1, 1, 0, ""},
	"parsedmarc-samples/samples/aggregate/empty_reason.xml":                                                                      {"dmarc", "example.org", "example.com", 1, 2, 2, ""},
	"parsedmarc-samples/samples/aggregate/estadocuenta1.infonacot.gob.mx!example.com!1536853302!1536939702!2940.xml.zip":         {"dmarc", "XYZ Corporation", "example.com", 1, 1, 0, ""},
	"parsedmarc-samples/samples/aggregate/example.net!example.com!1529366400!1529452799.xml":                                     {"dmarc", "example.net", "example.com", 1, 1, 0, ""},
	"parsedmarc-samples/samples/aggregate/fastmail.com!example.com!1516060800!1516147199!102675056.xml.gz":                       {"dmarc", "FastMail Pty Ltd", "indemed.com", 1, 1, 0, ""},
	"parsedmarc-samples/samples/aggregate/ikea.com!example.de!1538690400!1538776800.xml":                                         {"dmarc", "ikea.com", "example.de", 1, 1, 0, ""},
	"parsedmarc-samples/samples/aggregate/invalid_utf_8.xml":                                                                     {"dmarc", "accurateplastics.com", "example.com", 1, 1, 0, ""},
	"parsedmarc-samples/samples/aggregate/invalid_xml.xml":                                                                       {"", "", "", 0, 0, 0, "it is not well-formed XML: line 5"},
	"parsedmarc-samples/samples/aggregate/mimecast-weird-gzip.eml":                                                               {"dmarc", "Mimecast", "ab.id.au", 1, 1, 1, ""},
	"parsedmarc-samples/samples/aggregate/old_draft_from_wiki.xml":                                                               {"dmarc", "acme.com", "example.com", 1, 2, 2, ""},
	"parsedmarc-samples/samples/aggregate/protection.outlook.com!example.com!1711756800!1711843200.xml":                          {"dmarc", "Outlook.com", "example.com", 1, 1, 0, ""},
	"parsedmarc-samples/samples/aggregate/rfc9990-example.net!example.com!1700000000!1700086399.xml":                             {"dmarc", "example.net", "example.com", 2, 7, 5, ""},
	"parsedmarc-samples/samples/aggregate/rfc9990-sample.xml":                                                                    {"dmarc", "Sample Reporter", "example.com", 1, 123, 123, ""},
	"parsedmarc-samples/samples/aggregate/twilight.eml":                                                                          {"dmarc", "google.com", "twlnet.com", 1, 1, 1, ""},
	"parsedmarc-samples/samples/aggregate/usssa.com!example.com!1538784000!1538870399.xml":                                       {"dmarc", "usssa.com", "example.com", 2, 2, 0, ""},
	"parsedmarc-samples/samples/aggregate/veeam.com!example.com!1530133200!1530219600.xml":                                       {"dmarc", "veeam.com", "example.com", 1, 1, 0, ""},
	"parsedmarc-samples/samples/aggregate_invalid/report_with_upper_cased_pass.xml":                                              {"dmarc", "example.com", "example.com", 1, 1, 1, ""},
	"parsedmarc-samples/samples/empty.xml":                                                                                       {"", "", "", 0, 0, 0, "the file is empty"},
	"parsedmarc-samples/samples/extract_report/changed-input.xml":                                                                {"dmarc", "fred.com", "example.com", 20, 3047, 3047, ""},
	"parsedmarc-samples/samples/extract_report/nice-input.xml":                                                                   {"dmarc", "google.com", "example.com", 20, 3047, 3047, ""},
	"parsedmarc-samples/samples/extract_report/nice-input.xml.gz":                                                                {"dmarc", "google.com", "example.com", 20, 3047, 3047, ""},
	"parsedmarc-samples/samples/extract_report/nice-input.xml.zip":                                                               {"dmarc", "google.com", "example.com", 20, 3047, 3047, ""},
	"parsedmarc-samples/samples/failure/DMARC Failure Report for domain.de (mail-from=sharepoint@domain.de, ip=10.10.10.10).eml": {"failure", "domain.de", "domain.de", 1, 1, 0, ""},
	"parsedmarc-samples/samples/failure/[Netease DMARC Failure Report] Rent Reminder.eml":                                        {"failure", "163.com", "cardinal.com", 1, 1, 0, ""},
	"parsedmarc-samples/samples/failure/dmarc_ruf_report_linkedin.crlf.eml":                                                      {"failure", "linkedin.com", "example.com", 1, 1, 0, ""},
	"parsedmarc-samples/samples/failure/dmarc_ruf_report_linkedin.eml":                                                           {"failure", "linkedin.com", "example.com", 1, 1, 0, ""},
	"parsedmarc-samples/samples/failure/exim_plain_text_only_no_arf_part.eml":                                                    {"", "", "", 0, 0, 0, "there is no report in the message"},
	"parsedmarc-samples/samples/smtp_tls/google.com_smtp_tls_report.eml":                                                         {"tls", "Google Inc.", "cardinalhealth.ca", 0, 48, 48, ""},
	"parsedmarc-samples/samples/smtp_tls/mail.ru.json":                                                                           {"tls", "Mail.ru", "example.com", 2, 1, 0, ""},
	"parsedmarc-samples/samples/smtp_tls/rfc8460.json":                                                                           {"tls", "Company-X", "company-y.example", 3, 5629, 5326, ""},
	"parsedmarc-samples/samples/smtp_tls/smtp_tls.json":                                                                          {"tls", "Example Inc.", "example.com", 2, 3, 0, ""},
}

func TestSamples(t *testing.T) {
	root := suites(t)
	seen := 0
	for _, dir := range []string{"mox/testdata", "parsedmarc-samples/samples"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			name, _ := filepath.Rel(root, path)
			seen++
			t.Run(name, func(t *testing.T) { checkSample(t, name, path) })
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen != len(samples) {
		t.Errorf("%d samples, %d outcomes", seen, len(samples))
	}
}

func checkSample(t *testing.T, name, path string) {
	want, ok := samples[name]
	if !ok {
		t.Errorf("no outcome is written down")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var found extract.Found
	if strings.HasSuffix(name, ".eml") {
		found, err = extract.Message(strings.NewReader(string(b)), extract.Limits{})
	} else {
		found, err = extract.File(filepath.Base(path), b, extract.Limits{})
	}
	var entries []entry
	if err == nil && len(found.Documents) == 1 {
		entries, err = read(found.Documents[0], envelope{found.MessageID, found.From, time.Unix(1, 0)})
	}
	var got outcome
	if err != nil {
		got.reason = err.Error()
		if _, shown := reasonOf(err); !shown {
			t.Errorf("a reason that may not be shown: %v", err)
		}
	}
	if len(entries) == 1 {
		e := entries[0]
		got = outcome{e.Kind, e.Org, e.Domain, len(e.rows), e.Messages, e.Passed, ""}
	}
	if want.reason != "" && strings.Contains(got.reason, want.reason) {
		got.reason = want.reason
	}
	if got != want {
		t.Errorf("%d documents, %d entries\n\t%q: %#v,\nwant %#v", len(found.Documents), len(entries), name, got, want)
	}
}
