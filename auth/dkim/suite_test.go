package dkim

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"
)

// tally counts the cases of a suite and prints the line that
// integration/scripts/conformance.py collects.
type tally struct{ cases, passed int }

// check notes a case; a case that differs has told so already.
func (n *tally) check(ok bool) {
	n.cases++
	if ok {
		n.passed++
	}
}

func (n *tally) print(t *testing.T, suite string) {
	t.Helper()
	t.Logf("CONFORMANCE: suite=%s cases=%d passed=%d contested=0:", suite, n.cases, n.passed)
}

// TestRFCVectors runs the messages of RFC 6376 and RFC 8463, each as it is and
// with one octet changed.
func TestRFCVectors(t *testing.T) {
	var n tally
	for _, run := range []func(*testing.T, *tally){vectorOf6376, vectorOf8463, alteredVector} {
		run(t, &n)
	}
	n.print(t, "rfc-vectors")
}

func vectorOf6376(t *testing.T, n *tally) {
	dir := suites(t) + "/rfc-vectors"
	results := verifyWith(t, testOptions(readZone(t, dir, "rfc6376.dns")), readCRLF(t, dir, "rfc6376-A2.eml"))
	got := only(t, results)
	checkResult(t, got, Pass, "")
	want := Result{Value: Pass, Domain: got.Domain, Selector: "brisbane", Algorithm: "rsa-sha256", Identity: "joe@football.example.com",
		B: "AuUoFEfD", KeyBits: 1024, BodyLength: -1}
	ok := got == want && got.Domain.String() == "example.com"
	if !ok {
		t.Errorf("result %+v, want %+v", got, want)
	}
	n.check(ok)
}

func vectorOf8463(t *testing.T, n *tally) {
	dir := suites(t) + "/rfc-vectors"
	results := verifyWith(t, testOptions(readZone(t, dir, "rfc8463.dns")), readCRLF(t, dir, "rfc8463-A3.eml"))
	if len(results) != 2 {
		t.Fatalf("RFC 8463: %+v", results)
	}
	for i, bits := range []int{256, 1024} {
		ok := results[i].Value == Pass && results[i].KeyBits == bits
		if !ok {
			t.Errorf("RFC 8463: %+v", results[i])
		}
		n.check(ok)
	}
}

// alteredVector: any changed octet of the signed parts fails.
func alteredVector(t *testing.T, n *tally) {
	dir := suites(t) + "/rfc-vectors"
	message := readCRLF(t, dir, "rfc6376-A2.eml")
	zone := readZone(t, dir, "rfc6376.dns")
	for _, c := range []struct{ old, new, reason string }{
		{"hungry", "hungrY", "body hash did not verify"},
		{"dinner", "Dinner", "signature did not verify"},
		{"Joe.\r\n", "Joe. \r\n", "body hash did not verify"},
		{"Date: Fri", "Date:  Fri", "signature did not verify"},
		{"q=dns/txt;", "q=dns/txt ;", "signature did not verify"},
		{"DKIM-Signature: v", "DKIM-Signature:  v", "signature did not verify"},
	} {
		got := only(t, verifyWith(t, testOptions(zone), strings.Replace(message, c.old, c.new, 1)))
		checkResult(t, got, Fail, c.reason)
		n.check(got.Value == Fail)
	}
}

// dkimpyZone is the zone of dkimpy's own tests.
func dkimpyZone(t testing.TB) records {
	data := suites(t) + "/dkim-dkimpy/data"
	file := func(name string) string { return strings.TrimSpace(readCRLF(t, data, name)) }
	return records{
		"test._domainkey.football.example.com":     file("test.txt"),
		"test._domainkey.example.com":              file("test.txt"),
		"brisbane._domainkey.football.example.com": "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
		"sed._domainkey.test.ex":                   file("eximtest.dns"),
		"badk._domainkey.example.com":              file("badk.txt"),
		"badversion._domainkey.example.com":        file("badversion.txt"),
		"rsa1024._domainkey.example.com":           file("1024_testkey_wo_markers.pub.txt"),
		"pkcs1024._domainkey.example.com":          file("1024_testkey_wo_markers.pub.rsa.txt"),
		"rsa2048._domainkey.example.com":           file("2048_testkey_wo_markers.pub.txt"),
		"pkcs2048._domainkey.example.com":          file("2048_testkey_wo_markers.pub.rsa.txt"),
		"pkcs8._domainkey.example.com":             file("2048_testkey_PKCS8.key.pub.txt"),
		"20120113._domainkey.gmail.com": "k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA1Kd87/UeJjenpabgbFwh" +
			"+eBCsSTrqmwIYYvywlbhbqoo2DymndFkbjOVIPIldNs/m40KF+yzMn1skyoxcTUGCQs8g3FgD2Ap3ZB5DekAo5wMmk4wimDO+U8QzI3SD07y2+07wlNWwIt8svnxgdxGkVbb" +
			"hzY8i+RQ9DpSVpPbF7ykQxtKXkv/ahW3KjViiAH+ghvvIhkx4xYSIc9oSwVmAl5OctMEeWUwg8Istjqz8BZeTWbf41fbNhte7Y+YqZOwq1Sd0DbvYAD9NOZK9vlfuac0598H" +
			"Y+vtSBczUiKERHv1yRbcaQtZFh5wtiRrN04BLUTD21MycBX5jYchHjPY/wIDAQAB",
	}
}

// TestDkimpySuite runs the messages and keys of dkimpy's own tests.
func TestDkimpySuite(t *testing.T) {
	var n tally
	for _, run := range []func(*testing.T, *tally){dkimpyMessages, dkimpyKeys, dkimpyEd25519} {
		run(t, &n)
	}
	n.print(t, "dkim-dkimpy")
}

// dkimpyMessages holds what dkimpy's tests expect of its messages.
func dkimpyMessages(t *testing.T, n *tally) {
	data := suites(t) + "/dkim-dkimpy/data"
	for _, c := range []struct {
		file   string
		values string
	}{
		{"rfc6376.signed.msg", "pass pass"},
		{"rfc6376.signed.rsa.msg", "pass"},
		{"test2.message", "pass"},
		{"ed25519test2.msg", "pass"},
		{"test.message.baddomain", "permerror"},
		{"test.message", ""},
		{"rfc6376.w1258.msg", ""},
		{"test_nofrom.message", ""},
	} {
		var values []string
		results := verifyWith(t, testOptions(dkimpyZone(t)), readCRLF(t, data, c.file))
		for _, r := range results {
			values = append(values, r.Value)
		}
		got := strings.Join(values, " ")
		if got != c.values {
			t.Errorf("%s: %s, want %q", c.file, describeResults(results), c.values)
		}
		n.check(got == c.values)
	}
}

// dkimpyKeys signs dkimpy's messages with its keys by another program's
// signer, and looks at its key records.
func dkimpyKeys(t *testing.T, n *tally) {
	data := suites(t) + "/dkim-dkimpy/data"
	for _, c := range []struct{ selector, key, value, reason string }{
		{"test", "test.private", Pass, ""},
		{"badk", "test.private", PermError, "key type"},
		{"badversion", "test.private", PermError, "version"},
		{"rsa1024", "1024_testkey.key", Pass, ""},
		{"pkcs1024", "1024_testkey.key", Pass, ""},
		{"rsa2048", "2048_testkey.key", Pass, ""},
		{"pkcs2048", "2048_testkey.key", Pass, ""},
		{"pkcs8", "2048_testkey_PKCS8.key", Pass, ""},
		{"rsa2048", "1024_testkey.key", Fail, "signature did not verify"},
	} {
		key := readRSAKey(t, data, c.key)
		for _, file := range []string{"test.message", "message.mbox", "test_extra.message", "rfc6376.w1258.msg"} {
			for _, forms := range [][2]msgauth.Canonicalization{{"simple", "simple"}, {"simple", "relaxed"}, {"relaxed", "simple"}, {"relaxed", "relaxed"}} {
				signed := msgauthSign(t, &msgauth.SignOptions{Domain: "example.com", Selector: c.selector, Signer: key,
					HeaderCanonicalization: forms[0], BodyCanonicalization: forms[1]}, readCRLF(t, data, file))
				results := verifyWith(t, testOptions(dkimpyZone(t)), signed)
				if len(results) == 0 {
					t.Fatalf("%s: no result", file)
				}
				checkResult(t, results[0], c.value, c.reason)
				n.check(results[0].Value == c.value)
			}
		}
	}
}

// dkimpyEd25519 uses the key of RFC 8032 as dkimpy does.
func dkimpyEd25519(t *testing.T, n *tally) {
	data := suites(t) + "/dkim-dkimpy/data"
	seed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(readCRLF(t, data, "rfc8032_7_1.key")))
	if err != nil {
		t.Fatal(err)
	}
	signed := msgauthSign(t, &msgauth.SignOptions{Domain: "football.example.com", Selector: "brisbane", Signer: ed25519.NewKeyFromSeed(seed)},
		readCRLF(t, data, "rfc6376.msg"))
	got := only(t, verifyWith(t, testOptions(dkimpyZone(t)), signed))
	checkResult(t, got, Pass, "")
	n.check(got.Value == Pass)
}

func msgauthSign(t interface{ Fatalf(string, ...any) }, o *msgauth.SignOptions, message string) string {
	o.Hash, o.Expiration = crypto.SHA256, testTime.Add(time.Hour)
	var out strings.Builder
	if err := msgauth.Sign(&out, strings.NewReader(message), o); err != nil {
		t.Fatalf("sign: %v", err)
	}
	return out.String()
}
