package signing

import (
	"crypto"
	"crypto/ed25519"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"gatepost/auth/dkim"
	"gatepost/mail"

	"pgregory.net/rapid"
)

// TestWhateverIsSignedVerifies makes messages of pieces that canonicalization
// stumbles over. Lines end in CRLF, as the wire sees to.
func TestWhateverIsSignedVerifies(t *testing.T) {
	b := newBench(t, "example.com")
	s := b.signer(t, Rule{Domains: []string{"example.com"}, Algorithms: []string{"ed25519"}})
	verifier := dkim.NewVerifier(dkim.Options{Resolver: b.dns.Resolver(t)})
	piece := rapid.SampledFrom([]string{" ", "\t", "\r\n", "\r\n", "x", ":", ";", "From: b@c.example", "ü", "\xff", "\v", "=", ".", "\u2028", "\u00a0"})
	value := rapid.SampledFrom([]string{" ", "\t", "\r\n ", "\r\n\t", "x", ":", ";", "ü", "\xff", "\v", "\u0085", "\u00a0"})
	name := rapid.SampledFrom([]string{"Subject", "subject ", "To", "Cc", "X-Other", "Reply-To"})
	m := vouched(t, "")
	rapid.Check(t, func(t *rapid.T) {
		text := "From: a@example.com\r\n"
		for range rapid.IntRange(0, 5).Draw(t, "fields") {
			text += name.Draw(t, "name") + ":" + strings.Join(rapid.SliceOfN(value, 0, 6).Draw(t, "value"), "") + "\r\n"
		}
		text += "\r\n" + strings.Join(rapid.SliceOfN(piece, 0, 20).Draw(t, "body"), "")
		m.ID++
		m.Content = mail.MemoryBody([]byte(text))
		fields, _, err := s.Sign(t.Context(), m, "as-is", m.Open)
		if err != nil {
			t.Fatal(err)
		}
		results, err := verifier.Verify(t.Context(), mail.MemoryBody(append(fields, text...)))
		if err != nil || len(results) != 1 || results[0].Value != dkim.Pass {
			t.Fatalf("%+v, %v\n%q", results, err, text)
		}
	})
}

// slowKey counts how many signatures are being made.
type slowKey struct {
	crypto.Signer
	running, most *atomic.Int32
}

func (k slowKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	n := k.running.Add(1)
	for most := k.most.Load(); n > most && !k.most.CompareAndSwap(most, n); most = k.most.Load() {
	}
	synctest.Wait() // until all others wait for a slot
	k.running.Add(-1)
	return nil, nil
}

func TestRSASignaturesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		key := boundedKey{slowKey{ed25519.PrivateKey{}, &running, &most}, make(chan struct{}, 1)}
		var group sync.WaitGroup
		for range 5 {
			group.Go(func() { key.Sign(nil, nil, crypto.SHA256) })
		}
		group.Wait()
		if most.Load() != 1 {
			t.Errorf("%d at once", most.Load())
		}
	})
}
