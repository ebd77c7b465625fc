package keyring

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"gatepost/auth/dkim"
)

// FuzzPEM: a private key that was read can be written and reads as the same
// key, of a size that DKIM knows.
func FuzzPEM(f *testing.F) {
	small := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	good := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8(f, small)})
	f.Add(good)
	f.Add(append([]byte("-----BEGIN EC PARAMETERS-----\nAAAA\n-----END EC PARAMETERS-----\n"), good...))
	for _, s := range []string{"", "-----BEGIN PRIVATE KEY-----\n", "-----BEGIN RSA PRIVATE KEY-----\nMAMCAQA=\n-----END RSA PRIVATE KEY-----\n",
		"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		private, err := ParsePEM(text)
		if err != nil {
			if !errors.Is(err, ErrKey) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if p, ok := private.(*rsa.PrivateKey); ok && (p.N.BitLen() < minRSABits || p.N.BitLen() > maxRSABits) {
			t.Fatalf("a key of %d bits", p.N.BitLen())
		}
		k, err := newKey(domain(t, "example.com"), "s1", private)
		if err != nil {
			t.Fatal(err)
		}
		again, err := k.PEM()
		if err != nil {
			t.Fatal(err)
		}
		same, err := ParsePEM(again)
		if err != nil || !bytes.Equal(public(t, same), public(t, private)) {
			t.Fatalf("%q reads as another key, %v", again, err)
		}
	})
}

func public(t *testing.T, private crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// FuzzSealKey: what is read is 32 octets, and reads as the same again.
func FuzzSealKey(f *testing.F) {
	whole := base64.StdEncoding.EncodeToString(sealKey(7))
	for _, s := range []string{whole, " " + whole + "\n", strings.TrimRight(whole, "="), "AAAA", "", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, err := ParseSealKey(text)
		if err != nil {
			return
		}
		again, err := ParseSealKey(base64.StdEncoding.EncodeToString(key))
		if len(key) != 32 || err != nil || !bytes.Equal(again, key) {
			t.Fatalf("%q gives %d octets, again %v", text, len(key), err)
		}
	})
}

// FuzzSealed: a row of the store opens as what was sealed under its own name
// and key, and as nothing else.
func FuzzSealed(f *testing.F) {
	s, err := newSealer(sealKey(7), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("example.com/s1", []byte("private"), []byte{}, 0)
	f.Add("example.com/s1", []byte(""), []byte("short"), 1)
	f.Add("a/b", bytes.Repeat([]byte{0}, 40), bytes.Repeat([]byte{0}, 40), 30)
	f.Fuzz(func(t *testing.T, name string, plain, forged []byte, flip int) {
		if _, err := s.open(name, forged); !errors.Is(err, ErrSealed) {
			t.Fatalf("%x opens, %v", forged, err)
		}
		sealed, err := s.seal(name, plain)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.open(name, sealed); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%x opens as %x, %v", plain, got, err)
		}
		if _, err := s.open(name+"x", sealed); err == nil {
			t.Fatal("opens under another name")
		}
		sealed[max(0, flip)%len(sealed)] ^= 1
		if _, err := s.open(name, sealed); err == nil {
			t.Fatal("opens though it was changed")
		}
	})
}

// FuzzRecord: the check of a published record says that it matches only where
// a verifier reads our key out of it.
func FuzzRecord(f *testing.F) {
	k, err := newKey(domain(f, "example.com"), "s1", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)))
	if err != nil {
		f.Fatal(err)
	}
	p := value(k)
	for _, s := range []string{k.Record(), "v=DKIM1; k=ed25519; h=sha1:sha256; s=*; t=y; p=" + p, "k=ed25519;p=" + p[:20] + " " + p[20:], "p=" + p,
		"v=DKIM1; k=ed25519; p=", `"v=DKIM1; p=x"`, `v=DKIM1\; p=`, "v=DKIM1; k=ed25519; h=sha1; p=" + p, "v=DKIM1; k=ed25519; t=s; p=" + p[:30], "p=x; p=y",
		"v=DKIM1; k=ed25519; h=*; p=" + p, "v=DKIM1; k=ed25519; s=EMAIL; p=" + p, "1=2; k=ed25519; p=" + p, "k=ed25519; n=\v; p=" + p, "k=ed25519; p=" + p[:20] + "\u00a0" + p[20:]} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		matches, problems := k.compareOne(text)
		if !matches {
			if len(problems) == 0 {
				t.Fatalf("%q does not match, and nothing is wrong", text)
			}
			return
		}
		read, err := dkim.ParseKey(text)
		if err != nil || !bytes.Equal(read.Public.(ed25519.PublicKey), k.publicBytes()) {
			t.Fatalf("%q matches, but a verifier reads %+v, %v", text, read, err)
		}
	})
}
