package keyring

import (
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

// ErrSealed reports a private key that the seal key does not open.
var ErrSealed = errors.New("private key cannot be unsealed: store.seal_key is not the one it was sealed with")

// sealFile is the seal key in the data directory.
const sealFile = "seal.key"

// ParseSealKey reads 32 octets in base64.
func ParseSealKey(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		key, err = base64.RawStdEncoding.DecodeString(text)
	}
	if err != nil || len(key) != chacha20poly1305.KeySize {
		return nil, fmt.Errorf("a seal key is %d octets in base64; make one with: openssl rand -base64 32", chacha20poly1305.KeySize)
	}
	return key, nil
}

// SealKeyIn reads the seal key of a data directory, and makes it when it is
// not there: for one node with an embedded store, which has no one to share
// with.
func SealKeyIn(dir string, random io.Reader) ([]byte, error) {
	path := filepath.Join(dir, sealFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if err := makeSealKey(dir, path, random); err != nil {
			return nil, fmt.Errorf("make seal key %s: %w", path, err)
		}
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read seal key: %w", err)
	}
	key, err := ParseSealKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// makeSealKey writes a new key whole and on the disk before it gets its name;
// of two programs that do so at once, one wins.
func makeSealKey(dir, path string, random io.Reader) error {
	key := make([]byte, chacha20poly1305.KeySize)
	if _, err := io.ReadFull(random, key); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, sealFile+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sealer seals private keys for the store.
type sealer struct {
	aead   cipher.AEAD
	random io.Reader
}

func newSealer(key []byte, random io.Reader) (*sealer, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	return &sealer{aead, random}, nil
}

// seal binds the key to its name, so that no row can be put in another's place.
func (s *sealer) seal(name string, plain []byte) ([]byte, error) {
	nonce := make([]byte, s.aead.NonceSize(), s.aead.NonceSize()+len(plain)+s.aead.Overhead())
	if _, err := io.ReadFull(s.random, nonce); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	return s.aead.Seal(nonce, nonce, plain, sealContext(name)), nil
}

func (s *sealer) open(name string, sealed []byte) ([]byte, error) {
	n := s.aead.NonceSize()
	if len(sealed) < n {
		return nil, ErrSealed
	}
	plain, err := s.aead.Open(nil, sealed[:n], sealed[n:], sealContext(name))
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}

func sealContext(name string) []byte { return []byte("gatepost dkim key 1\x00" + name) }
