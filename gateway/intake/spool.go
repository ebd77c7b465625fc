package intake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"gatepost/mail"
)

const (
	// spoolHead is what one message may hold in memory.
	spoolHead = 256 << 10
	// spoolFirst is what it holds at first, spoolHint at most where the client
	// announced its size.
	spoolFirst = 8 << 10
	spoolHint  = 64 << 10
	spoolChunk = 32 << 10
	// spoolStep is how much goes to the file before room is asked for again.
	spoolStep = 1 << 20
)

var errSpoolClosed = errors.New("spool is closed")

// spoolError is a failure of ours to keep a message, not of the client to send it.
type spoolError struct{ err error }

func (e *spoolError) Error() string { return "spool a message: " + e.err.Error() }
func (e *spoolError) Unwrap() error { return e.err }

// spoolSpace is what all messages being received share.
type spoolSpace struct {
	dir    string
	limit  int64
	used   atomic.Int64
	chunks sync.Pool // *[spoolChunk]byte
}

func newSpoolSpace(dir string, limit int64) *spoolSpace {
	s := &spoolSpace{dir: dir, limit: limit}
	s.chunks.New = func() any { return new([spoolChunk]byte) }
	return s
}

// take reserves memory, if it is there.
func (s *spoolSpace) take(n int64) bool {
	if s.used.Add(n) > s.limit {
		s.used.Add(-n)
		return false
	}
	return true
}

// spool is a message that arrives: its head in memory, the rest in a file
// without a name, which is gone whatever happens. It implements mail.Body.
type spool struct {
	space   *spoolSpace
	scanner mail.Scanner
	head    []byte
	file    *os.File          // what is behind head
	tail    int64             // octets in file
	chunk   *[spoolChunk]byte // on its way from the client to file
	// room fails when the disk must not get fuller: what many clients send at
	// once would eat what is kept free for the store. nil: not asked.
	room  func() error
	asked int64 // tail when room was asked for last

	mu     sync.Mutex // guards closed
	closed bool
}

// newSpool begins a message of about hint octets; 0: not known.
func newSpool(space *spoolSpace, hint int64) *spool {
	s := &spool{space: space}
	if hint > spoolFirst {
		s.grow(int(min(hint+1, spoolHint)))
	}
	return s
}

// ReadFrom takes all of r. Errors of ours are *spoolError.
func (s *spool) ReadFrom(r io.Reader) (int64, error) {
	var total int64
	for {
		n, err := s.readOnce(r)
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// readOnce reads into the head while that may grow, else into the file.
func (s *spool) readOnce(r io.Reader) (int, error) {
	if s.file == nil && (len(s.head) < cap(s.head) || s.grow(max(2*cap(s.head), spoolFirst))) {
		n, err := r.Read(s.head[len(s.head):cap(s.head)])
		s.scanner.Write(s.head[len(s.head) : len(s.head)+n])
		s.head = s.head[:len(s.head)+n]
		return n, err
	}
	if s.chunk == nil {
		s.chunk = s.space.chunks.Get().(*[spoolChunk]byte)
	}
	n, err := r.Read(s.chunk[:])
	if n > 0 {
		s.scanner.Write(s.chunk[:n])
		if werr := s.writeFile(s.chunk[:n]); werr != nil {
			return n, &spoolError{werr}
		}
	}
	return n, err
}

// grow makes room for size octets in memory.
func (s *spool) grow(size int) bool {
	size = min(size, spoolHead)
	more := size - cap(s.head)
	if more <= 0 || !s.space.take(int64(more)) {
		return false
	}
	head := make([]byte, len(s.head), size)
	copy(head, s.head)
	s.head = head
	return true
}

func (s *spool) writeFile(p []byte) error {
	if s.file == nil {
		f, err := os.CreateTemp(s.space.dir, "spool-*")
		if err != nil {
			return fmt.Errorf("create spool file: %w", err)
		}
		s.file = f
		if err := os.Remove(f.Name()); err != nil {
			return fmt.Errorf("unlink spool file: %w", err)
		}
	}
	if s.room != nil && s.tail-s.asked >= spoolStep {
		s.asked = s.tail
		if err := s.room(); err != nil {
			return err
		}
	}
	n, err := s.file.WriteAt(p, s.tail)
	s.tail += int64(n)
	if err != nil {
		return fmt.Errorf("write spool file: %w", err)
	}
	return nil
}

// Size implements mail.Body.
func (s *spool) Size() int64 { return int64(len(s.head)) + s.tail }

// Shape is what the message is made of.
func (s *spool) Shape() mail.Shape { return s.scanner.Shape() }

// Header reads the header of the complete message, at most limit octets.
func (s *spool) Header(ctx context.Context, limit int64) (mail.Header, error) {
	if size := s.Shape().HeaderSize; size <= int64(len(s.head)) && size <= limit {
		return mail.ParseHeader(s.head[:size])
	}
	return mail.HeaderOf(ctx, s, limit)
}

// Open implements mail.Body.
func (s *spool) Open(context.Context) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errSpoolClosed
	}
	return &spoolReader{spool: s}, nil
}

// Close gives memory and file back. The head stays readable for whoever still
// holds a slice of it.
func (s *spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.space.used.Add(-int64(cap(s.head)))
	if s.chunk != nil {
		s.space.chunks.Put(s.chunk)
		s.chunk = nil
	}
	if s.file == nil {
		return nil
	}
	if err := s.file.Close(); err != nil {
		return fmt.Errorf("close spool file: %w", err)
	}
	return nil
}

// spoolReader reads a spool from its first octet.
type spoolReader struct {
	spool *spool
	pos   int64
}

// Read implements io.Reader.
func (r *spoolReader) Read(p []byte) (int, error) {
	s := r.spool
	if len(p) == 0 {
		return 0, nil
	}
	if r.pos < int64(len(s.head)) {
		n := copy(p, s.head[r.pos:])
		r.pos += int64(n)
		return n, nil
	}
	if s.file == nil {
		return 0, io.EOF
	}
	offset := r.pos - int64(len(s.head))
	if offset >= s.tail {
		return 0, io.EOF
	}
	n, err := s.file.ReadAt(p[:min(int64(len(p)), s.tail-offset)], offset)
	r.pos += int64(n)
	if err == io.EOF && n > 0 {
		err = nil
	}
	return n, err
}

// Close implements io.Closer.
func (r *spoolReader) Close() error { return nil }
