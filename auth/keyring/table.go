package keyring

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"gatepost/mail"
	"gatepost/store"
)

// Errors of changes.
var (
	ErrNoKey  = errors.New("no such key")
	ErrExists = errors.New("there is a key of that name already")
)

// Schema is the tables of the ring. dkim_ring has one row, whose version every
// change raises.
func Schema() store.Schema {
	return store.Schema{Name: "keyring", Steps: []string{`
CREATE TABLE dkim_key (
	domain {{text}},
	selector {{text}},
	algorithm {{text}},
	state {{text}},
	created {{int}},
	changed {{int}},
	sealed {{bytes}},
	PRIMARY KEY (domain, selector)
) {{rowless}};
CREATE TABLE dkim_ring (id {{key}}, version {{int}});
INSERT INTO dkim_ring (id, version) VALUES (1, 0)`}}
}

// maxKeys bounds what is read; a site has two keys per domain.
const maxKeys = 10000

func (r *Ring) readStore(ctx context.Context) ([]Key, error) {
	var keys []Key
	err := r.store.Select(ctx, func(scan func(...any) error) error {
		var (
			domain, selector, state string
			created, changed        int64
			sealed                  []byte
		)
		if err := scan(&domain, &selector, &state, &created, &changed, &sealed); err != nil {
			return err
		}
		k, err := r.unseal(domain, selector, sealed)
		if err != nil {
			return err
		}
		k.State, k.Created, k.Changed = State(state), time.UnixMilli(created), time.UnixMilli(changed)
		keys = append(keys, k)
		return nil
	}, "SELECT domain, selector, state, created, changed, sealed FROM dkim_key ORDER BY domain, selector LIMIT ?", maxKeys)
	if err != nil {
		return nil, fmt.Errorf("read DKIM keys: %w", err)
	}
	return keys, nil
}

func (r *Ring) unseal(domain, selector string, sealed []byte) (Key, error) {
	d, err := mail.ParseDomain(domain)
	if err != nil {
		return Key{}, err
	}
	name := Key{Domain: d, Selector: selector}.Name()
	der, err := r.sealer.open(name, sealed)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", name, err)
	}
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w: %w", name, ErrKey, err)
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return Key{}, fmt.Errorf("%s: %w", name, ErrKey)
	}
	return newKey(d, selector, signer)
}

// insert puts a new key into the store.
func (r *Ring) insert(ctx context.Context, k Key) (Key, error) {
	if _, err := r.Find(ctx, k.Domain, k.Selector); err == nil {
		return Key{}, fmt.Errorf("%w: %s", ErrExists, k.Name())
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return Key{}, fmt.Errorf("encode key %s: %w", k.Name(), err)
	}
	sealed, err := r.sealer.seal(k.Name(), der)
	if err != nil {
		return Key{}, err
	}
	k.Created = r.now()
	k.Changed = k.Created
	err = r.change(ctx, store.Statement{
		SQL: `INSERT INTO dkim_key (domain, selector, algorithm, state, created, changed, sealed)
			VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (domain, selector) DO NOTHING`,
		Args: []any{k.Domain.String(), k.Selector, string(k.Algorithm), string(k.State), k.Created.UnixMilli(), k.Changed.UnixMilli(), sealed},
		Must: true,
	})
	if errors.Is(err, store.ErrConflict) {
		return Key{}, fmt.Errorf("%w: %s", ErrExists, k.Name())
	}
	return k, err
}

// change submits statements, raises the version and reads the ring again.
func (r *Ring) change(ctx context.Context, statements ...store.Statement) error {
	statements = append(statements, store.Statement{SQL: "UPDATE dkim_ring SET version = version + 1 WHERE id = 1", Must: true})
	if _, err := r.store.Submit(ctx, statements...); err != nil {
		return fmt.Errorf("change the key ring: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reload(ctx)
}
