package keyring

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
)

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func pkcs8(t testing.TB, private any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// shortRSA makes a key that Go refuses to make by default.
func shortRSA(t *testing.T) *rsa.PrivateKey {
	t.Setenv("GODEBUG", "rsa1024min=0")
	private, err := rsa.GenerateKey(rand.Reader, 768)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func TestParsePEM(t *testing.T) {
	long, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(long.Public())
	if err != nil {
		t.Fatal(err)
	}
	short := shortRSA(t)
	rsaPEM := block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(long))
	legacy := strings.Replace(string(rsaPEM), "KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n", 1)
	for _, c := range []struct {
		name string
		text []byte
		want string // in the error; empty: it parses
	}{
		{"PKCS#1", rsaPEM, ""},
		{"PKCS#8 RSA", block("PRIVATE KEY", pkcs8(t, long)), ""},
		{"PKCS#8 Ed25519", block("PRIVATE KEY", pkcs8(t, edwards)), ""},
		{"behind a public key", append(block("PUBLIC KEY", public), rsaPEM...), ""},
		{"encrypted PKCS#8", block("ENCRYPTED PRIVATE KEY", []byte{0}), "encrypted"},
		{"encrypted PKCS#1", []byte(legacy), "encrypted"},
		{"short PKCS#1", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(short)), "768 bits"},
		{"short PKCS#8", block("PRIVATE KEY", pkcs8(t, short)), "768 bits"},
		{"ECDSA in PKCS#8", block("PRIVATE KEY", pkcs8(t, curve)), "ECDSA"},
		{"ECDSA in SEC 1", block("EC PRIVATE KEY", sec1), "another kind"},
		{"public key", block("PUBLIC KEY", public), "the private key is needed"},
		{"certificate", block("CERTIFICATE", public), "the private key is needed"},
		{"OpenSSH", block("OPENSSH PRIVATE KEY", []byte{0}), "OpenSSH"},
		{"no PEM", []byte("hello"), "no PEM block"},
		{"empty", nil, "no PEM block"},
		{"garbage in PKCS#1", block("RSA PRIVATE KEY", []byte{0x30, 0x01, 0x00}), "not a usable DKIM key"},
		{"garbage in PKCS#8", block("PRIVATE KEY", []byte("x")), "not a usable DKIM key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			private, err := ParsePEM(c.text)
			switch {
			case c.want == "" && (err != nil || private == nil):
				t.Errorf("not read: %v", err)
			case c.want != "" && (!errors.Is(err, ErrKey) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}
