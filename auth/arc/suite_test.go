package arc

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"gatepost/mail"
)

// contested cases of the suite expect nothing, or what implementations do not
// agree on; they run, and may come out either way.
var contested = map[string]string{
	"cv_fail_i1_as_cv_fail": "the suite names no result",
	"cv_fail_i2_as2_fail":   "the suite names no result",
	"cv_fail_i2_as1_fail":   "the suite names no result",
	"ams_fields_c_na":       "implementations differ on a missing c=",
}

type suiteScenario struct {
	Tests   yaml.Node         // four names stand in it twice
	Records map[string]string `yaml:"txt-records"`
}

type suiteCase struct{ Description, Message, CV string }

// suite reads the scenarios of ValiMail's arc_test_suite.
func suite(t testing.TB) []suiteScenario {
	t.Helper()
	dir := os.Getenv("GATEPOST_SUITES")
	if dir == "" {
		dir = "../../../shared/suites"
	}
	file, err := os.Open(dir + "/arc-valimail/arc-draft-validation-tests.yml")
	if err != nil {
		t.Skipf("SKIPPED: the ARC suite is not here (%v); set GATEPOST_SUITES", err)
	}
	defer file.Close()
	var all []suiteScenario
	for dec := yaml.NewDecoder(file); ; {
		var s suiteScenario
		if err := dec.Decode(&s); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func TestSuite(t *testing.T) {
	gated, wrong := map[string]bool{}, 0
	var other []string
	for _, scenario := range suite(t) {
		v := NewVerifier(Options{Resolver: records(scenario.Records)})
		for i := 0; i+1 < len(scenario.Tests.Content); i += 2 {
			name, c := scenario.Tests.Content[i].Value, suiteCase{}
			if err := scenario.Tests.Content[i+1].Decode(&c); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			r, err := v.Verify(t.Context(), mail.MemoryBody([]byte(crlf(c.Message))))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				wrong++
				continue
			}
			if why, ok := contested[name]; ok {
				t.Logf("contested: %s (%s): %s %s", name, why, r.Value, r.Reason)
				other = append(other, name+" ("+why+")")
				continue
			}
			gated[name] = true
			if want := strings.ToLower(c.CV); r.Value != want || (r.Value == Fail) != (r.Reason != "") {
				t.Errorf("%s (%s): %s (%s), want %s", name, c.Description, r.Value, r.Reason, want)
				wrong++
			}
		}
	}
	t.Logf("CONFORMANCE: suite=arc-valimail cases=%d passed=%d contested=%d: %s", len(gated)+len(other), len(gated)-wrong, len(other), strings.Join(other, "; "))
	if len(gated) != 167 {
		t.Errorf("%d cases ran, want 167", len(gated))
	}
}
