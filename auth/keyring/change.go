package keyring

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"

	"gatepost/mail"
	"gatepost/store"
)

// New key pairs, their way through the states, and out.

// CheckSelector refuses what is no selector (RFC 6376 section 3.1).
func CheckSelector(s string) error {
	d, err := mail.ParseDomain(s)
	if err != nil || d.String() != s {
		return fmt.Errorf("%q is not a selector: use lower-case letters, digits and hyphens, such as s1", s)
	}
	return nil
}

// Create makes a key pair. With an empty selector it takes a new one of the
// day, such as gp20261121r. The key is pending unless activate is set.
func (r *Ring) Create(ctx context.Context, d mail.Domain, a Algorithm, selector string, activate bool) (Key, error) {
	private, err := r.generate(a)
	if err != nil {
		return Key{}, err
	}
	return r.add(ctx, d, selector, private, activate)
}

// Import takes a private key in PEM.
func (r *Ring) Import(ctx context.Context, d mail.Domain, selector string, text []byte, activate bool) (Key, error) {
	private, err := ParsePEM(text)
	if err != nil {
		return Key{}, err
	}
	return r.add(ctx, d, selector, private, activate)
}

func (r *Ring) generate(a Algorithm) (crypto.Signer, error) {
	switch a {
	case RSA2048, "":
		private, err := rsa.GenerateKey(r.random, 2048)
		if err != nil {
			return nil, fmt.Errorf("make RSA key: %w", err)
		}
		return private, nil
	case Ed25519:
		_, private, err := ed25519.GenerateKey(r.random)
		if err != nil {
			return nil, fmt.Errorf("make Ed25519 key: %w", err)
		}
		return private, nil
	}
	return nil, fmt.Errorf("%w: algorithm %q is neither %s nor %s", ErrKey, a, RSA2048, Ed25519)
}

func (r *Ring) add(ctx context.Context, d mail.Domain, selector string, private crypto.Signer, activate bool) (Key, error) {
	if d.IsZero() || d.IsLiteral() {
		return Key{}, fmt.Errorf("%w: %q is not a domain that can have DKIM keys", ErrKey, d)
	}
	k, err := newKey(d, selector, private)
	if err != nil {
		return Key{}, err
	}
	if k.Selector == "" {
		k.Selector = r.freeSelector(ctx, k)
	}
	if err := CheckSelector(k.Selector); err != nil {
		return Key{}, err
	}
	if len(k.RecordName()) > 253 {
		return Key{}, fmt.Errorf("%w: the DNS name %s is longer than 253 octets", ErrKey, k.RecordName())
	}
	if k, err = r.insert(ctx, k); err != nil || !activate {
		return k, err
	}
	return r.Activate(ctx, d, k.Selector)
}

// freeSelector names a key by day and kind; a second one of the day gets a
// number.
func (r *Ring) freeSelector(ctx context.Context, k Key) string {
	base := "gp" + r.now().UTC().Format("20060102") + k.recordKind()[:1]
	selector := base
	for n := 2; ; n++ {
		if _, err := r.Find(ctx, k.Domain, selector); errors.Is(err, ErrNoKey) {
			return selector
		}
		selector = fmt.Sprintf("%s%d", base, n)
	}
}

// Activate makes a key sign, and retires the active keys of the same domain
// and algorithm.
func (r *Ring) Activate(ctx context.Context, d mail.Domain, selector string) (Key, error) {
	k, err := r.stored(ctx, d, selector)
	if err != nil || k.State == Active {
		return k, err
	}
	now := r.now().UnixMilli()
	err = r.change(ctx,
		store.Statement{SQL: "UPDATE dkim_key SET state = ?, changed = ? WHERE domain = ? AND algorithm = ? AND state = ? AND selector <> ?",
			Args: []any{string(Retired), now, d.String(), string(k.Algorithm), string(Active), selector}},
		store.Statement{SQL: "UPDATE dkim_key SET state = ?, changed = ? WHERE domain = ? AND selector = ?",
			Args: []any{string(Active), now, d.String(), selector}, Must: true})
	if err != nil {
		return Key{}, err
	}
	return r.Find(ctx, d, selector)
}

// Retire stops a key from signing. Its record should stay in DNS until no mail
// signed with it is on its way any more.
func (r *Ring) Retire(ctx context.Context, d mail.Domain, selector string) error {
	if _, err := r.stored(ctx, d, selector); err != nil {
		return err
	}
	return r.change(ctx, store.Statement{SQL: "UPDATE dkim_key SET state = ?, changed = ? WHERE domain = ? AND selector = ?",
		Args: []any{string(Retired), r.now().UnixMilli(), d.String(), selector}, Must: true})
}

// Remove deletes a key for ever; an active one has to be retired first.
func (r *Ring) Remove(ctx context.Context, d mail.Domain, selector string) error {
	k, err := r.stored(ctx, d, selector)
	if err != nil {
		return err
	}
	if k.State == Active {
		return fmt.Errorf("key %s is active: retire it first", k.Name())
	}
	return r.change(ctx, store.Statement{SQL: "DELETE FROM dkim_key WHERE domain = ? AND selector = ? AND state <> ?",
		Args: []any{d.String(), selector, string(Active)}, Must: true})
}

// Export is the private key in PKCS#8 PEM.
func (r *Ring) Export(ctx context.Context, d mail.Domain, selector string) ([]byte, error) {
	k, err := r.Find(ctx, d, selector)
	if err != nil {
		return nil, err
	}
	return k.PEM()
}

// stored finds a key that the ring may change.
func (r *Ring) stored(ctx context.Context, d mail.Domain, selector string) (Key, error) {
	k, err := r.Find(ctx, d, selector)
	if err == nil && k.File != "" {
		return Key{}, fmt.Errorf("key %s is the mounted file %s: change it there", k.Name(), k.File)
	}
	return k, err
}

// DNS gives the records of the keys that sign or shall sign for a domain, as
// lines for a zone file.
func (r *Ring) DNS(ctx context.Context, d mail.Domain) []string {
	var lines []string
	for _, k := range r.List(ctx, d) {
		if k.State != Retired {
			lines = append(lines, k.ZoneLine())
		}
	}
	return lines
}

// maxString is the length of one character-string (RFC 1035 section 3.3).
const maxString = 255

// ZoneLine is the record as one line for a zone file, in strings of at most
// 255 octets, which readers join (RFC 6376 section 3.6.2.2).
func (k Key) ZoneLine() string {
	var parts []string
	text := k.Record()
	for len(text) > maxString {
		parts = append(parts, `"`+text[:maxString]+`"`)
		text = text[maxString:]
	}
	parts = append(parts, `"`+text+`"`)
	return fmt.Sprintf("%s. 3600 IN TXT ( %s )", k.RecordName(), strings.Join(parts, " "))
}
