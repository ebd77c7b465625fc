package arc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatepost/auth/arc/arctest"
	"gatepost/mail"
)

const plain = "Received: from a by b; date\r\nFrom: Anna <anna@author.test>\r\nTo: bob@example.test\r\nSubject: chain\r\nDate: Fri, 21 Nov 2025 10:00:00 +0000\r\n\r\nText.\r\n"

var testTime = time.Unix(1_800_000_000, 0)

// seal seals message by each of sealers in turn and gives the zone too.
func seal(t testing.TB, message string, sealers ...arctest.Sealer) (string, records) {
	t.Helper()
	zone := records{}
	for _, s := range sealers {
		zone[s.Name()] = s.Record()
		var err error
		if message, err = s.Seal(message); err != nil {
			t.Fatal(err)
		}
	}
	return message, zone
}

func by(domain string) arctest.Sealer { return arctest.Sealer{Domain: domain} }

func verify(t testing.TB, zone records, message string) Result {
	t.Helper()
	v := NewVerifier(Options{Resolver: zone, Now: func() time.Time { return testTime }})
	r, err := v.Verify(t.Context(), mail.MemoryBody([]byte(message)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func checkFail(t testing.TB, name string, r Result, reason string) {
	t.Helper()
	if r.Value != Fail || !strings.Contains(r.Reason, reason) {
		t.Errorf("%s: %s (%s), want fail (%s)", name, r.Value, r.Reason, reason)
	}
}

func TestChainPasses(t *testing.T) {
	first := by("one.test")
	first.Results = "mx.one.test; dmarc=pass header.from=author.test; spf=pass smtp.mailfrom=anna@author.test"
	message, zone := seal(t, plain, first, by("two.test"))
	r := verify(t, zone, message)
	if r.Value != Pass || r.Reason != "" || len(r.Sets) != 2 || r.OldestPass != 0 || !r.FromSigned || r.Temporary {
		t.Fatalf("result %+v", r)
	}
	one, two := r.Sets[0], r.Sets[1]
	if one.Instance != 1 || one.Sealer.String() != "one.test" || one.Signer != one.Sealer || one.KeyBits != 256 || one.Selector != "k1" || two.Sealer.String() != "two.test" {
		t.Errorf("sets %+v", r.Sets)
	}
	if len(one.Findings) != 2 || one.Findings[0].Name != "dmarc" || one.Findings[0].Result != "pass" {
		t.Errorf("findings %+v", one.Findings)
	}
}

// TestChangedOnTheWay: a change between two forwarders breaks the older message
// signature only; one behind the last breaks the chain.
func TestChangedOnTheWay(t *testing.T) {
	message, zone := seal(t, plain, by("one.test"))
	changed := strings.Replace(message, "Subject: ", "Subject: [list] ", 1)
	checkFail(t, "changed behind the last", verify(t, zone, changed), "signature did not verify")
	message, more := seal(t, changed, by("two.test"), by("three.test"))
	for name, record := range more {
		zone[name] = record
	}
	if r := verify(t, zone, message); r.Value != Pass || r.OldestPass != 2 {
		t.Errorf("oldest pass: %+v", r)
	}
	checkFail(t, "body", verify(t, zone, message+"more\r\n"), "body hash did not verify")
	spoiled := strings.Replace(message, "i=1; one.test; none", "i=1; one.test; dmarc=pass", 1)
	checkFail(t, "results", verify(t, zone, spoiled), "the seal of set 1 did not verify")
	zone["k1._domainkey.two.test"] = by("other.test").Record()
	checkFail(t, "another key", verify(t, zone, message), "the seal of set 2 did not verify")
	delete(zone, "k1._domainkey.two.test")
	checkFail(t, "no key", verify(t, zone, message), "no key at k1._domainkey.two.test")
}

func TestChainFails(t *testing.T) {
	for name, c := range map[string]struct {
		sealer arctest.Sealer
		reason string
	}{
		"l=":            {arctest.Sealer{Domain: "one.test", Tags: "l=3; "}, "l= leaves octets"},
		"expired":       {arctest.Sealer{Domain: "one.test", Tags: "x=1700000000; "}, "has expired"},
		"x=":            {arctest.Sealer{Domain: "one.test", Tags: "x=soon; "}, "x= is not a time"},
		"many names":    {arctest.Sealer{Domain: "one.test", Names: "from" + strings.Repeat(":x", maxSignedNames)}, "more than 1000 names"},
		"seal in h=":    {arctest.Sealer{Domain: "one.test", Names: "from:arc-seal"}, "h= holds ARC-Seal"},
		"cv=fail":       {arctest.Sealer{Domain: "one.test", CV: "fail"}, "cv=fail"},
		"other signer":  {arctest.Sealer{Domain: "one.test", Signer: "nokey.test"}, "no key at k1._domainkey.nokey.test"},
		"one label":     {arctest.Sealer{Domain: "one"}, "d= is not a domain"},
		"long selector": {arctest.Sealer{Domain: "one.test", Selector: strings.Repeat("abcdefgh.", 27) + "x"}, "too long together"},
	} {
		message, zone := seal(t, plain, c.sealer)
		checkFail(t, name, verify(t, zone, message), c.reason)
	}
	message, zone := seal(t, plain, arctest.Sealer{Domain: "one.test", Tags: "x=1900000000; "})
	if r := verify(t, zone, message); r.Value != Pass {
		t.Errorf("x= in the future: %+v", r)
	}
	checkFail(t, "broken header", verify(t, zone, strings.Replace(message, "Subject: ", "no field\r\nSubject: ", 1)), "malformed")
}

// TestSealTags: what is wrong in a seal's own tags is said before its signature
// is looked at.
func TestSealTags(t *testing.T) {
	message, zone := seal(t, plain, by("one.test"))
	for change, reason := range map[string]string{
		"; h=from; t=12345;": "h= is not allowed", "; t=soon;": "t= is not a time", "; t=;": "t= is not a time", ";; t=12345;": "an empty tag",
		"; cv=none; t=12345;": "comes twice", "; t=12345; y=1;": "the seal of set 1 did not verify",
	} {
		checkFail(t, change, verify(t, zone, strings.Replace(message, "; t=12345;", change, 1)), reason)
	}
}

// TestShortKey: a key below the configured size does not count.
func TestShortKey(t *testing.T) {
	for _, scenario := range suite(t)[:1] {
		for i, n := range scenario.Tests.Content {
			if n.Value != "cv_pass_i2_1" {
				continue
			}
			var c suiteCase
			if err := scenario.Tests.Content[i+1].Decode(&c); err != nil {
				t.Fatal(err)
			}
			v := NewVerifier(Options{Resolver: records(scenario.Records), MinRSABits: 2048})
			r, err := v.Verify(t.Context(), mail.MemoryBody([]byte(crlf(c.Message))))
			if err != nil {
				t.Fatal(err)
			}
			checkFail(t, "1024 bits", r, "has only 1024 bits")
			return
		}
	}
	t.Error("the case is gone")
}

// TestTemporary: trouble with DNS is a failure that says so.
func TestTemporary(t *testing.T) {
	message, zone := seal(t, plain, by("one.test"), by("two.test"))
	zone["k1._domainkey.one.test"] = "SERVFAIL"
	r := verify(t, zone, message)
	checkFail(t, "older key", r, "could not be looked up")
	if !r.Temporary || !r.FromSigned || len(r.Sets) != 2 {
		t.Errorf("older key: %+v", r)
	}
	delete(zone, "k1._domainkey.one.test")
	if r := verify(t, zone, message); r.Temporary {
		t.Errorf("a missing key is temporary: %+v", r)
	}
}

// TestFromSigned: a From field that the newest message signature does not cover
// may be anybody's.
func TestFromSigned(t *testing.T) {
	message, zone := seal(t, plain, arctest.Sealer{Domain: "one.test", Names: "to:subject"})
	if r := verify(t, zone, message); r.Value != Pass || r.FromSigned {
		t.Errorf("unsigned From: %+v", r)
	}
	message, zone = seal(t, plain, by("one.test"))
	if r := verify(t, zone, "From: eve@evil.test\r\n"+message); r.Value != Pass || r.FromSigned {
		t.Errorf("second From: %+v", r)
	}
}

func chainOf(t testing.TB, message string, n int) (string, records) {
	t.Helper()
	var sealers []arctest.Sealer
	for i := range n {
		sealers = append(sealers, by(fmt.Sprintf("s%d.test", i)))
	}
	return seal(t, message, sealers...)
}

// TestMaxSets: 50 sets pass, 51 do not.
func TestMaxSets(t *testing.T) {
	message, zone := chainOf(t, plain, MaxSets)
	if r := verify(t, zone, message); r.Value != Pass || len(r.Sets) != MaxSets || r.OldestPass != MaxSets-maxSigned+1 {
		t.Errorf("%d sets: %s %s, oldest pass %d", MaxSets, r.Value, r.Reason, r.OldestPass)
	}
	message, zone = chainOf(t, plain, MaxSets+1)
	checkFail(t, "51 sets", verify(t, zone, message), "more than 50 sets")
}

// TestStructure: sets must be whole, numbered without a gap, each field once.
func TestStructure(t *testing.T) {
	message, zone := seal(t, plain, by("one.test"), by("two.test"))
	header, err := mail.ParseHeader([]byte(message))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range header.Fields[:6] {
		checkFail(t, "without "+f.Name, verify(t, zone, strings.Replace(message, string(f.Raw), "", 1)), "not complete")
		checkFail(t, "twice "+f.Name, verify(t, zone, string(f.Raw)+message), "not complete")
	}
	double := string(header.Fields[0].Raw) + strings.Replace(message, string(header.Fields[3].Raw), "", 1)
	checkFail(t, "two seals of one set", verify(t, zone, double), "comes twice")
	gap := strings.ReplaceAll(strings.ReplaceAll(message, ": i=2;", ": i=3;"), ": i=1;", ": i=2;")
	checkFail(t, "gap", verify(t, zone, gap), "not complete")
	for _, i := range []string{"0", "51", "x", "", "-1", "001"} {
		checkFail(t, "i="+i, verify(t, zone, strings.Replace(message, "ARC-Seal: i=2", "ARC-Seal: i="+i, 1)), "")
	}
}

// TestNoQuestionsForBrokenChains: what cannot hold costs no DNS, and the first
// missing key ends the questions.
func TestNoQuestionsForBrokenChains(t *testing.T) {
	message, zone := chainOf(t, plain, MaxSets)
	dns := &counting{records: zone}
	v := NewVerifier(Options{Resolver: dns})
	ask := func(message string) int64 {
		dns.asked.Store(0)
		if _, err := v.Verify(t.Context(), mail.MemoryBody([]byte(message))); err != nil {
			t.Fatal(err)
		}
		return dns.asked.Load()
	}
	if n := ask(message); n > MaxSets+maxSigned {
		t.Errorf("%d questions for a chain that passes", n)
	}
	if n := ask(message + "more\r\n"); n != 0 {
		t.Errorf("%d questions for a changed body", n)
	}
	if n := ask(strings.Replace(message, "Subject: chain", "Subject: other", 1)); n != 1 {
		t.Errorf("%d questions for a changed header", n)
	}
	clear(zone)
	zone[by("s49.test").Name()] = by("s49.test").Record()
	if n := ask(message); n > 3+parallelLookups {
		t.Errorf("%d questions where the second key is missing", n)
	}
}

// TestWorkOfHostileChain: 50 sets, whose message signatures cover a thousand
// long fields each, cost under ten times the work of one set over the same
// message, and of the message alone: one hash of the body, one of the sets, ten
// of the header.
func TestWorkOfHostileChain(t *testing.T) {
	message := strings.Repeat("X-Field: "+strings.Repeat("x", 80)+"\r\n", 5000) + plain + strings.Repeat("text\r\n\r\n \r\n", 100_000)
	names := "from" + strings.Repeat(":x-field", maxSignedNames-1)
	work := func(n int) int64 {
		var sealers []arctest.Sealer
		for i := range n {
			sealers = append(sealers, arctest.Sealer{Domain: fmt.Sprintf("s%d.test", i), Names: names})
		}
		sealed, zone := seal(t, message, sealers...)
		r, work, err := NewVerifier(Options{Resolver: zone}).verify(t.Context(), mail.MemoryBody([]byte(sealed)))
		if err != nil || r.Value != Pass {
			t.Fatalf("%d sets: %+v, %v", n, r, err)
		}
		return work
	}
	one, all := work(1), work(MaxSets)
	t.Logf("%d octets hashed for 50 sets, %d for one, of a message of %d", all, one, len(message))
	if all > 10*one || all > 10*int64(len(message)) {
		t.Errorf("%d octets hashed for 50 sets, %d for one, of a message of %d", all, one, len(message))
	}
}

func TestContextEnds(t *testing.T) {
	message, zone := seal(t, plain, by("one.test"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := NewVerifier(Options{Resolver: zone}).Verify(ctx, mail.MemoryBody([]byte(message)))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// FuzzVerify: no octets make it panic or pass without every key.
func FuzzVerify(f *testing.F) {
	message, zone := seal(f, plain, by("one.test"), by("two.test"))
	f.Add(message)
	f.Add(plain)
	f.Add("ARC-Seal: i=1; a=rsa-sha256; cv=none; d=x.test; s=y; b=\r\nARC-Message-Signature: i=1;\r\nARC-Authentication-Results: i=1; x\r\n\r\n")
	v := NewVerifier(Options{Resolver: zone, Now: func() time.Time { return testTime }})
	f.Fuzz(func(t *testing.T, text string) {
		r, err := v.Verify(t.Context(), mail.MemoryBody([]byte(text)))
		if err != nil {
			if errors.Is(err, mail.ErrHeaderTooLong) {
				return
			}
			t.Fatal(err)
		}
		if r.Value != None && r.Value != Pass && r.Value != Fail || (r.Value == Fail) != (r.Reason != "") {
			t.Fatalf("result %+v", r)
		}
		for _, s := range r.Sets {
			if r.Value == Pass && s.Sealer.String() != "one.test" && s.Sealer.String() != "two.test" {
				t.Fatalf("passes by a seal of %s: %q", s.Sealer, text)
			}
		}
	})
}
