package mail

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// ID names a message or a refused transaction, in replies, logs, traces and
// the store. It grows with time: 42 bits of milliseconds since 2020, 11 bits
// of the node's incarnation and 10 bits of sequence. Zero names nothing.
type ID int64

const (
	idAlphabet = "0123456789abcdefghjkmnpqrstvwxyz" // Crockford's base32
	idLength   = 13
)

var idEpoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

// ErrID reports a string that is not an ID.
var ErrID = errors.New("not a message id")

// String is the ID in 13 characters of base32.
func (id ID) String() string {
	var b [idLength]byte
	v := uint64(id)
	for i := idLength - 1; i >= 0; i-- {
		b[i] = idAlphabet[v&31]
		v >>= 5
	}
	return string(b[:])
}

// Time is when the ID was made, to the millisecond.
func (id ID) Time() time.Time { return time.UnixMilli(int64(id)>>21 + idEpoch) }

// ParseID reads what String wrote, in either case.
func ParseID(s string) (ID, error) {
	if len(s) != idLength {
		return 0, fmt.Errorf("%w: %q has not %d characters", ErrID, s, idLength)
	}
	var v uint64
	for i := range idLength {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		n := strings.IndexByte(idAlphabet, c)
		if n < 0 || (i == 0 && n > 7) {
			return 0, fmt.Errorf("%w: %q", ErrID, s)
		}
		v = v<<5 | uint64(n)
	}
	return ID(v), nil
}

// MarshalText makes an ID a plain string in JSON.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseID(string(b))
	return err
}

// IDSource makes IDs that grow. It is safe for concurrent use.
type IDSource struct {
	mu   sync.Mutex
	now  func() time.Time
	node int64
	last int64
}

// NewIDSource takes the clock and a source of randomness for the node's part.
func NewIDSource(now func() time.Time, random io.Reader) (*IDSource, error) {
	var b [2]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("read randomness for message ids: %w", err)
	}
	return &IDSource{now: now, node: int64(binary.BigEndian.Uint16(b[:]) & 0x7ff)}, nil
}

// Next is an ID greater than all before, also when the clock steps back.
func (s *IDSource) Next() ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	tick := (s.now().UnixMilli() - idEpoch) << 10
	s.last = max(s.last+1, tick)
	return ID(s.last>>10<<21 | s.node<<10 | s.last&0x3ff)
}
