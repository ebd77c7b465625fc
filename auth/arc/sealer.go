package arc

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"gatepost/auth/authres"
	"gatepost/auth/canon"
	"gatepost/auth/keyring"
	"gatepost/auth/memo"
	"gatepost/mail"
)

// FieldError says which option is wrong, by its path in the configuration
// file: "policy.arc.seal.domain".
type FieldError = keyring.FieldError

// SealerOptions is what the configuration file says about sealing.
type SealerOptions struct {
	Domain    string   // policy.arc.seal.domain
	Algorithm string   // rsa-2048 (default) or ed25519
	Headers   []string // fields that are signed where present
	Oversign  []string // fields that no one may add later
	Keys      Keys
	Now       func() time.Time // default: time.Now
	Logger    *slog.Logger
	Cached    int // sets kept for further attempts; default 4096
}

// Keys is the part of *keyring.Ring that seals.
type Keys interface {
	Active(ctx context.Context, d mail.Domain) []keyring.Key
}

// Sealer seals mail of strangers that is handed on. It is safe for concurrent
// use.
type Sealer struct {
	domain    mail.Domain
	algorithm keyring.Algorithm
	fields    []canon.Covered
	keys      Keys
	now       func() time.Time
	logger    *slog.Logger
	slots     chan struct{} // one for each signature that may be made at once
	made      *memo.Memo[madeKey, []byte]

	mu     sync.Mutex
	warned time.Time
}

// madeKey names a set; form and key stand in it because each makes it another
// one.
type madeKey struct {
	id   mail.ID
	form string
	key  string
}

const (
	defaultCached = 4096
	// warnEvery is how often the log says that there is no key.
	warnEvery = time.Hour
)

// NewSealer checks o. The error joins one *FieldError per wrong option.
func NewSealer(o SealerOptions) (*Sealer, error) {
	s := &Sealer{keys: o.Keys, now: o.Now, logger: o.Logger, algorithm: keyring.Algorithm(o.Algorithm),
		fields: canon.CoveredFields(o.Headers, o.Oversign), slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
	if s.now == nil {
		s.now = time.Now
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if o.Cached <= 0 {
		o.Cached = defaultCached
	}
	s.made = memo.New[madeKey, []byte](o.Cached)
	var all []error
	wrong := func(path, format string, args ...any) {
		all = append(all, &FieldError{Path: "policy.arc.seal." + path, Msg: fmt.Sprintf(format, args...)})
	}
	var err error
	if s.domain, err = mail.ParseDomain(o.Domain); err != nil || s.domain.IsLiteral() || !strings.Contains(s.domain.String(), ".") {
		wrong("domain", "expected the domain of a key, found %q", o.Domain)
	}
	switch s.algorithm {
	case "":
		s.algorithm = keyring.RSA2048
	case keyring.RSA2048, keyring.Ed25519:
	default:
		wrong("algorithm", "%q is neither %s nor %s", o.Algorithm, keyring.RSA2048, keyring.Ed25519)
	}
	checkNames("headers", o.Headers, wrong)
	checkNames("oversign", o.Oversign, wrong)
	return s, errors.Join(all...)
}

// checkNames refuses what is no field name, what must not be signed (RFC 8617
// section 4.1.2), and what hosts on the way add or change.
func checkNames(path string, list []string, wrong func(path, format string, args ...any)) {
	for i, name := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		bad := func(c rune) bool { return c <= ' ' || c >= 0x7f || c == ':' || c == ';' }
		switch lower := strings.ToLower(name); {
		case name == "" || strings.ContainsFunc(name, bad):
			wrong(at, "%q is not a header field name", name)
		case lower == "authentication-results" || strings.HasPrefix(lower, "arc-"):
			wrong(at, "%s must not be signed (RFC 8617 section 4.1.2)", name)
		case slices.Contains([]string{"received", "return-path", "bcc"}, lower):
			wrong(at, "%s changes on the way and must not be signed", name)
		case path == "oversign" && lower == "dkim-signature":
			wrong(at, "others on the way may add a signature")
		}
	}
}

// Seal gives the set of a message of which was is the chain as it came in, each
// field with CRLF, to stand before everything else, and the name of its key.
// Both are empty where it is not sealed. Form names the form that open reads:
// the same message, form and key give the same set. What stands in the
// message's own prefix are the results (RFC 8617 section 5.1).
func (s *Sealer) Seal(ctx context.Context, m *mail.Message, form string, was Result, open Opener) (fields []byte, name string, err error) {
	key, ok := s.key(ctx)
	if !ok {
		s.warn()
		return nil, "", nil
	}
	fields, err = s.made.Get(ctx, madeKey{m.ID, form, key.Name()}, s.now(), func() ([]byte, time.Time, error) {
		made, err := s.seal(ctx, m, key, was, open)
		return made, time.Time{}, err
	})
	switch {
	case err != nil:
		return nil, "", fmt.Errorf("seal message %s: %w", m.ID, err)
	case len(fields) == 0:
		return nil, "", nil
	}
	return fields, key.Name(), nil
}

// seal makes the set; none for what cannot be sealed, which the log tells.
func (s *Sealer) seal(ctx context.Context, m *mail.Message, key keyring.Key, was Result, open Opener) ([]byte, error) {
	prefix, err := mail.ParseHeader(m.Prefix)
	if err != nil {
		return nil, fmt.Errorf("our own fields: %w", err)
	}
	var made []byte
	if results := authres.Combine(prefix); results == "" {
		err = unsealed("its results are not known")
	} else {
		one := Seal{Domain: s.domain, Selector: key.Selector, Key: bounded{key.Signer(), s.slots}, Fields: s.fields, Time: s.now()}
		made, err = one.Set(ctx, open, was, results)
	}
	if errors.Is(err, ErrUnsealed) {
		s.logger.Info("message is handed on without an ARC seal", "id", m.ID.String(), "reason", mail.SafeText(err.Error(), 300))
		return nil, nil
	}
	return made, err
}

// key is the active key of the configured kind.
func (s *Sealer) key(ctx context.Context) (keyring.Key, bool) {
	for _, k := range s.keys.Active(ctx, s.domain) {
		if k.Algorithm == s.algorithm {
			return k, true
		}
	}
	return keyring.Key{}, false
}

// warn says, once an hour, that mail is handed on unsealed for want of a key.
func (s *Sealer) warn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if !s.warned.IsZero() && now.Sub(s.warned) < warnEvery {
		return
	}
	s.warned = now
	s.logger.Warn("mail is handed on without an ARC seal: no key is active", "domain", s.domain.String(), "algorithm", string(s.algorithm))
}

// bounded makes at most as many signatures at once as there are slots.
type bounded struct {
	crypto.Signer
	slots chan struct{}
}

// Sign implements crypto.Signer.
func (b bounded) Sign(random io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	b.slots <- struct{}{}
	defer func() { <-b.slots }()
	return b.Signer.Sign(random, digest, o)
}
