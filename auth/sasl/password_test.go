package sasl

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"
)

// cheap is a hash of "secret" that costs next to nothing.
func cheap(t testing.TB, password string) string {
	t.Helper()
	h := passwordHash{params: params{memory: 8, time: 1, threads: 1, key: 32}, salt: []byte("saltsalt")}
	h.sum = h.compute(password)
	return h.String()
}

func TestHashFits(t *testing.T) {
	s, err := Hash(rand.Reader, "secret")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(s, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash %q", s)
	}
	h, err := parseHash(s)
	if err != nil {
		t.Fatal(err)
	}
	if !h.fits("secret") || h.fits("Secret") || h.fits("") {
		t.Error("only the password must fit its hash")
	}
	for _, bad := range []string{"", strings.Repeat("x", maxPassword+1)} {
		if _, err := Hash(rand.Reader, bad); err == nil {
			t.Errorf("password of %d octets was hashed", len(bad))
		}
	}
}

// The vector was made with the reference implementation's command line:
// echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 32.
func TestReferenceVector(t *testing.T) {
	h, err := parseHash("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	if err != nil {
		t.Fatal(err)
	}
	if !h.fits("password") {
		t.Error("the reference hash does not fit")
	}
}

func TestParseHashRefuses(t *testing.T) {
	const salt, sum = "c2FsdHNhbHRzYWx0", "kRkqNTtmvUzMD8NLsqGhVM0lSTVCQv8HxGV6YXOfSNE"
	if err := CheckHash("$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + sum); err != nil {
		t.Fatalf("the example's hash: %v", err)
	}
	for name, s := range map[string]string{
		"empty":       "",
		"plain":       "secret",
		"argon2i":     "$argon2i$v=19$m=19456,t=2,p=1$" + salt + "$" + sum,
		"version":     "$argon2id$v=16$m=19456,t=2,p=1$" + salt + "$" + sum,
		"4 GiB":       "$argon2id$v=19$m=4194304,t=2,p=1$" + salt + "$" + sum,
		"many passes": "$argon2id$v=19$m=19456,t=1000,p=1$" + salt + "$" + sum,
		"many lanes":  "$argon2id$v=19$m=19456,t=2,p=200$" + salt + "$" + sum,
		"no memory":   "$argon2id$v=19$m=0,t=2,p=1$" + salt + "$" + sum,
		"lanes alone": "$argon2id$v=19$m=8,t=2,p=2$" + salt + "$" + sum,
		"order":       "$argon2id$v=19$t=2,m=19456,p=1$" + salt + "$" + sum,
		"missing p":   "$argon2id$v=19$m=19456,t=2$" + salt + "$" + sum,
		"short salt":  "$argon2id$v=19$m=19456,t=2,p=1$c2E$" + sum,
		"no base64":   "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$!!!!",
		"short sum":   "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$c2E",
		"more":        "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + sum + "$x",
	} {
		if err := CheckHash(s); !errors.Is(err, ErrHash) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$kRkqNTtmvUzMD8NLsqGhVM0lSTVCQv8HxGV6YXOfSNE")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parseHash(s)
		if err != nil {
			return
		}
		if h.memory > maxMemory || h.time > maxTime || h.threads > maxThreads || len(h.sum) > maxKey {
			t.Fatalf("%q asks for too much", s)
		}
		again, err := parseHash(h.String())
		if err != nil || again.String() != h.String() {
			t.Fatalf("%q does not read back: %v", h.String(), err)
		}
	})
}

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newVerifier(t testing.TB, users ...User) (*Verifier, *clock) {
	t.Helper()
	c := &clock{time.Unix(1e9, 0)}
	v, err := NewVerifier(Options{Users: users, Now: c.now, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	return v, c
}

func TestVerify(t *testing.T) {
	v, _ := newVerifier(t, User{"scanner", cheap(t, "secret")}, User{Name: "crm"})
	for _, tt := range []struct {
		user, password string
		want           error
	}{
		{"scanner", "secret", nil},
		{"scanner", "secret", nil}, // out of the cache
		{"scanner", "wrong", ErrCredentials},
		{"scanner", "", ErrCredentials},
		{"nobody", "secret", ErrCredentials},
		{"crm", "", ErrCredentials}, // a user without a password
		{"scannersecret", "", ErrCredentials},
	} {
		if err := v.Verify(t.Context(), tt.user, tt.password); !errors.Is(err, tt.want) {
			t.Errorf("%s/%s: %v, want %v", tt.user, tt.password, err, tt.want)
		}
	}
}

// What fitted is remembered for a minute, what did not is never; and a proof
// does not let another user in.
func TestCache(t *testing.T) {
	v, c := newVerifier(t, User{"scanner", cheap(t, "secret")})
	full, cancel := context.WithCancel(t.Context())
	cancel()
	for range cap(v.slots) {
		v.slots <- struct{}{}
	}
	if err := v.Verify(full, "scanner", "secret"); !errors.Is(err, context.Canceled) {
		t.Fatalf("no free place: %v", err)
	}
	for range cap(v.slots) {
		<-v.slots
	}
	if err := v.Verify(t.Context(), "scanner", "secret"); err != nil {
		t.Fatal(err)
	}
	for range cap(v.slots) {
		v.slots <- struct{}{}
	}
	if err := v.Verify(full, "scanner", "secret"); err != nil {
		t.Errorf("not out of the cache: %v", err)
	}
	if err := v.Verify(full, "scanner", "wrong"); !errors.Is(err, context.Canceled) {
		t.Errorf("wrong password out of the cache: %v", err)
	}
	c.at = c.at.Add(time.Minute)
	if err := v.Verify(full, "scanner", "secret"); !errors.Is(err, context.Canceled) {
		t.Errorf("remembered for longer than a minute: %v", err)
	}
}

func TestCacheIsBounded(t *testing.T) {
	v, _ := newVerifier(t)
	for i := range 3 * cacheSize {
		v.store(v.proof("u", string(rune('a'+i))))
	}
	if len(v.cache) != cacheSize {
		t.Errorf("%d proofs remembered, want %d", len(v.cache), cacheSize)
	}
}

// A user that does not exist must cost what an existing one costs.
func TestDecoyCostsTheSame(t *testing.T) {
	v, _ := newVerifier(t, User{"a", cheap(t, "x")})
	if got, want := v.decoy("nobody").params, v.users["a"].params; got != want {
		t.Errorf("decoy costs %+v, user %+v", got, want)
	}
	empty, _ := newVerifier(t)
	if got := empty.decoy("nobody").params; got != defaultParams {
		t.Errorf("decoy without users costs %+v", got)
	}
	if v.decoy("nobody").fits("") {
		t.Error("a decoy must fit nothing")
	}
}

func TestVerifierRefusesOptions(t *testing.T) {
	good := cheap(t, "x")
	for _, tt := range []struct {
		path  string
		users []User
	}{
		{"users[0].password_hash", []User{{"a", "secret"}}},
		{"users[1].name", []User{{"a", good}, {"a", good}}},
		{"users[0].name", []User{{"", good}}},
	} {
		_, err := NewVerifier(Options{Users: tt.users, Now: time.Now, Random: rand.Reader})
		var field *FieldError
		if !errors.As(err, &field) || field.Path != tt.path {
			t.Errorf("%v, want an error at %s", err, tt.path)
		}
	}
}
