package arc

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"gatepost/auth/authres"
	"gatepost/auth/canon"
	"gatepost/auth/dkim"
	"gatepost/mail"
)

type signScenario struct {
	Tests    map[string]signCase
	Records  map[string]string `yaml:"txt-records"`
	Domain   string
	Selector string `yaml:"sel"`
	Key      string `yaml:"privatekey"`
}

type signCase struct {
	Message string
	Time    int64  `yaml:"t"`
	Names   string `yaml:"sig-headers"`
	Server  string `yaml:"srv-id"`
	AAR     string `yaml:"AAR"`
	AMS     string `yaml:"AMS"`
	AS      string `yaml:"AS"`
}

// signSuite reads the scenarios of ValiMail's arc_test_suite that seal.
func signSuite(t testing.TB) []signScenario {
	t.Helper()
	dir := os.Getenv("GATEPOST_SUITES")
	if dir == "" {
		dir = "../../../shared/suites"
	}
	file, err := os.Open(dir + "/arc-valimail/arc-draft-sign-tests.yml")
	if err != nil {
		t.Skipf("SKIPPED: the ARC suite is not here (%v); set GATEPOST_SUITES", err)
	}
	defer file.Close()
	var all []signScenario
	for dec := yaml.NewDecoder(file); ; {
		var s signScenario
		if err := dec.Decode(&s); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
}

// TestSignSuite: the suite wants exact values of every tag, those of b= and
// bh= too, so that the very octets under the seals are its own.
func TestSignSuite(t *testing.T) {
	cases, wrong := 0, 0
	for _, scenario := range signSuite(t) {
		for _, name := range slices.Sorted(maps.Keys(scenario.Tests)) {
			cases++
			if !t.Run(name, func(t *testing.T) { scenario.check(t, scenario.Tests[name]) }) {
				wrong++
			}
		}
	}
	t.Logf("CONFORMANCE: suite=arc-valimail-sign cases=%d passed=%d contested=0: ", cases, cases-wrong)
	if cases != 17 {
		t.Errorf("%d cases ran, want 17", cases)
	}
}

func (s signScenario) check(t *testing.T, c signCase) {
	block, _ := pem.Decode([]byte(s.Key))
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	seal := Seal{Domain: domain(t, s.Domain), Selector: s.Selector, Key: key, Time: time.Unix(c.Time, 0)}
	for name := range strings.SplitSeq(c.Names, ":") {
		seal.Fields = append(seal.Fields, canon.Covered{Name: name})
	}
	message := mail.MemoryBody([]byte(crlf(c.Message)))
	header, err := mail.HeaderOf(t.Context(), message, maxHeader)
	if err != nil {
		t.Fatal(err)
	}
	results := authres.Combine(header)
	if !strings.HasPrefix(results, c.Server+";") {
		t.Fatalf("results %q", results)
	}
	was, err := NewVerifier(Options{Resolver: records(s.Records)}).Verify(t.Context(), message)
	if err != nil {
		t.Fatal(err)
	}
	made, err := seal.Set(t.Context(), message.Open, was, results)
	if strings.TrimSpace(c.AAR+c.AMS+c.AS) == "" {
		if !errors.Is(err, ErrUnsealed) || made != nil {
			t.Errorf("sealed, %v:\n%s", err, made)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := mail.ParseHeader(made)
	if err != nil || len(got.Fields) != 3 {
		t.Fatalf("%v in\n%s", err, made)
	}
	sameTags(t, got.Fields[0], fieldSeal, c.AS)
	sameTags(t, got.Fields[1], fieldMessage, c.AMS)
	if is, want := words(got.Fields[2].Value()), words(crlf(c.AAR)); !got.Fields[2].Is(fieldResults) || is != want {
		t.Errorf("%s: %q, want %q", got.Fields[2].Name, is, want)
	}
}

func words(s string) string { return strings.Join(strings.Fields(s), " ") }

// sameTags compares a field tag by tag, without white space, as the suite's own
// runner does.
func sameTags(t *testing.T, field mail.Field, name, want string) {
	t.Helper()
	is, isErr := dkim.ParseTags(field.Value())
	wanted, err := dkim.ParseTags(crlf(want))
	if isErr != nil || err != nil {
		t.Fatalf("%v, %v", isErr, err)
	}
	bare := func(tags dkim.Tags) dkim.Tags {
		for k, v := range tags {
			tags[k] = strings.Join(strings.Fields(v), "")
		}
		return tags
	}
	if !field.Is(name) || !maps.Equal(bare(is), bare(wanted)) {
		t.Errorf("%s:\n%v, want\n%v", field.Name, is, wanted)
	}
}
