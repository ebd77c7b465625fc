package sasl

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// ErrHash reports a string that is no argon2id hash that we would compute.
var ErrHash = errors.New("not an argon2id hash")

// params are the costs of one argon2id computation (RFC 9106 section 3.1).
type params struct {
	memory  uint32 // KiB
	time    uint32 // passes
	threads uint8  // lanes
	key     uint32 // octets of the result
}

// defaultParams make one check cost 19 MiB and two passes.
var defaultParams = params{memory: 19456, time: 2, threads: 1, key: 32}

// What a hash in the configuration may demand: a misprint must not take the
// machine's memory at the first AUTH.
const (
	maxMemory  = 256 * 1024 // KiB
	maxTime    = 16
	maxThreads = 16
	minSalt    = 8
	maxSalt    = 64
	minKey     = 16
	maxKey     = 64
)

// passwordHash is a PHC string taken apart.
type passwordHash struct {
	params
	salt, sum []byte
}

// Hash makes the PHC string of password ("$argon2id$v=19$m=…,t=…,p=…$salt$sum").
func Hash(random io.Reader, password string) (string, error) {
	if password == "" || len(password) > maxPassword {
		return "", fmt.Errorf("password of %d octets: want 1 to %d", len(password), maxPassword)
	}
	salt := make([]byte, 16)
	if _, err := io.ReadFull(random, salt); err != nil {
		return "", fmt.Errorf("read randomness for salt: %w", err)
	}
	h := passwordHash{params: defaultParams, salt: salt}
	h.sum = h.compute(password)
	return h.String(), nil
}

// CheckHash tells whether Verifier can use the PHC string s.
func CheckHash(s string) error {
	_, err := parseHash(s)
	return err
}

// String is the PHC string form.
func (h passwordHash) String() string {
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		h.memory, h.time, h.threads, enc.EncodeToString(h.salt), enc.EncodeToString(h.sum))
}

func (h passwordHash) compute(password string) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, h.key)
}

// fits tells in constant time whether password made the hash.
func (h passwordHash) fits(password string) bool {
	return subtle.ConstantTimeCompare(h.compute(password), h.sum) == 1
}

// parseHash reads a PHC string and bounds its costs.
func parseHash(s string) (passwordHash, error) {
	var h passwordHash
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return h, fmt.Errorf("%w: want $argon2id$v=19$m=…,t=…,p=…$salt$sum", ErrHash)
	}
	if parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return h, fmt.Errorf("%w: version %q, want v=%d", ErrHash, parts[2], argon2.Version)
	}
	if err := h.parseCosts(parts[3]); err != nil {
		return h, err
	}
	var err error
	if h.salt, err = base64.RawStdEncoding.Strict().DecodeString(parts[4]); err != nil || len(h.salt) < minSalt || len(h.salt) > maxSalt {
		return h, fmt.Errorf("%w: salt is not %d to %d octets in base64", ErrHash, minSalt, maxSalt)
	}
	if h.sum, err = base64.RawStdEncoding.Strict().DecodeString(parts[5]); err != nil || len(h.sum) < minKey || len(h.sum) > maxKey {
		return h, fmt.Errorf("%w: sum is not %d to %d octets in base64", ErrHash, minKey, maxKey)
	}
	h.key = uint32(len(h.sum))
	return h, nil
}

// parseCosts reads "m=19456,t=2,p=1".
func (h *passwordHash) parseCosts(s string) error {
	costs := strings.Split(s, ",")
	if len(costs) != 3 {
		return fmt.Errorf("%w: costs %q, want m=…,t=…,p=…", ErrHash, s)
	}
	var values [3]uint64
	for i, limit := range []struct {
		name string
		max  uint64
	}{{"m=", maxMemory}, {"t=", maxTime}, {"p=", maxThreads}} {
		digits, ok := strings.CutPrefix(costs[i], limit.name)
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || n < 1 || n > limit.max {
			return fmt.Errorf("%w: %q, want %s1 to %s%d", ErrHash, costs[i], limit.name, limit.name, limit.max)
		}
		values[i] = n
	}
	if values[0] < 8*values[2] { // RFC 9106 section 3.1
		return fmt.Errorf("%w: %q, want at least 8 KiB of memory per lane", ErrHash, s)
	}
	h.memory, h.time, h.threads = uint32(values[0]), uint32(values[1]), uint8(values[2])
	return nil
}
