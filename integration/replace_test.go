package integration

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExistingSignature: what becomes of a signature of our d= that is there
// already, by dkim.sign[].existing.
func TestExistingSignature(t *testing.T) {
	old := "DKIM-Signature: v=1; a=rsa-sha256; d=sender.test; s=old; h=From;\r\n bh=AAAA; b=BBBB\r\n"
	for existing, want := range map[string][]string{"keep": {"s=old"}, "replace": {"s=new"}, "add": {"s=new", "s=old"}} {
		t.Run(existing, func(t *testing.T) {
			t.Parallel()
			s := startSink(t, nil)
			in := freeAddress(t)
			key := filepath.Join(t.TempDir(), "new.pem")
			writeKey(t, key)
			config := relayConfig + "dkim:\n  sign: [{domains: [sender.test], algorithms: [ed25519], existing: " + existing + "}]\n" +
				"  keys: [{domain: sender.test, selector: new, file: " + key + "}]\n"
			startGate(t, config, map[string]string{"in": in, "sink": s.Addr, "store": sqliteStore})
			if code, text, err := deliver(in, "c.test", "a@sender.test", []string{"b@rcpt.test"}, old+letter("a@sender.test", "b@rcpt.test", "signed before", "x")); code != 250 {
				t.Fatal(code, text, err)
			}
			got := string(s.wait(t, "Subject: signed before").Data)
			if n := strings.Count(got, "DKIM-Signature:"); n != len(want) {
				t.Errorf("%d signatures, want %v:\n%s", n, want, got)
			}
			for _, selector := range want {
				if !strings.Contains(got, selector+";") {
					t.Errorf("no signature with %s:\n%s", selector, got)
				}
			}
		})
	}
}

// writeKey makes an Ed25519 key in PKCS#8 PEM.
func writeKey(t testing.TB, file string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
