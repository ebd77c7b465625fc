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

func TestRFCVectors(t *testing.T) {
	dir := suites(t) + "/rfc-vectors"
	results := verifyWith(t, testOptions(readZone(t, dir, "rfc6376.dns")), readCRLF(t, dir, "rfc6376-A2.eml"))
	got := only(t, results)
	checkResult(t, got, Pass, "")
	want := Result{Value: Pass, Domain: got.Domain, Selector: "brisbane", Algorithm: "rsa-sha256", Identity: "joe@football.example.com",
		B: "AuUoFEfD", KeyBits: 1024, BodyLength: -1}
	if got != want || got.Domain.String() != "example.com" {
		t.Errorf("result %+v, want %+v", got, want)
	}
	results = verifyWith(t, testOptions(readZone(t, dir, "rfc8463.dns")), readCRLF(t, dir, "rfc8463-A3.eml"))
	if len(results) != 2 || results[0].Value != Pass || results[1].Value != Pass || results[0].KeyBits != 256 || results[1].KeyBits != 1024 {
		t.Errorf("RFC 8463: %+v", results)
	}
}

// TestRFCVectorsAltered: any changed octet of the signed parts fails.
func TestRFCVectorsAltered(t *testing.T) {
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

// TestDkimpyMessages holds what dkimpy's tests expect of its messages.
func TestDkimpyMessages(t *testing.T) {
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
		if got := strings.Join(values, " "); got != c.values {
			t.Errorf("%s: %s, want %q", c.file, describeResults(results), c.values)
		}
	}
}

// TestDkimpyKeys signs dkimpy's messages with its keys by another program's
// signer, and looks at its key records.
func TestDkimpyKeys(t *testing.T) {
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
			}
		}
	}
}

// TestDkimpyEd25519 uses the key of RFC 8032 as dkimpy does.
func TestDkimpyEd25519(t *testing.T) {
	data := suites(t) + "/dkim-dkimpy/data"
	seed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(readCRLF(t, data, "rfc8032_7_1.key")))
	if err != nil {
		t.Fatal(err)
	}
	signed := msgauthSign(t, &msgauth.SignOptions{Domain: "football.example.com", Selector: "brisbane", Signer: ed25519.NewKeyFromSeed(seed)},
		readCRLF(t, data, "rfc6376.msg"))
	checkResult(t, only(t, verifyWith(t, testOptions(dkimpyZone(t)), signed)), Pass, "")
}

func msgauthSign(t interface{ Fatalf(string, ...any) }, o *msgauth.SignOptions, message string) string {
	o.Hash, o.Expiration = crypto.SHA256, testTime.Add(time.Hour)
	var out strings.Builder
	if err := msgauth.Sign(&out, strings.NewReader(message), o); err != nil {
		t.Fatalf("sign: %v", err)
	}
	return out.String()
}
