package mail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// MemoryBody is a Body held in memory. The caller must not change b any more.
func MemoryBody(b []byte) Body { return memoryBody(b) }

type memoryBody []byte

func (b memoryBody) Size() int64 { return int64(len(b)) }

func (b memoryBody) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(b)), nil
}

// ErrCuts reports cuts that are not in order, overlap or leave the content.
var ErrCuts = errors.New("cuts do not fit the content")

// Open reads the message as it leaves for the next hop before any conversion:
// the prefix, then the content without the cuts. The caller closes it.
func (m *Message) Open(ctx context.Context) (io.ReadCloser, error) {
	pos := int64(0)
	for _, c := range m.Cuts {
		if c.Offset < pos || c.Length < 0 || c.Length > m.Content.Size()-c.Offset {
			return nil, fmt.Errorf("message %s: %w", m.ID, ErrCuts)
		}
		pos = c.Offset + c.Length
	}
	r, err := m.Content.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open content of message %s: %w", m.ID, err)
	}
	return &messageReader{prefix: m.Prefix, content: r, cuts: m.Cuts}, nil
}

type messageReader struct {
	prefix  []byte
	content io.ReadCloser
	cuts    []Span // that lie before us
	pos     int64  // in content
}

func (r *messageReader) Read(p []byte) (int, error) {
	if len(r.prefix) > 0 {
		n := copy(p, r.prefix)
		r.prefix = r.prefix[n:]
		return n, nil
	}
	for len(r.cuts) > 0 && r.pos == r.cuts[0].Offset {
		n, err := io.CopyN(io.Discard, r.content, r.cuts[0].Length)
		r.pos += n
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, fmt.Errorf("skip a cut: %w", err)
		}
		r.cuts = r.cuts[1:]
	}
	if len(r.cuts) > 0 {
		p = p[:min(int64(len(p)), r.cuts[0].Offset-r.pos)]
	}
	n, err := r.content.Read(p)
	r.pos += int64(n)
	return n, err
}

func (r *messageReader) Close() error { return r.content.Close() }

// ErrHeaderTooLong reports a header over the limit.
var ErrHeaderTooLong = errors.New("header too long")

// HeaderOf reads the header of body, which must end within limit octets. Like
// ParseHeader it gives the fields before a malformed line with ErrHeader.
func HeaderOf(ctx context.Context, body Body, limit int64) (Header, error) {
	r, err := body.Open(ctx)
	if err != nil {
		return Header{}, fmt.Errorf("open message to read its header: %w", err)
	}
	defer r.Close()
	b, err := readHeader(r, limit)
	if err != nil {
		return Header{}, err
	}
	return ParseHeader(b)
}

// readHeader reads up to the empty line, doubling the buffer.
func readHeader(r io.Reader, limit int64) ([]byte, error) {
	b := make([]byte, 0, 8<<10)
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):min(int64(cap(b)), max(limit+1, int64(len(b))))])
		seen := max(0, len(b)-3)
		b = b[:len(b)+n]
		if end := headerEnd(b, seen); end >= 0 && int64(end) <= limit {
			return b[:end], nil
		}
		if int64(len(b)) > limit {
			return nil, fmt.Errorf("%w: over %d octets", ErrHeaderTooLong, limit)
		}
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read message header: %w", err)
		}
	}
}

// headerEnd is where the body begins, looking from octet from on, or -1.
func headerEnd(b []byte, from int) int {
	if bytes.HasPrefix(b, []byte("\r\n")) {
		return 2
	}
	if n := bytes.Index(b[from:], []byte("\r\n\r\n")); n >= 0 {
		return from + n + 4
	}
	return -1
}
