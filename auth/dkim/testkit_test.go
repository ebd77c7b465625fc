package dkim

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatepost/auth/canon"
	"gatepost/dnsx"
	"gatepost/mail"
)

// records is a Resolver of TXT records by name. A record "SERVFAIL" is
// trouble; a name with several records has them on several lines.
type records map[string]string

func (r records) TXT(_ context.Context, name string) (dnsx.Answer[string], error) {
	record, ok := r[name]
	switch {
	case !ok:
		return dnsx.Answer[string]{}, &dnsx.Error{Kind: dnsx.NXDomain, Name: name, Type: "TXT", Err: errors.New("no such name")}
	case record == "SERVFAIL":
		return dnsx.Answer[string]{}, &dnsx.Error{Kind: dnsx.Temporary, Name: name, Type: "TXT", Err: errors.New("server failure")}
	case strings.HasPrefix(record, "CNAME "):
		target := strings.TrimPrefix(record, "CNAME ")
		return dnsx.Answer[string]{Records: []string{r[target]}, Canonical: target}, nil
	}
	return dnsx.Answer[string]{Records: strings.Split(record, "\n")}, nil
}

var testTime = time.Unix(1_800_000_000, 0)

// testOptions are the options of a verifier that stands at testTime.
func testOptions(r Resolver) Options {
	return Options{Resolver: r, Now: func() time.Time { return testTime }}
}

func verifyWith(t testing.TB, o Options, message string) []Result {
	t.Helper()
	results, err := NewVerifier(o).Verify(t.Context(), mail.MemoryBody([]byte(message)))
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	return results
}

// only wants exactly one result.
func only(t testing.TB, results []Result) Result {
	t.Helper()
	if len(results) != 1 {
		t.Fatalf("%d results, want 1: %+v", len(results), results)
	}
	return results[0]
}

// checkResult compares value and reason; an empty reason means none.
func checkResult(t testing.TB, got Result, value, reason string) {
	t.Helper()
	if got.Value != value || !strings.Contains(got.Reason, reason) || (reason == "") != (got.Reason == "") {
		t.Errorf("result %s (%s), want %s (%s)", got.Value, got.Reason, value, reason)
	}
}

// signer makes signatures with any tags, right or wrong.
type signer struct {
	key    crypto.Signer
	record string
}

func newEd25519Signer(t testing.TB) signer {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)}
}

func rsaSigner(t testing.TB, key *rsa.PrivateKey) signer {
	t.Helper()
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, "v=DKIM1; p=" + base64.StdEncoding.EncodeToString(public)}
}

// sign puts a signature with tags above message. "{bh}" in tags becomes the
// body hash; b= is added at the end unless tags hold "b=;".
func (s signer) sign(t testing.TB, tags, message string) string {
	t.Helper()
	head, body, ok := strings.Cut(message, "\r\n\r\n")
	if !ok {
		head, body = strings.TrimSuffix(message, "\r\n"), ""
	}
	header, err := mail.ParseHeader([]byte(head + "\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	parsed, _ := ParseTags(tags) // tags may be wrong; then anything will do
	sig := &signature{body: canon.BodySpec{Form: canon.Simple, Hash: crypto.SHA256, Limit: canon.NoLimit}, header: canon.Simple}
	_, _ = sig.parseForms(parsed), sig.parseNames(parsed)
	if !slices.Contains([]canon.Form{canon.Simple, canon.Relaxed}, sig.body.Form) {
		sig.body.Form = canon.Simple
	}
	hasher := canon.NewBodyHasher([]canon.BodySpec{sig.body})
	_, _ = hasher.Write([]byte(body))
	hasher.Close()
	tags = strings.Replace(tags, "{bh}", base64.StdEncoding.EncodeToString(hasher.Sum(sig.body).Digest), 1)
	if !strings.Contains(tags, "b=;") {
		tags += "; b=;"
	}
	field := "DKIM-Signature: " + tags + "\r\n"
	sig.field = mail.Field{Name: "DKIM-Signature", Raw: []byte(field)}
	digest, _ := sig.hash(canon.NewIndex(header))
	hash := crypto.Hash(crypto.SHA256)
	if _, ok := s.key.(ed25519.PrivateKey); ok {
		hash = 0
	}
	value, err := s.key.Sign(rand.Reader, digest, hash)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(field, " b=;", " b="+base64.StdEncoding.EncodeToString(value)+";", 1) + message
}

const (
	testMessage = "From: Joe <joe@example.com>\r\nTo: ann@example.net\r\nSubject: dinner\r\n\r\nHi.\r\n\r\nJoe.\r\n"
	testTags    = "v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.com; s=s1; h=From:To:Subject; bh={bh}"
	testKeyName = "s1._domainkey.example.com"
)

// suites is where the suites of others lie; a test that needs them is skipped without.
func suites(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("GATEPOST_SUITES")
	if dir == "" {
		dir = "../../../shared/suites"
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: the conformance suites are not at %s; set GATEPOST_SUITES", dir)
	}
	return dir
}

// readCRLF reads a file and turns bare LF into CRLF.
func readCRLF(t testing.TB, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	return string(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")))
}

// readZone reads lines of name, TXT and record, with tabs between them.
func readZone(t testing.TB, path ...string) records {
	t.Helper()
	zone := records{}
	for line := range strings.SplitSeq(readCRLF(t, path...), "\r\n") {
		if parts := strings.SplitN(line, "\t", 3); len(parts) == 3 {
			zone[parts[0]] = parts[2]
		}
	}
	return zone
}

func readRSAKey(t testing.TB, path ...string) *rsa.PrivateKey {
	t.Helper()
	block, _ := pem.Decode([]byte(readCRLF(t, path...)))
	if block == nil {
		t.Fatalf("%v holds no PEM", path)
		return nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*rsa.PrivateKey)
}

// countingResolver counts look-ups and how many run at once.
type countingResolver struct {
	Resolver
	lookups, running, most atomic.Int64
}

func (r *countingResolver) TXT(ctx context.Context, name string) (dnsx.Answer[string], error) {
	r.lookups.Add(1)
	for n := r.running.Add(1); ; {
		most := r.most.Load()
		if n <= most || r.most.CompareAndSwap(most, n) {
			break
		}
	}
	defer r.running.Add(-1)
	return r.Resolver.TXT(ctx, name)
}

func describeResults(results []Result) string {
	var b strings.Builder
	for _, r := range results {
		fmt.Fprintf(&b, "%s %s/%s: %s; ", r.Value, r.Domain, r.Selector, r.Reason)
	}
	return b.String()
}

func benchKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
