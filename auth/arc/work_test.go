package arc

import (
	"fmt"
	"strings"
	"testing"

	"gatepost/auth/arc/arctest"
	"gatepost/mail"
)

// TestWorkOfHostileChainOfSize: 50 sets over a message of 50 MiB with runs of
// line ends or white space and 5,000 header fields cost under ten times the
// work of one set over plain text of that size, counted in octets hashed.
func TestWorkOfHostileChainOfSize(t *testing.T) {
	const size = 50 << 20
	header, _, _ := strings.Cut(plain, "\r\n\r\n")
	fields := strings.Repeat("X: "+strings.Repeat("x", 700)+"\r\n", 5000)
	names := "from" + strings.Repeat(":x", maxSignedNames-1)
	// Sealed is what relaxed canonicalization leaves of body, so that sealing
	// fifty times over is quick.
	work := func(fields string, n int, sealed, body string) int64 {
		var sealers []arctest.Sealer
		for i := range n {
			sealers = append(sealers, arctest.Sealer{Domain: fmt.Sprintf("s%d.test", i), Names: names})
		}
		text, zone := seal(t, fields+header+"\r\n\r\n"+sealed, sealers...)
		above, _, _ := strings.Cut(text, "\r\n\r\n")
		r, work, err := NewVerifier(Options{Resolver: zone}).verify(t.Context(), mail.MemoryBody([]byte(above+"\r\n\r\n"+body)))
		if err != nil || r.Value != Pass {
			t.Fatalf("%d sets: %+v, %v", n, r, err)
		}
		return work
	}
	words := strings.Repeat("words of a letter\r\n", size/19)
	one := work("", 1, words, words)
	if one < size*9/10 {
		t.Fatalf("%d octets hashed for the plain message", one)
	}
	for name, c := range map[string][2]string{
		"CRLFs at the end": {"x\r\n", "x\r\n" + strings.Repeat("\r\n", size/2)},
		"spaces":           {"x y\r\n", "x" + strings.Repeat(" \t", size/2) + "y\r\n"},
		"blank lines":      {"x\r\n", "x\r\n" + strings.Repeat(" \t \t \t\r\n", size/8)},
	} {
		if got := work(fields, MaxSets, c[0], c[1]); got > 3*one {
			t.Errorf("%s: %d octets hashed, %d for one set over plain text", name, got, one)
		}
	}
}
