package keyring

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"gatepost/mail"
	"gatepost/store"
)

// FieldError says which option is wrong, by its path in the configuration
// file: "dkim.keys[1].file".
type FieldError struct {
	Path string
	Msg  string
}

func (e *FieldError) Error() string { return e.Path + ": " + e.Msg }

// Options tell New where the keys are.
type Options struct {
	Store   *store.Store
	SealKey []byte // 32 octets
	Files   []File // dkim.keys
	Now     func() time.Time
	Random  io.Reader
	Logger  *slog.Logger
}

// File is a key in a mounted file; it is active as long as it stands there.
type File struct {
	Domain   mail.Domain
	Selector string
	Path     string
}

// poll is how often the ring looks whether the store or a file has changed.
const poll = 5 * time.Second

// patience is how long a signature waits for a store that may be away.
const patience = 2 * time.Second

// Ring gives keys to those who sign. It is safe for concurrent use.
type Ring struct {
	store  *store.Store
	sealer *sealer
	files  []File
	now    func() time.Time
	random io.Reader
	logger *slog.Logger

	mu      sync.Mutex // held while reading again
	checked time.Time
	version int64
	stamps  []time.Time // of the files
	keys    []Key
	trouble string // last error, logged once
}

// New checks o and reads all keys. The error joins *FieldErrors where options
// are wrong.
func New(ctx context.Context, o Options) (*Ring, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	sealer, err := newSealer(o.SealKey, o.Random)
	if err != nil {
		return nil, &FieldError{"store.seal_key", err.Error()}
	}
	r := &Ring{store: o.Store, sealer: sealer, files: o.Files, now: o.Now, random: o.Random, logger: o.Logger, version: -1}
	if err := CheckFiles(o.Files); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r, r.reload(ctx)
}

// CheckFiles tells whether every file holds a key that can be used; its error
// joins *FieldErrors.
func CheckFiles(files []File) error {
	var all []error
	names := map[string]bool{}
	for i, f := range files {
		path := fmt.Sprintf("dkim.keys[%d]", i)
		k, err := f.read()
		switch {
		case CheckSelector(f.Selector) != nil:
			all = append(all, &FieldError{path + ".selector", CheckSelector(f.Selector).Error()})
		case err != nil:
			all = append(all, &FieldError{path + ".file", err.Error()})
		case names[k.Name()]:
			all = append(all, &FieldError{path, fmt.Sprintf("the key %s is listed twice", k.Name())})
		}
		names[k.Name()] = true
	}
	return errors.Join(all...)
}

// SetFiles takes another list of files into use, all or none.
func (r *Ring) SetFiles(ctx context.Context, files []File) error {
	if err := CheckFiles(files); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before, version := r.files, r.version
	r.files, r.version = files, -1
	if err := r.reload(ctx); err != nil {
		r.files, r.version = before, version
		return err
	}
	return nil
}

func (f File) read() (Key, error) {
	text, err := os.ReadFile(f.Path)
	if err != nil {
		return Key{}, fmt.Errorf("read key file: %w", err)
	}
	private, err := ParsePEM(text)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", f.Path, err)
	}
	k, err := newKey(f.Domain, f.Selector, private)
	k.State, k.File = Active, f.Path
	return k, err
}

// Active gives the keys that sign for a domain now: of each algorithm the one
// that became active last.
func (r *Ring) Active(ctx context.Context, d mail.Domain) []Key {
	var out []Key
	for _, k := range r.current(ctx) {
		if k.Domain != d || k.State != Active {
			continue
		}
		same := slices.IndexFunc(out, func(o Key) bool { return o.Algorithm == k.Algorithm })
		switch {
		case same < 0:
			out = append(out, k)
		case k.File != "" || out[same].File == "" && !k.Changed.Before(out[same].Changed):
			out[same] = k
		}
	}
	return out
}

// List gives all keys, or those of one domain, by name.
func (r *Ring) List(ctx context.Context, d mail.Domain) []Key {
	var out []Key
	for _, k := range r.current(ctx) {
		if d.IsZero() || k.Domain == d {
			out = append(out, k)
		}
	}
	return out
}

// Find gives one key.
func (r *Ring) Find(ctx context.Context, d mail.Domain, selector string) (Key, error) {
	for _, k := range r.current(ctx) {
		if k.Domain == d && k.Selector == selector {
			return k, nil
		}
	}
	return Key{}, fmt.Errorf("%w: %s/%s", ErrNoKey, d, selector)
}

// current is the list of keys, read again when it may have changed. Callers do
// not change it. While the store is away the last list stays.
func (r *Ring) current(ctx context.Context) []Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if now.Sub(r.checked) < poll {
		return r.keys
	}
	reading, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := r.reload(reading)
	r.checked = now
	switch {
	case err == nil:
		r.trouble = ""
	case ctx.Err() == nil && err.Error() != r.trouble:
		r.trouble = err.Error()
		r.logger.Error("cannot read the DKIM keys again, those in memory stay", "error", err)
	}
	return r.keys
}

// reload reads the store and the files if they have changed.
func (r *Ring) reload(ctx context.Context) error {
	var version int64
	if err := r.store.Get(ctx, "SELECT version FROM dkim_ring WHERE id = 1", nil, &version); err != nil {
		return fmt.Errorf("read version of the key ring: %w", err)
	}
	stamps := r.fileStamps()
	if version != r.version || !slices.EqualFunc(stamps, r.stamps, time.Time.Equal) {
		keys, err := r.readAll(ctx)
		if err != nil {
			return err
		}
		r.keys, r.version, r.stamps = keys, version, stamps
	}
	r.checked = r.now()
	return nil
}

func (r *Ring) fileStamps() []time.Time {
	stamps := make([]time.Time, len(r.files))
	for i, f := range r.files {
		if info, err := os.Stat(f.Path); err == nil {
			stamps[i] = info.ModTime()
		}
	}
	return stamps
}

// readAll gives the keys of the store and of the files, by name; a file comes
// before a key of the same name in the store.
func (r *Ring) readAll(ctx context.Context) ([]Key, error) {
	var keys []Key
	for _, f := range r.files {
		k, err := f.read()
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	stored, err := r.readStore(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range stored {
		if !slices.ContainsFunc(keys, func(o Key) bool { return o.Name() == k.Name() }) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Domain.String(), b.Domain.String()), cmp.Compare(a.Selector, b.Selector))
	})
	return keys, nil
}
