package dkim

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"context"

	"gatepost/dnsx"
	"gatepost/mail"
)

// check signs testMessage with tags and wants one result.
func check(t *testing.T, tags, message string, o Options, value, reason string) Result {
	t.Helper()
	s := newEd25519Signer(t)
	if o.Resolver == nil {
		o.Resolver = records{testKeyName: s.record}
	}
	o.Now = func() time.Time { return testTime }
	got := only(t, verifyWith(t, o, s.sign(t, tags, message)))
	checkResult(t, got, value, reason)
	return got
}

// TestTags is the table of what tags of a signature lead to.
func TestTags(t *testing.T) {
	now := testTime.Unix()
	for name, c := range map[string]struct{ old, new, value, reason string }{
		"as it should be":            {"", "", Pass, ""},
		"empty elements":             {"v=1;", "v=1; ;", Pass, ""},
		"no white space":             {"v=1; a=", "v=1;a=", Pass, ""},
		"folded everywhere":          {"d=example.com", "d\r\n =\r\n\t example.com\r\n ", Pass, ""},
		"b= in the middle":           {"d=example.com", "b=; d=example.com", Pass, ""},
		"name that ends in b":        {"d=example.com", "xb=abc; d=example.com", Pass, ""},
		"version 2":                  {"v=1", "v=2", PermError, "version"},
		"no version":                 {"v=1; ", "", PermError, "v= is missing"},
		"tag twice":                  {"v=1;", "v=1; d=example.com;", PermError, "comes twice"},
		"no equals sign":             {"v=1;", "v=1; x;", PermError, "malformed tag list"},
		"NUL":                        {"v=1;", "v=1; z=\x00;", PermError, "control octet"},
		"z= with b= inside":          {"v=1;", "v=1; z=From:x|b=yz|Subject:=20b=3D;", Pass, ""},
		"unknown algorithm":          {"ed25519-sha256", "falcon-sha3", Neutral, "not known"},
		"rsa-sha1":                   {"ed25519-sha256", "rsa-sha1", PermError, "RFC 8301"},
		"RSA signature, Ed25519 key": {"ed25519-sha256", "rsa-sha256", PermError, "key is of type ed25519"},
		"d= without a dot":           {"d=example.com", "d=com", PermError, "d= is not a domain"},
		"d= with a parenthesis":      {"d=example.com", "d=legitimate.com(.example.com", PermError, "d= is not a domain"},
		"s= empty label":             {"s=s1", "s=s1.", PermError, "s= is not a selector"},
		"s= and d= too long":         {"s=s1", "s=" + strings.Repeat("a.", 120) + "a", PermError, "too long together"},
		"From not in h=":             {"h=From:", "h=", PermError, "h= does not hold From"},
		"h= lower case and spaces":   {"h=From:To", "h=from : to ", Pass, ""},
		"h= with empty names":        {"h=From:", "h=From::", Pass, ""},
		"h= with absent names":       {"h=From:", "h=From:From:Cc:", Pass, ""},
		"h= without end":             {"h=From:", "h=From" + strings.Repeat(":x", 1000) + ":", Policy, "more than 1000 names"},
		"i= default":                 {"", "", Pass, ""},
		"i= in another case":         {"d=example.com", "d=example.com; i=Joe@EXAMPLE.com", Pass, ""},
		"i= subdomain":               {"d=example.com", "d=example.com; i=@Mail.Example.COM", Pass, ""},
		"i= encoded":                 {"d=example.com", "d=example.com; i=j=20oe=40@example.com", Pass, ""},
		"i= of another domain":       {"d=example.com", "d=example.com; i=@badexample.com", PermError, "i= is not within d="},
		"i= of the parent":           {"d=example.com", "d=example.com; i=@com", PermError, "i= is not within d="},
		"i= without @":               {"d=example.com", "d=example.com; i=example.com", PermError, "i= is not within d="},
		"bh= of another length":      {"bh={bh}", "bh=AAAA", PermError, "bh="},
		"bh= not base64":             {"bh={bh}", "bh=!", PermError, "bh="},
		"bh= of another body":        {"bh={bh}", "bh=" + strings.Repeat("A", 43) + "=", Fail, "body hash"},
		"c= unknown":                 {"relaxed/relaxed", "relaxed/nofws", PermError, "canonicalization"},
		"q= with dns/txt":            {"v=1", "v=1; q=dns/other:dns/txt", Pass, ""},
		"q= without dns/txt":         {"v=1", "v=1; q=http", PermError, "query method"},
		"t= and x=":                  {"v=1", fmt.Sprintf("v=1; t=%d; x=%d", now-10, now+10), Pass, ""},
		"x= of 20 digits":            {"v=1", "v=1; x=99999999999999999999", Pass, ""},
		"x= passed within the skew":  {"v=1", fmt.Sprintf("v=1; x=%d", now-290), Pass, ""},
		"x= passed":                  {"v=1", fmt.Sprintf("v=1; x=%d", now-301), Fail, "expired"},
		"x= not after t=":            {"v=1", fmt.Sprintf("v=1; t=%d; x=%d", now+10, now+10), PermError, "x= is not later"},
		"x= no number":               {"v=1", "v=1; x=-1", PermError, "not a time"},
		"t= an hour in the future":   {"v=1", fmt.Sprintf("v=1; t=%d", now+3600), Pass, ""},
		"t= two days in the future":  {"v=1", fmt.Sprintf("v=1; t=%d", now+2*86400), Policy, "future"},
		"t= of 20 digits":            {"v=1", "v=1; t=99999999999999999999", Policy, "future"},
		"l= no number":               {"v=1", "v=1; l=x", PermError, "l= is not a length"},
		"l= of 20 digits":            {"v=1", "v=1; l=99999999999999999999", PermError, "l= is not a length"},
		"l= more than there is":      {"v=1", "v=1; l=14", PermError, "longer than the body"},
		"l= unsafe":                  {"v=1", "v=1; l=3", Policy, "l= covers 3 of 13 octets"},
		"l= over all is unsafe too":  {"v=1", "v=1; l=13", Policy, "l= covers 13 of 13 octets"},
		"b= empty":                   {"", "", Pass, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tags := strings.Replace(testTags, c.old, c.new, 1)
			if c.new == "" && c.old == "" {
				tags = testTags
			}
			check(t, tags, testMessage, Options{}, c.value, c.reason)
		})
	}
}

func TestBodyLengthAccepted(t *testing.T) {
	o := Options{BodyLengthTag: BodyLengthAccept}
	for _, l := range []int64{0, 3, 13} {
		if got := check(t, strings.Replace(testTags, "v=1", fmt.Sprintf("v=1; l=%d", l), 1), testMessage, o, Pass, ""); got.BodyLength != l {
			t.Errorf("body length %d, want %d", got.BodyLength, l)
		}
	}
	if got := check(t, testTags, testMessage, o, Pass, ""); got.BodyLength != -1 {
		t.Errorf("body length %d without l=", got.BodyLength)
	}
}

// TestKeyRecords is the table of what key records lead to; "{p}" is the key.
func TestKeyRecords(t *testing.T) {
	for name, c := range map[string]struct{ record, value, reason string }{
		"least":                 {"k=ed25519; p={p}", Pass, ""},
		"folded":                {" v = DKIM1 ;; k = ed25519; n=note; x=y; p = {p} ;", Pass, ""},
		"no padding":            {"k=ed25519;p={p-}", Pass, ""},
		"for mail":              {"k=ed25519; s=email; p={p}", Pass, ""},
		"for all":               {"k=ed25519; s=x:*; h=sha1:sha256; p={p}", Pass, ""},
		"for something else":    {"k=ed25519; s=tlsrpt; p={p}", PermError, "not for mail"},
		"sha1 only":             {"k=ed25519; h=sha1; p={p}", PermError, "not for SHA-256"},
		"another version":       {"v=DKIM2; k=ed25519; p={p}", PermError, "version"},
		"another type":          {"k=x448; p={p}", PermError, "key type"},
		"default type is RSA":   {"p={p}", PermError, "not an RSA key"},
		"revoked":               {"v=DKIM1; p=", PermError, "revoked"},
		"no p=":                 {"v=DKIM1; k=ed25519", PermError, "p= is missing"},
		"no base64":             {"k=ed25519; p=%%%", PermError, "not base64"},
		"short key":             {"k=ed25519; p=AAAA", PermError, "32 octets"},
		"tag twice":             {"k=ed25519; p={p}; p={p}", PermError, "comes twice"},
		"no key record":         {"v=spf1 -all", PermError, "version"},
		"two keys":              {"k=ed25519; p={p}\nk=ed25519; p={p}", PermError, "several records"},
		"wildcard beside a key": {"v=spf1 -all\nk=ed25519; p={p}\nsite-verification=abc", Pass, ""},
		"no key among several":  {"v=spf1 -all\nhello", PermError, "no key record"},
		"64 KiB":                {"k=ed25519; p={p}; n=" + strings.Repeat("x", 64<<10), PermError, "octets long"},
		"100 records":           {strings.Repeat("hello\n", 100) + "k=ed25519; p={p}", PermError, "no key record"},
		"server failure":        {"SERVFAIL", TempError, "could not be looked up"},
		"t=s and i= in d=":      {"k=ed25519; t=s; p={p}", Pass, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newEd25519Signer(t)
			p := s.record[strings.Index(s.record, "p=")+2:]
			record := strings.NewReplacer("{p}", p, "{p-}", strings.TrimRight(p, "=")).Replace(c.record)
			got := only(t, verifyWith(t, testOptions(records{testKeyName: record}), s.sign(t, testTags, testMessage)))
			checkResult(t, got, c.value, c.reason)
		})
	}
	s := newEd25519Signer(t)
	checkResult(t, only(t, verifyWith(t, testOptions(records{}), s.sign(t, testTags, testMessage))), PermError, "no key for signature")
}

// TestStrictKeyRefusesSubdomainIdentity: t=s was once not enforced.
func TestStrictKeyRefusesSubdomainIdentity(t *testing.T) {
	s := newEd25519Signer(t)
	for i, value := range map[string]string{"@example.com": Pass, "joe@EXAMPLE.com": Pass, "@mail.example.com": PermError} {
		message := s.sign(t, testTags+"; i="+i, testMessage)
		got := only(t, verifyWith(t, testOptions(records{testKeyName: s.record + "; t=y:s"}), message))
		if got.Value != value || got.Identity != i {
			t.Errorf("i=%s: %+v, want %s", i, got, value)
		}
	}
}

func TestTestingKeyIsReported(t *testing.T) {
	s := newEd25519Signer(t)
	message := s.sign(t, testTags, testMessage)
	got := only(t, verifyWith(t, testOptions(records{testKeyName: s.record + "; t=y"}), message))
	if got.Value != Pass || !got.Testing {
		t.Errorf("%+v, want pass and testing", got)
	}
	got = only(t, verifyWith(t, testOptions(records{testKeyName: s.record + "; t=y"}), message+"more\r\n"))
	if got.Value != Fail || !got.Testing {
		t.Errorf("%+v, want fail and testing", got)
	}
	got = only(t, verifyWith(t, testOptions(records{testKeyName: s.record}), message))
	if got.Testing {
		t.Errorf("%+v, want no testing", got)
	}
}

func TestRSAKeySizes(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0") // to make a key that must be refused
	for _, c := range []struct {
		bits, least   int
		value, reason string
	}{{512, 0, Policy, "512 bits"}, {1024, 0, Pass, ""}, {1024, 512, Pass, ""}, {1024, 2048, Policy, "1024 bits"}, {2048, 2048, Pass, ""}} {
		key, err := rsa.GenerateKey(rand.Reader, c.bits)
		if err != nil {
			t.Fatal(err)
		}
		s := rsaSigner(t, key)
		o := testOptions(records{testKeyName: s.record})
		o.MinRSABits = c.least
		got := only(t, verifyWith(t, o, s.sign(t, strings.Replace(testTags, "ed25519", "rsa", 1), testMessage)))
		checkResult(t, got, c.value, c.reason)
		if got.KeyBits != c.bits {
			t.Errorf("key bits %d, want %d", got.KeyBits, c.bits)
		}
	}
}

// TestULabels: d=, s= and i= in U-labels are looked up as A-labels (RFC 8616).
func TestULabels(t *testing.T) {
	s := newEd25519Signer(t)
	tags := "v=1; a=ed25519-sha256; c=relaxed/relaxed; d=Bücher.example; s=schlüssel; i=jörg@post.bücher.EXAMPLE; h=From; bh={bh}"
	got := only(t, verifyWith(t, testOptions(records{"xn--schlssel-95a._domainkey.xn--bcher-kva.example": s.record}), s.sign(t, tags, testMessage)))
	checkResult(t, got, Pass, "")
	if got.Domain.String() != "xn--bcher-kva.example" || got.Selector != "xn--schlssel-95a" || got.Identity != "jörg@post.bücher.EXAMPLE" {
		t.Errorf("%+v", got)
	}
}

func TestUnsignedFrom(t *testing.T) {
	s := newEd25519Signer(t)
	o := testOptions(records{testKeyName: s.record})
	once := s.sign(t, testTags, testMessage)
	twice := s.sign(t, strings.Replace(testTags, "h=From", "h=From:From", 1), testMessage)
	checkResult(t, only(t, verifyWith(t, o, twice)), Pass, "")
	checkResult(t, only(t, verifyWith(t, o, "From: evil@example.org\r\n"+once)), Policy, "From field is not signed")
	checkResult(t, only(t, verifyWith(t, o, "From : evil@example.org\r\n"+once)), Policy, "From field is not signed")
	checkResult(t, only(t, verifyWith(t, o, "From: evil@example.org\r\n"+twice)), Fail, "signature did not verify")
}

// TestMessageWithoutEmptyLine: a header alone is a message, with an empty body.
func TestMessageWithoutEmptyLine(t *testing.T) {
	for _, message := range []string{"From: joe@example.com\r\n", "From: joe@example.com\r\n\r\n", "From: joe@example.com\r\n\r\n\r\n\r\n"} {
		for _, form := range []string{"simple/simple", "relaxed/relaxed", "relaxed"} {
			check(t, strings.Replace(testTags, "relaxed/relaxed", form, 1), message, Options{}, Pass, "")
		}
	}
}

func TestMalformedHeader(t *testing.T) {
	s := newEd25519Signer(t)
	message := strings.Replace(s.sign(t, testTags, testMessage), "\r\nTo:", "\r\nno field\r\nTo:", 1)
	checkResult(t, only(t, verifyWith(t, testOptions(records{testKeyName: s.record}), message)), PermError, "header is malformed")
}

func TestNoSignature(t *testing.T) {
	if results := verifyWith(t, testOptions(records{}), testMessage); len(results) != 0 {
		t.Errorf("results %+v", results)
	}
}

func TestCNAMEIsShown(t *testing.T) {
	s := newEd25519Signer(t)
	zone := records{testKeyName: "CNAME s1.keys.example.net", "s1.keys.example.net": s.record}
	got := only(t, verifyWith(t, testOptions(zone), s.sign(t, testTags, testMessage)))
	checkResult(t, got, Pass, "")
	if got.KeyName != "s1.keys.example.net" {
		t.Errorf("key name %q", got.KeyName)
	}
}

// TestTooManySignatures: ten are verified, the others get a policy result, and
// of very many most are only counted.
func TestTooManySignatures(t *testing.T) {
	s := newEd25519Signer(t)
	message := s.sign(t, testTags, testMessage)
	field, _, _ := strings.Cut(message, "From: Joe")
	results := verifyWith(t, testOptions(records{testKeyName: s.record}), strings.Repeat(field, 11)+message)
	if len(results) != 12 {
		t.Fatalf("%d results", len(results))
	}
	for i, r := range results {
		if i < 10 {
			checkResult(t, r, Pass, "")
		} else {
			checkResult(t, r, Policy, "more than 10 signatures")
		}
	}
	results = verifyWith(t, testOptions(records{testKeyName: s.record}), strings.Repeat(field, 4999)+message)
	if len(results) != maxResults+1 {
		t.Fatalf("%d results", len(results))
	}
	checkResult(t, results[maxResults], Policy, "4950 more signatures were not looked at")
}

// TestBrokenSignaturesTakeNoPlace: fields that cannot be understood do not use
// up the number of those that are verified.
func TestBrokenSignaturesTakeNoPlace(t *testing.T) {
	s := newEd25519Signer(t)
	message := strings.Repeat("DKIM-Signature: v=1; a=rsa-sha1\r\n", 20) + s.sign(t, testTags, testMessage)
	results := verifyWith(t, testOptions(records{testKeyName: s.record}), message)
	checkResult(t, results[20], Pass, "")
}

func TestVeryManyFields(t *testing.T) {
	s := newEd25519Signer(t)
	message := strings.Repeat("X: y\r\n", maxFields) + s.sign(t, testTags, testMessage)
	checkResult(t, only(t, verifyWith(t, testOptions(records{testKeyName: s.record}), message)), Policy, "header fields")
}

// brokenBody fails after some octets.
type brokenBody struct {
	content string
	err     error
}

func (b brokenBody) Size() int64 { return 1 << 20 }

func (b brokenBody) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader(b.content), iotest.ErrReader(b.err))), nil
}

// TestReadErrors: a body that cannot be read is an error, and nothing is left
// running.
func TestReadErrors(t *testing.T) {
	s := newEd25519Signer(t)
	broken := errors.New("disk on fire")
	signed := s.sign(t, testTags, testMessage)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		for _, content := range []string{"", "From: x", signed[:len(signed)-5]} {
			results, err := NewVerifier(testOptions(slowResolver{records{testKeyName: s.record}, time.Hour})).Verify(t.Context(), brokenBody{content, broken})
			if !errors.Is(err, broken) || results != nil {
				t.Errorf("after %d octets: %v, %v", len(content), results, err)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("look-ups were waited for: %v", took)
		}
	})
}

// slowResolver takes its time unless the context ends.
type slowResolver struct {
	Resolver
	delay time.Duration
}

func (r slowResolver) TXT(ctx context.Context, name string) (dnsx.Answer[string], error) {
	select {
	case <-ctx.Done():
		return dnsx.Answer[string]{}, ctx.Err()
	case <-time.After(r.delay):
		return r.Resolver.TXT(ctx, name)
	}
}

// TestLookUpsRunTogether: keys are fetched several at a time, but not more
// than the bound.
func TestLookUpsRunTogether(t *testing.T) {
	s := newEd25519Signer(t)
	zone := records{}
	message := testMessage
	for i := range 10 {
		selector := fmt.Sprintf("k%d", i)
		zone[selector+"._domainkey.example.com"] = s.record
		field := s.sign(t, strings.Replace(testTags, "s=s1", "s="+selector, 1), testMessage)
		message = strings.TrimSuffix(field, testMessage) + message
	}
	synctest.Test(t, func(t *testing.T) {
		resolver := &countingResolver{Resolver: slowResolver{zone, time.Second}}
		start := time.Now()
		results := verifyWith(t, testOptions(resolver), message)
		for _, r := range results {
			checkResult(t, r, Pass, "")
		}
		if took := time.Since(start); len(results) != 10 || took != 3*time.Second || resolver.most.Load() != parallelLookups {
			t.Errorf("%d results in %v, %d at once", len(results), took, resolver.most.Load())
		}
	})
}

func TestCancelledContext(t *testing.T) {
	s := newEd25519Signer(t)
	message := s.sign(t, testTags, testMessage)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		v := NewVerifier(testOptions(slowResolver{records{testKeyName: s.record}, time.Hour}))
		if _, err := v.Verify(ctx, mail.MemoryBody([]byte(message))); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

// Ten sound signatures put in front of the author's, by whoever handed the
// message on, were all that was verified, and DMARC failed.
func TestSignaturesInFrontHidTheAuthors(t *testing.T) {
	s := newEd25519Signer(t)
	junk, _, _ := strings.Cut(s.sign(t, strings.Replace(testTags, "d=example.com", "d=junk.test", 1), testMessage), "From: Joe")
	keys := records{testKeyName: s.record, "s1._domainkey.junk.test": s.record}
	results := verifyWith(t, testOptions(keys), strings.Repeat(junk, 12)+s.sign(t, testTags, testMessage))
	if len(results) != 13 {
		t.Fatalf("%d results", len(results))
	}
	checkResult(t, results[12], Pass, "")
	for i, r := range results[:12] { // the others from the top
		if i < 9 {
			checkResult(t, r, Pass, "")
		} else {
			checkResult(t, r, Policy, "more than 10 signatures")
		}
	}
}
