package policy

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"gatepost/dnsx"
	"gatepost/dnsx/dnstest"
	"gatepost/mail"
)

// processorTime is what the process used so far; unlike the clock it does not
// grow while others have the processor.
func processorTime(b *testing.B) int64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return used.Utime.Nano() + used.Stime.Nano()
}

// BenchmarkContent is what judging a message costs with warm DNS: the proofs
// and the rules, without the wire and the store. docs/conformance.md has the
// table.
func BenchmarkContent(b *testing.B) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	server := dnstest.New(b, fmt.Sprintf("author.example. 300 TXT \"v=spf1 ip4:203.0.113.0/24 -all\"\n_dmarc.author.example. 300 TXT \"v=DMARC1; p=reject\"\n"+
		"k0._domainkey.author.example. 300 TXT \"v=DKIM1; k=ed25519; p=%s\"\n", base64.StdEncoding.EncodeToString(public)))
	e := engine(b, realProofs(b, server.ResolverWith(b, dnsx.Options{})))
	signed := func(size, signatures int) string {
		text := letter(size)
		for range signatures {
			text = signedBy(b, key, "k0", text)
		}
		return text
	}
	for _, size := range []int{5 << 10, 50 << 10, 1 << 20} {
		for _, count := range []int{0, 1, 3, 10} {
			benchContent(b, fmt.Sprintf("%dKiB/%dsignatures", size>>10, count), e, signed(size, count))
		}
		for _, sealers := range [][]string{{"a.example"}, {"a.example", "b.example", "c.example"}} {
			benchContent(b, fmt.Sprintf("%dKiB/1signatures%dseals", size>>10, len(sealers)), e, sealedBy(b, server, sealers, signed(size, 1)))
		}
	}
	for _, size := range []int{25 << 20, 50 << 20} {
		benchContent(b, fmt.Sprintf("%dKiB/1signatures", size>>10), e, signed(size, 1))
	}
	benchContent(b, fmt.Sprintf("%dKiB/hostile", 50<<10), e, hostile(50<<20))
}

func letter(size int) string {
	return "From: joe@author.example\r\nSubject: x\r\n\r\n" + strings.Repeat("some words of a letter that fill a line, and some more of them after that\r\n", size/75)
}

// hostile is a message of empty lines, with as many fields as are judged and 50
// signatures over all of them, each with another l=.
func hostile(size int) string {
	var b strings.Builder
	for i := range maxHeaderFields - 51 {
		fmt.Fprintf(&b, "X-%d: %s\r\n", i, strings.Repeat("x", 40))
	}
	names := strings.Repeat(":X-1", 900)
	for i := range 50 {
		fmt.Fprintf(&b, "DKIM-Signature: v=1; a=ed25519-sha256; c=%s; d=author.example; s=k0; l=%d; bh=%s=; h=From%s; b=AAAA\r\n",
			[]string{"simple/simple", "relaxed/relaxed"}[i%2], i*1000, strings.Repeat("A", 43), names)
	}
	return b.String() + "From: joe@author.example\r\n\r\n" + strings.Repeat("\r\n", size/2) + "x"
}

// benchContent judges a message that SPF proves, over and over.
func benchContent(b *testing.B, name string, e *Engine, text string) {
	content := mail.MemoryBody([]byte(text))
	h, err := mail.HeaderOf(b.Context(), content, 1<<20)
	if err != nil {
		b.Fatal(err)
	}
	count := func(field string) int { return strings.Count("\n"+text, "\n"+field+": ") }
	session := stranger()
	session.Addr = netip.MustParseAddr("203.0.113.9")
	b.Run(name, func(b *testing.B) {
		before := processorTime(b)
		defer func() { b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op") }()
		for b.Loop() {
			facts, _, _ := e.Content(b.Context(), session, mail.Envelope{From: address(b, "joe@author.example")}, h, content)
			if facts.DMARC.Value != "pass" || len(facts.DKIM) != count("DKIM-Signature") || len(facts.ARC.Sets) != count("ARC-Seal") || facts.ARC.Value == "fail" {
				b.Fatalf("%+v", facts)
			}
		}
	})
}
