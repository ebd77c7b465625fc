package spf_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"gatepost/auth/spf"
	"gatepost/dnsx"
	"gatepost/dnsx/dnstest"
	"gatepost/mail"
)

// contested names the cases of the RFC 7208 suite whose result is another one
// here, with that result. The test fails when one is newly broken and when a
// named one begins to pass.
var contested = map[string]string{}

// refused names the cases whose sender mail.ParseAddress does not accept: the
// gateway answers 5xx before SPF is asked.
var refused = map[string]bool{"toolonglabel": true, "emptylabel": true, "nolocalpart": true}

type scenario struct {
	Description string
	Tests       map[string]suiteCase
	ZoneData    map[string][]any `yaml:"zonedata"`
}

type suiteCase struct {
	Helo, Host, MailFrom, Explanation string
	Result                            any
}

func (c suiteCase) allows(value string) bool {
	if several, ok := c.Result.([]any); ok {
		return slices.Contains(several, any(value))
	}
	return c.Result == value
}

func TestRFC7208Suite(t *testing.T) {
	total, passed := 0, 0
	var other []string
	for _, s := range loadSuite(t) {
		resolver := suiteResolver(t, s.ZoneData)
		checker := spf.New(spf.Options{Resolver: resolver, Receiver: "receiver.example"})
		for name, c := range s.Tests {
			total++
			got, wrong := runCase(t, checker, name, c)
			known, isKnown := contested[name]
			switch {
			case wrong == "" && refused[name]:
				other = append(other, name+" (refused at MAIL, before SPF is asked)")
			case wrong == "" && !isKnown:
				passed++
			case wrong == "":
				t.Errorf("%s passes now: take it off the list", name)
			case !isKnown || got.Value != known:
				t.Errorf("%s / %s: %s (%+v)", s.Description, name, wrong, got)
			default:
				other = append(other, name+" (answered "+known+")")
			}
		}
	}
	slices.Sort(other)
	t.Logf("CONFORMANCE: suite=spf-rfc7208 cases=%d passed=%d contested=%d: %s", total, passed, len(other), strings.Join(other, "; "))
	if total != 203 {
		t.Errorf("%d cases, the suite has 203", total)
	}
}

// runCase tells what is wrong with the result of a case, if anything.
func runCase(t *testing.T, checker *spf.Checker, name string, c suiteCase) (got spf.Result, wrong string) {
	from, err := sender(c.MailFrom)
	if err != nil || refused[name] {
		if (err == nil) == refused[name] {
			return got, fmt.Sprintf("sender %q: refused %v, error %v", c.MailFrom, refused[name], err)
		}
		return got, ""
	}
	got = checker.Check(t.Context(), netip.MustParseAddr(c.Host), c.Helo, from)
	if !c.allows(got.Value) {
		return got, fmt.Sprintf("%s, want %v", got.Value, c.Result)
	}
	explanation := strings.ReplaceAll(c.Explanation, "DEFAULT", "")
	if c.Explanation != "" && !strings.EqualFold(got.Explanation, explanation) {
		return got, fmt.Sprintf("explanation %q, want %q", got.Explanation, explanation)
	}
	return got, ""
}

// sender reads the suite's unquoted mailboxes, which may hold spaces.
func sender(s string) (mail.Address, error) {
	if s == "" {
		return mail.Address{}, nil
	}
	if address, err := mail.ParseAddress(s, false); err == nil {
		return address, nil
	}
	at := strings.LastIndexByte(s, '@')
	domain, err := mail.ParseDomain(s[at+1:])
	if err != nil {
		return mail.Address{}, err
	}
	return mail.NewAddress(s[:at], domain)
}

// suiteResolver serves the zone data of a scenario.
func suiteResolver(t *testing.T, data map[string][]any) *dnsx.Resolver {
	server := dnstest.New(t, "")
	for name, records := range data {
		silent := false
		types := map[string]bool{}
		explicit := slices.ContainsFunc(records, func(r any) bool { m, ok := r.(map[string]any); return ok && m["TXT"] != nil })
		for _, r := range records {
			m, ok := r.(map[string]any)
			if !ok {
				silent = silent || r == "TIMEOUT"
				continue
			}
			for recordType, value := range m {
				if recordType == "SPF" && explicit || value == "NONE" {
					continue
				}
				recordType = strings.Replace(recordType, "SPF", "TXT", 1)
				types[recordType] = true
				server.Add(t, zoneLine(name, recordType, value))
			}
		}
		for _, recordType := range []string{"TXT", "MX", "A", "AAAA", "PTR"} {
			if silent && !types[recordType] {
				server.Fail(name, recordType, dnstest.Timeout)
			}
		}
	}
	return server.ResolverWith(t, dnsx.Options{TryTimeout: 2 * time.Second})
}

func zoneLine(name, recordType string, value any) string {
	data := ""
	switch v := value.(type) {
	case string:
		data = v
		if recordType == "TXT" {
			data = quoted(v)
		} else if recordType != "A" && recordType != "AAAA" {
			data = escaped(v)
		}
	case []any:
		if recordType == "MX" {
			data = fmt.Sprintf("%v %s", v[0], escaped(fmt.Sprint(v[1])))
			break
		}
		data = `""`
		for _, s := range v {
			data += " " + quoted(fmt.Sprint(s))
		}
	}
	return fmt.Sprintf("%s 60 IN %s %s\n", escaped(name), recordType, data)
}

// quoted writes character strings of at most 255 octets.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		if i > 0 && i%255 == 0 {
			b.WriteString(`" "`)
		}
		fmt.Fprintf(&b, `\%03d`, s[i])
	}
	return b.String() + `"`
}

func escaped(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; c == '.' || c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\%03d`, c)
		}
	}
	return strings.TrimSuffix(b.String(), ".") + "."
}

func loadSuite(t *testing.T) []scenario {
	t.Helper()
	file, err := os.Open(filepath.Join(suites(t), "spf-rfc7208", "rfc7208-tests.yml"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("SKIPPED: the RFC 7208 suite is not here (%v); set GATEPOST_SUITES", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	decoder := yaml.NewDecoder(file)
	var scenarios []scenario
	for {
		var s scenario
		if err := decoder.Decode(&s); errors.Is(err, io.EOF) {
			return scenarios
		} else if err != nil {
			t.Fatal(err)
		}
		if s.Tests != nil {
			scenarios = append(scenarios, s)
		}
	}
}

// suites is the folder of the public test suites: GATEPOST_SUITES, seen from
// the root of the repository.
func suites(t *testing.T) string {
	t.Helper()
	folder := os.Getenv("GATEPOST_SUITES")
	if folder == "" {
		folder = "../shared/suites"
	}
	if filepath.IsAbs(folder) {
		return folder
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			return filepath.Join(root, folder)
		}
		root = filepath.Dir(root)
	}
}
