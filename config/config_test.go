package config

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const small = "hostname: mx1.example.com\nlisteners: [{name: mx, address: ':25', role: mx}]\n"

func parse(t *testing.T, text string) (*Loaded, Errors) {
	t.Helper()
	c, err := Parse("test.yaml", []byte(text))
	var es Errors
	if err != nil && !errors.As(err, &es) {
		t.Fatalf("error is no Errors: %v", err)
	}
	return c, es
}

func TestSmallestFileGetsDefaults(t *testing.T) {
	c, es := parse(t, small)
	if es != nil {
		t.Fatal(es)
	}
	l := c.Listeners[0]
	if c.AuthservID != "mx1.example.com" || c.Postmaster != "postmaster@mx1.example.com" || c.DataDir != "/var/lib/gatepost" {
		t.Errorf("derived defaults: %+v", c.Config)
	}
	if l.TLS.Mode != "optional" || l.BareNewline.Data != "reject" || l.BareNewline.BDAT != "normalize" || !l.Chunking {
		t.Errorf("listener defaults: %+v", l)
	}
	if l.Limits != c.Limits || c.Limits.MessageSize != 50<<20 {
		t.Errorf("limits: %+v", l.Limits)
	}
	if got := c.Delivery.Retry; len(got) != 7 || got[6].Std() != 4*time.Hour {
		t.Errorf("retry = %v", got)
	}
}

func TestListenerLimitsLieOverGlobalOnes(t *testing.T) {
	c, es := parse(t, "listeners: [{name: mx, address: ':25', role: mx, limits: {connections: 7}}]\nhostname: a.example\nlimits: {connections: 9, header_size: 1KiB}\n")
	if es != nil {
		t.Fatal(es)
	}
	if l := c.Listeners[0].Limits; l.Connections != 7 || l.HeaderSize != 1024 {
		t.Errorf("limits = %+v", l)
	}
}

// Every mistake is found at once, each with its line, its key path and what was expected.
func TestMistakes(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unknown key", small + "hostnam: x\n", `test.yaml:3: hostnam: unknown key; did you mean "hostname"?`},
		{"unknown key deep", "hostname: a.example\nlisteners:\n  - name: mx\n    address: ':25'\n    role: mx\n    tls: {mod: off}\n", `test.yaml:6: listeners[0].tls.mod: unknown key; did you mean "mode"?`},
		{"wrong type", small + "limits: {connections: many}\n", `test.yaml:3: limits.connections: expected a whole number`},
		{"list for text", small + "authserv_id: [a]\n", `test.yaml:3: authserv_id: expected text, found a list`},
		{"text for list", small + "users: bob\n", `test.yaml:3: users: expected a list, found "bob"`},
		{"bad duration", small + "shutdown_grace: 5 minutes\n", `test.yaml:3: shutdown_grace: expected a duration such as 30s`},
		{"bad size", small + "limits: {message_size: 50MB}\n", `expected a size such as 512, 64KiB`},
		{"bad choice", small + "policy: {mode: enforced}\n", `policy.mode: expected one of monitor, enforce, found "enforced"; did you mean "enforce"?`},
		{"bad CIDR", small + "relay_clients: [{name: a, addresses: [10.0.0.0/33]}]\n", `relay_clients[0].addresses[0]: expected an address or CIDR`},
		{"CIDR with host bits", small + "relay_clients: [{name: a, addresses: [10.0.0.1/8]}]\n", `did you mean 10.0.0.0/8?`},
		{"missing file", small + "tls: {certificates: [{cert: /nonexistent/c.pem, key: /nonexistent/k.pem}]}\n", `tls.certificates[0].cert: cannot read the file`},
		{"duplicate name", small + "next_hops:\n  - {name: a, urls: ['smtp://a:25']}\n  - {name: a, urls: ['smtp://b:25']}\n", `test.yaml:5: next_hops[1].name: "a" stands already in line 4`},
		{"unknown next hop", small + "next_hops: [{name: exchange, urls: ['smtp://a:25']}]\nroutes: [{match: {recipients: ['*']}, next_hop: exchang}]\n", `test.yaml:4: routes[0].next_hop: unknown next hop "exchang"; did you mean "exchange"?`},
		{"key twice", small + "hostname: b.example\n", `test.yaml:3: hostname`},
		{"no hostname", "listeners: [{name: mx, address: ':25', role: mx}]\n", `hostname: missing; expected text`},
		{"no role", "hostname: a.example\nlisteners: [{name: mx, address: ':25'}]\n", `listeners[0].role: missing; expected one of mx, smarthost`},
		{"AUTH outside TLS", "hostname: a.example\nlisteners: [{name: s, address: ':25', role: smarthost, tls: {mode: off}, auth: {mechanisms: [PLAIN]}}]\n", `passwords would cross the network in the clear`},
		{"unset environment", small + "store: {url: '${env:GATEPOST_NO_SUCH_NAME}'}\n", `environment variable GATEPOST_NO_SUCH_NAME is not set`},
		{"reports", small + "report: {tls: {enabled: true}}\n", `report.tls.enabled: not supported yet`},
		{"report inbox elsewhere", small + "report: {inbox: [reports@a.example]}\n", `report.inbox[0]: a.example is not in 'domains'`},
		{"report inbox is no address", small + "report: {inbox: ['@a.example']}\n", `report.inbox[0]: expected a mail address`},
		{"report inbox of people", small + "report: {inbox: [Postmaster@a.example]}\n", `report.inbox[0]: mail to postmaster is for people`},
		{"report inbox twice", small + "report: {inbox: [r@a.example, R@A.example]}\n", `report.inbox[1]: R@A.example is report.inbox[0] already`},
		{"aggregate reports without a sender", small + "report: {dmarc_aggregate: {enabled: true}}\n", `report.dmarc_aggregate.from: needed when reports are sent`},
		{"aggregate reports from nobody", small + "report:\n  dmarc_aggregate: {from: reports}\n", `test.yaml:4: report.dmarc_aggregate.from: expected a mail address`},
		{"aggregate reports from an address literal", small + "report: {dmarc_aggregate: {from: 'a@[192.0.2.1]'}}\n", `report.dmarc_aggregate.from: expected a mail address`},
		{"aggregate reports of nothing", small + "report: {dmarc_aggregate: {enabled: true, from: a@b.example, count: false}}\n", `report.dmarc_aggregate.count: reports are made of what is counted`},
		{"aggregate reports without DMARC", small + "policy: {dmarc: {enabled: false}}\nreport: {dmarc_aggregate: {enabled: true, from: a@b.example}}\n", `report.dmarc_aggregate.enabled: policy.dmarc.enabled is false`},
		{"aggregate reports, limits", small + "report: {dmarc_aggregate: {max_reports: 0}}\n", `report.dmarc_aggregate.max_reports: must be more than 0`},
		{"aggregate reports, records", small + "report: {dmarc_aggregate: {max_records: 20001}}\n", `report.dmarc_aggregate.max_records: at most 20000`},
		{"aggregate reports, size", small + "report: {dmarc_aggregate: {max_size: 0}}\n", `report.dmarc_aggregate.max_size: must be more than 0`},
		{"aggregate reports, pause", small + "report: {dmarc_aggregate: {pause: 0}}\n", `report.dmarc_aggregate.pause: must be more than 0`},
		{"aggregate reports, window", small + "report: {dmarc_aggregate: {window: 1d}}\n", `report.dmarc_aggregate.window: at most 20h`},
		{"aggregate reports, format", small + "report: {dmarc_aggregate: {format: xml}}\n", `report.dmarc_aggregate.format: `},
		{"failure reports without a sender", small + "report: {dmarc_failure: {enabled: true}}\n", `report.dmarc_failure.from: needed when reports are sent`},
		{"failure reports from nobody", small + "report:\n  dmarc_failure: {from: reports}\n", `test.yaml:4: report.dmarc_failure.from: expected a mail address in US-ASCII`},
		{"failure reports from an address literal", small + "report: {dmarc_failure: {from: 'a@[192.0.2.1]'}}\n", `report.dmarc_failure.from: expected a mail address`},
		{"failure reports from an address that is not ASCII", small + "report: {dmarc_failure: {from: 'ü@a.example'}}\n", `report.dmarc_failure.from: expected a mail address in US-ASCII`},
		{"failure reports without DMARC", small + "policy: {dmarc: {enabled: false}}\nreport: {dmarc_failure: {enabled: true, from: a@b.example}}\n", `report.dmarc_failure.enabled: policy.dmarc.enabled is false`},
		{"failure reports of a day", small + "report: {dmarc_failure: {per_domain_per_day: 0}}\n", `report.dmarc_failure.per_domain_per_day: must be more than 0`},
		{"failure reports of an hour", small + "report: {dmarc_failure: {per_hour: 0}}\n", `report.dmarc_failure.per_hour: must be more than 0`},
		{"report keep", small + "report: {keep: 0}\n", `report.keep: must be more than 0`},
		{"dane", small + "delivery: {tls: {policy: dane}}\n", `"dane" is not supported yet`},
		{"ldap recipients", small + "domains: [{name: a.example, next_hop: mx, recipients: {ldap: x}}]\n", `domains[0].recipients.ldap: unknown key`},
		{"bad YAML", "hostname: [\n", `test.yaml:`},
		{"empty", "", `empty`},
		{"hop URL", small + "next_hops: [{name: a, urls: ['http://a']}]\n", `unknown scheme "http"; expected smtp, smtps, lmtp or mx`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, es := parse(t, tt.text)
			if !strings.Contains(es.Error(), tt.want) {
				t.Errorf("errors:\n%v\nwant: %s", es, tt.want)
			}
		})
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	_, es := parse(t, "hostnam: x\nlimits: {connections: many}\nlisteners: [{name: mx, address: ':25', role: MX}]\n")
	if len(es) < 4 {
		t.Errorf("%d errors, want the 4: %v", len(es), es)
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p"), []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GATEPOST_TEST_DB", "hunter3")
	seal := base64.StdEncoding.EncodeToString([]byte("hunter4hunter4hunter4hunter4hunt"))
	c, es := parse(t, small+"next_hops: [{name: a, urls: ['smtp://a:25'], auth: {mechanism: PLAIN, username: u, password: '${file:"+dir+"/p}'}}]\n"+
		"store: {url: 'postgres://u:${env:GATEPOST_TEST_DB}@db/x?password=hunter5', seal_key: '"+seal+"'}\n")
	if es != nil {
		t.Fatal(es)
	}
	if got := c.NextHops[0].Auth.Password.Reveal(); got != "hunter2" {
		t.Errorf("password = %q", got)
	}
	out, err := c.Effective()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(out, []byte("hunter")) || bytes.Contains(out, []byte(seal)) || !bytes.Contains(out, []byte("[redacted]")) {
		t.Errorf("secret shown:\n%s", out)
	}
	_, es = parse(t, small+"store: {seal_key: "+seal[:10]+"}\n")
	if es == nil || strings.Contains(es.Error(), seal[:10]) {
		t.Errorf("secret in error text or accepted: %v", es)
	}
}

// check repeated "smtp://user:password@host" with the password in its error.
func TestPasswordInHopURLIsNotRepeated(t *testing.T) {
	for _, url := range []string{"smtp://u:hunter2@a:25", "smtp://u:hunter2@a:b:c", "u:hunter2@a"} {
		_, es := parse(t, small+"next_hops: [{name: a, urls: ['"+url+"']}]\n")
		if es == nil || strings.Contains(es.Error(), "hunter2") || !strings.Contains(es.Error(), "next_hops[0].urls[0]") {
			t.Errorf("%s: %v", url, es)
		}
	}
}

func TestEffectiveIsReadAgain(t *testing.T) {
	c, es := parse(t, small)
	if es != nil {
		t.Fatal(es)
	}
	out, err := c.Effective()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("effective", out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if again.Limits != c.Limits || again.Listeners[0].TLS != c.Listeners[0].TLS {
		t.Error("the effective configuration means something else")
	}
}

// The contract is accepted whole once its secret files exist.
func TestContract(t *testing.T) {
	suites := os.Getenv("GATEPOST_SUITES")
	if suites == "" {
		suites = "../../shared/suites"
	}
	b, err := os.ReadFile(filepath.Join(suites, "..", "gatepost.example.yaml"))
	if err != nil {
		t.Skipf("SKIPPED: the configuration contract is absent, so it is not checked: %v", err)
	}
	dir := t.TempDir()
	text := strings.NewReplacer("/etc/gatepost", dir, "/run/secrets", dir).Replace(string(b))
	if err := os.MkdirAll(filepath.Join(dir, "tls"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"tls/fullchain.pem", "tls/privkey.pem", "tls/clients-ca.pem", "tls/corp-ca.pem", "tls/partner.pem", "tls/partner.key", "recipients.txt", "gatepost-admin-alice"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seal := base64.StdEncoding.EncodeToString(make([]byte, 32))
	if err := os.WriteFile(filepath.Join(dir, "gatepost-seal"), []byte(seal+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PARTNER_PASSWORD", "x")
	c, es := parse(t, text)
	if es != nil {
		t.Fatalf("the contract is refused:\n%v", es)
	}
	for _, want := range []string{"admin.address", "SCRAM-SHA-256 is not supported yet", "dkim.rotation"} {
		if !strings.Contains(c.Warnings().Error(), want) {
			t.Errorf("no warning about %s:\n%v", want, c.Warnings())
		}
	}
}

func TestReferenceIsUpToDate(t *testing.T) {
	var want bytes.Buffer
	if err := WriteReference(&want); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/config.md is out of date; run 'make docs'")
	}
}

func TestWarnsOfReadableKey(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "k.pem")
	if err := os.WriteFile(key, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, es := parse(t, small+"tls: {certificates: [{cert: "+key+", key: "+key+"}]}\n")
	if es != nil {
		t.Fatal(es)
	}
	if !strings.Contains(c.Warnings().Error(), "readable by all") {
		t.Errorf("warnings: %v", c.Warnings())
	}
}

// What other users of the machine can read or change is warned of.
func TestWarnsOfModes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "g.yaml")
	text := small + "data_dir: " + dir + "\nusers: [{name: u, password_hash: '$argon2id$x'}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	warnings := func(fileMode, dirMode os.FileMode) string {
		if err := errors.Join(os.Chmod(file, fileMode), os.Chmod(dir, dirMode)); err != nil {
			t.Fatal(err)
		}
		c, err := Load(file)
		if err != nil {
			t.Fatal(err)
		}
		return c.Warnings().Error()
	}
	if got := warnings(0o600, 0o700); strings.Contains(got, "chmod") {
		t.Errorf("private files: %s", got)
	}
	got := warnings(0o644, 0o777)
	for _, want := range []string{"users[0].password_hash: holds a secret", "data_dir: "} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}

func TestDurationsAndSizes(t *testing.T) {
	for text, want := range map[string]time.Duration{"0": 0, "30s": 30 * time.Second, "5d": 120 * time.Hour, "1d12h": 36 * time.Hour, "1h30m": 90 * time.Minute} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.Std() != want {
			t.Errorf("%s = %v, %v", text, d.Std(), err)
		}
		b, _ := d.MarshalText()
		var again Duration
		if err := again.UnmarshalText(b); err != nil || again != d {
			t.Errorf("%s written as %s, read as %v, %v", text, b, again, err)
		}
	}
	for _, bad := range []string{"", "5", "-5m", "d", "1dd", "5 m", "1.5d"} {
		var d Duration
		if err := d.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q accepted as %v", bad, d.Std())
		}
	}
	for _, bad := range []string{"", "5MB", "-1", "KiB", "99999999999GiB"} {
		var s Size
		if err := s.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q accepted as %d", bad, s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(small))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("hostname: ${env:HOME}\nlimits: {connections: 1e9}\n"))
	f.Add([]byte("listeners: [{limits: {}}, null, 3]\nusers: [[[]]]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.Contains(b, []byte("${file:")) {
			return // reads files of the machine
		}
		c, err := Parse("fuzz.yaml", b)
		if err == nil {
			c.Warnings()
			if _, err := c.Effective(); err != nil {
				t.Error(err)
			}
		}
	})
}

// Reports that nobody signs are warned of.
func TestWarnsOfUnsignedReports(t *testing.T) {
	const on = "report: {dmarc_aggregate: {enabled: %s, from: r@news.example.com}}\n"
	for _, c := range []struct {
		enabled, sign string
		want          bool
	}{
		{"true", "", true},
		{"false", "", false},
		{"true", "dkim: {sign: [{domains: [news.example.com]}]}\n", false},
		{"true", "dkim: {sign: [{domains: [example.com]}]}\n", true},
		{"true", "dkim: {sign: [{domains: [example.com], subdomains: true}]}\n", false},
	} {
		l, es := parse(t, small+fmt.Sprintf(on, c.enabled)+c.sign)
		if es != nil {
			t.Fatal(es)
		}
		if got := strings.Contains(l.Warnings().Error(), "report.dmarc_aggregate.from: no dkim.sign rule covers its domain"); got != c.want {
			t.Errorf("%+v: %v", c, l.Warnings())
		}
	}
}
