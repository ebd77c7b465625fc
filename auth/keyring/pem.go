package keyring

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
)

// ErrKey reports a private key that cannot be used for DKIM.
var ErrKey = errors.New("not a usable DKIM key")

// RFC 8301 section 3.2: at least 1024 bits. Above 8192 a signature takes
// seconds and the record no longer fits in DNS.
const (
	minRSABits = 1024
	maxRSABits = 8192
)

// ParsePEM reads a private key in PKCS#1 or PKCS#8 form. Its errors say what
// the file holds instead.
func ParsePEM(text []byte) (crypto.Signer, error) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, fmt.Errorf("%w: no PEM block with a private key (\"-----BEGIN PRIVATE KEY-----\") in it", ErrKey)
		}
		if block.Type != "EC PARAMETERS" && block.Type != "CERTIFICATE" && block.Type != "PUBLIC KEY" || len(rest) == 0 {
			return parseBlock(block)
		}
		text = rest
	}
}

func parseBlock(block *pem.Block) (crypto.Signer, error) {
	if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
		return nil, fmt.Errorf("%w: the key is encrypted; decrypt it first: openssl pkey -in key.pem -out plain.pem", ErrKey)
	}
	switch block.Type {
	case "RSA PRIVATE KEY":
		private, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return nil, explainRSA(block.Bytes, err)
		}
		return checkKey(private)
	case "PRIVATE KEY":
		private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, explainRSA(insidePKCS8(block.Bytes), err)
		}
		return checkKey(private)
	case "EC PRIVATE KEY", "DSA PRIVATE KEY":
		return nil, fmt.Errorf("%w: %q is another kind of key; DKIM knows RSA and Ed25519", ErrKey, block.Type)
	case "OPENSSH PRIVATE KEY":
		return nil, fmt.Errorf("%w: an OpenSSH key file; only PKCS#1 and PKCS#8 are read", ErrKey)
	case "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE":
		return nil, fmt.Errorf("%w: the file holds a %s, the private key is needed", ErrKey, block.Type)
	}
	return nil, fmt.Errorf("%w: a PEM block %q; PKCS#1 (RSA PRIVATE KEY) and PKCS#8 (PRIVATE KEY) are read", ErrKey, block.Type)
}

// checkKey refuses what DKIM cannot use.
func checkKey(private any) (crypto.Signer, error) {
	switch p := private.(type) {
	case ed25519.PrivateKey:
		return p, nil
	case *rsa.PrivateKey:
		if err := checkBits(p.N.BitLen()); err != nil {
			return nil, err
		}
		return p, nil
	case *ecdsa.PrivateKey:
		return nil, fmt.Errorf("%w: an ECDSA key; DKIM knows RSA and Ed25519", ErrKey)
	}
	return nil, fmt.Errorf("%w: a key of type %T; DKIM knows RSA and Ed25519", ErrKey, private)
}

func checkBits(bits int) error {
	switch {
	case bits < minRSABits:
		return fmt.Errorf("%w: an RSA key of %d bits; receivers refuse less than %d (RFC 8301)", ErrKey, bits, minRSABits)
	case bits > maxRSABits:
		return fmt.Errorf("%w: an RSA key of %d bits; more than %d is too slow and does not fit in DNS", ErrKey, bits, maxRSABits)
	}
	return nil
}

// explainRSA says that a key is too short where that is why it was not parsed.
func explainRSA(pkcs1 []byte, err error) error {
	var (
		sequence asn1.RawValue
		version  int
		modulus  *big.Int
	)
	if _, bad := asn1.Unmarshal(pkcs1, &sequence); bad != nil {
		return fmt.Errorf("%w: %w", ErrKey, err)
	}
	rest, bad := asn1.Unmarshal(sequence.Bytes, &version)
	if bad == nil {
		_, bad = asn1.Unmarshal(rest, &modulus)
	}
	if bad == nil && modulus.BitLen() < minRSABits {
		return checkBits(modulus.BitLen())
	}
	return fmt.Errorf("%w: %w", ErrKey, err)
}

// insidePKCS8 is the key inside the envelope of RFC 5208.
func insidePKCS8(der []byte) []byte {
	var envelope struct {
		Version   int
		Algorithm asn1.RawValue
		Key       []byte
		Rest      []asn1.RawValue `asn1:"optional,tag:0"`
	}
	if _, err := asn1.Unmarshal(der, &envelope); err != nil {
		return nil
	}
	return envelope.Key
}

// PEM is the private key in PKCS#8 form.
func (k Key) PEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("encode key %s: %w", k.Name(), err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
