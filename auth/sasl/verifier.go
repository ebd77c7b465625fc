package sasl

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"
)

// ErrCredentials reports a user that does not exist or a password that does
// not fit; which of the two is not told.
var ErrCredentials = errors.New("user or password is wrong")

// User is one identity that may authenticate with a password.
type User struct {
	Name string
	// PasswordHash is a PHC string of Hash; empty where the user has no password.
	PasswordHash string
}

// Options of a Verifier. Now and Random are required.
type Options struct {
	Users []User
	// Concurrency is how many hashes are computed at once; 0: one per processor.
	Concurrency int
	// Remember is how long a password that fitted is not hashed again; 0: a
	// minute, negative: never.
	Remember time.Duration
	Now      func() time.Time
	Random   io.Reader
}

// cacheSize bounds what a Verifier remembers.
const cacheSize = 1024

// Verifier checks passwords. It is safe for concurrent use.
type Verifier struct {
	users    map[string]passwordHash
	decoys   []params
	slots    chan struct{}
	now      func() time.Time
	remember time.Duration
	key      []byte

	mu    sync.Mutex
	cache map[[sha256.Size]byte]time.Time // until when the proof is good
}

// NewVerifier reads the users' hashes; a bad one gives a *FieldError.
func NewVerifier(o Options) (*Verifier, error) {
	v := &Verifier{
		users:    make(map[string]passwordHash, len(o.Users)),
		slots:    make(chan struct{}, o.Concurrency),
		now:      o.Now,
		remember: o.Remember,
		key:      make([]byte, 32),
		cache:    map[[sha256.Size]byte]time.Time{},
	}
	if o.Concurrency <= 0 {
		v.slots = make(chan struct{}, runtime.GOMAXPROCS(0))
	}
	if o.Remember == 0 {
		v.remember = time.Minute
	}
	if _, err := io.ReadFull(o.Random, v.key); err != nil {
		return nil, fmt.Errorf("read randomness for password cache: %w", err)
	}
	if err := v.load(o.Users); err != nil {
		return nil, err
	}
	return v, nil
}

func (v *Verifier) load(users []User) error {
	for i, u := range users {
		path := fmt.Sprintf("users[%d]", i)
		if u.Name == "" || len(u.Name) > maxUser {
			return &FieldError{path + ".name", fmt.Sprintf("want 1 to %d octets", maxUser)}
		}
		if u.PasswordHash == "" {
			continue
		}
		if _, ok := v.users[u.Name]; ok {
			return &FieldError{path + ".name", fmt.Sprintf("%q is there twice", u.Name)}
		}
		h, err := parseHash(u.PasswordHash)
		if err != nil {
			return &FieldError{path + ".password_hash", err.Error()}
		}
		v.users[u.Name] = h
		v.decoys = append(v.decoys, h.params)
	}
	if len(v.decoys) == 0 {
		v.decoys = []params{defaultParams}
	}
	return nil
}

// Verify tells with nil that password is the user's, with ErrCredentials that
// it is not, and with ctx's error that there was no time to find out.
func (v *Verifier) Verify(ctx context.Context, user, password string) error {
	h, known := v.users[user]
	proof := v.proof(user, password)
	if known && v.remembered(proof) {
		return nil
	}
	if !known {
		h = v.decoy(user)
	}
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-ctx.Done():
		return fmt.Errorf("wait for a free place to check a password: %w", ctx.Err())
	}
	if fits := h.fits(password); !fits || !known {
		return ErrCredentials
	}
	v.store(proof)
	return nil
}

// proof stands for user and password in the cache; without the key, which
// never leaves memory, it tells nothing about them.
func (v *Verifier) proof(user, password string) [sha256.Size]byte {
	mac := hmac.New(sha256.New, v.key)
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(user)))
	mac.Write(n[:])
	io.WriteString(mac, user)
	io.WriteString(mac, password)
	return [sha256.Size]byte(mac.Sum(nil))
}

// decoy is a hash that no password fits, as costly as that of some real user,
// always the same one for the same name.
func (v *Verifier) decoy(user string) passwordHash {
	seed := v.proof(user, "")
	p := v.decoys[binary.BigEndian.Uint64(seed[:8])%uint64(len(v.decoys))]
	return passwordHash{params: p, salt: seed[:16], sum: make([]byte, p.key)}
}

func (v *Verifier) remembered(proof [sha256.Size]byte) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	until, ok := v.cache[proof]
	if !ok {
		return false
	}
	if !v.now().Before(until) {
		delete(v.cache, proof)
		return false
	}
	return true
}

// store remembers a proof; a full cache first loses what is over, then any one.
func (v *Verifier) store(proof [sha256.Size]byte) {
	if v.remember < 0 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.now()
	if len(v.cache) >= cacheSize {
		for p, until := range v.cache {
			if !now.Before(until) {
				delete(v.cache, p)
			}
		}
	}
	for p := range v.cache {
		if len(v.cache) < cacheSize {
			break
		}
		delete(v.cache, p)
	}
	v.cache[proof] = now.Add(v.remember)
}
