package arc

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"time"

	"gatepost/auth/canon"
	"gatepost/mail"
)

// testFields are the defaults of policy.arc.seal, in short.
func testFields() []canon.Covered {
	return canon.CoveredFields([]string{"From", "To", "Subject", "Message-ID", "References", "X-A", "DKIM-Signature"}, []string{"From", "To", "Cc", "Subject", "Date"})
}

// forwarder seals with Seal and checks with Verifier.
type forwarder struct {
	Seal
	zone records
}

// newForwarder has an Ed25519 key of its domain's.
func newForwarder(t testing.TB, zone records, name string) *forwarder {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	return newForwarderWith(t, zone, name, ed25519.NewKeyFromSeed(seed[:]))
}

// newRSAForwarder has an RSA key.
func newRSAForwarder(t testing.TB, zone records, name string) *forwarder {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return newForwarderWith(t, zone, name, key)
}

func newForwarderWith(t testing.TB, zone records, name string, key crypto.Signer) *forwarder {
	t.Helper()
	record := ""
	switch k := key.Public().(type) {
	case ed25519.PublicKey:
		record = "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(k)
	default:
		der, err := x509.MarshalPKIXPublicKey(k)
		if err != nil {
			t.Fatal(err)
		}
		record = "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
	}
	zone["s1._domainkey."+name] = record
	return &forwarder{Seal{Domain: domain(t, name), Selector: "s1", Key: key, Fields: testFields(), Time: testTime}, zone}
}

// results are what this forwarder saw.
func (f *forwarder) results() string {
	return fmt.Sprintf("mx.%s;\r\n spf=pass smtp.mailfrom=author.test;\r\n dmarc=pass header.from=author.test", f.Domain)
}

// forward judges a message as it comes in, changes it, and seals what goes out.
func (f *forwarder) forward(t testing.TB, message string, change func(string) string) string {
	t.Helper()
	was := verify(t, f.zone, message)
	if change != nil {
		message = change(message)
	}
	made, err := f.Set(t.Context(), opens(message), was, f.results())
	if err != nil {
		t.Fatalf("%v\n%q", err, message)
	}
	return string(made) + message
}

func opens(message string) Opener {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(message)), nil }
}

// oddMessage draws a message that canonicalization stumbles over. A tame one
// has nothing that other programs are known to judge otherwise
// (docs/conformance.md).
func oddMessage(r *mathrand.Rand, tame bool) string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	words := func(most int) string {
		var b strings.Builder
		for range r.IntN(most + 1) {
			b.WriteString(pick(" ", " ", "  ", "\t", "\r\n ", " \r\n\t") + pick("word", "b=x;", "a:b", "=?utf-8?q?x?=", "ö", "\xe9", "<a@b.example>", strings.Repeat("long", 60), "i=1;", ":"))
		}
		return b.String()
	}
	colon := func() string {
		if tame {
			return ":"
		}
		return pick(":", ":", ": ", " :")
	}
	var b strings.Builder
	for range r.IntN(8) {
		fmt.Fprintf(&b, "%s%s%s\r\n", pick("X-A", "x-a", "Received", "Subject", "References", "To", "CC", "List-Id", "X-Empty"), colon(), words(6))
	}
	fmt.Fprintf(&b, "%s%s%s\r\nSubject%s%s\r\nMessage-ID: <1@author.test>\r\n", pick("From", "FROM"), colon(), pick("anna@author.test", " Anna <anna@author.test>", "\r\n\t\"Anna, A.\"  \r\n  <anna@author.test>"), colon(), words(4))
	if r.IntN(4) == 0 {
		b.WriteString("DKIM-Signature: v=1; a=rsa-sha256; d=other.test; s=x;\r\n\th=from; bh=AAAA; b=BBBB\r\n")
	}
	b.WriteString("\r\n")
	for range r.IntN(12) {
		b.WriteString(strings.ReplaceAll(words(3), "\r\n", "") + pick("\r\n", "\r\n", " \r\n", "\t \r\n", "\r\n\r\n", ".\r\n"))
	}
	if !tame && r.IntN(4) == 0 {
		b.WriteString("no line end")
	}
	return b.String()
}

// changes is what a list does to a message.
func changes(r *mathrand.Rand, message string) string {
	header, body, _ := strings.Cut(message, "\r\n\r\n")
	switch r.IntN(4) {
	case 0:
		return strings.Replace(message, "\r\nSubject:", "\r\nSubject: [list]", 1)
	case 1:
		return header + "\r\nReply-To: list@list.test\r\n\r\n" + body + "-- \r\nfooter\r\n"
	case 2:
		return "Received: from x by y; " + testTime.Format(time.RFC1123Z) + "\r\nX-A: new\r\n" + message
	}
	return message
}

// newestSet is the header of a sealed message, the newest set first.
func newestSet(t testing.TB, message string) mail.Header {
	t.Helper()
	h, err := mail.ParseHeader([]byte(message))
	if err != nil || len(h.Fields) < 3 {
		t.Fatalf("%v\n%q", err, message)
	}
	return h
}
