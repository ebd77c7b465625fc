package queue

import (
	"context"
	"errors"
	"fmt"
	"io"

	"gatepost/mail"
	"gatepost/store"
)

// chunkSize is the size of a row of body. A message of one chunk is written
// with its message row, a larger one before it.
const chunkSize = 256 << 10

const insertBody = "INSERT INTO body (message, chunk, bytes) VALUES (?, ?, ?)"

// storedBody is the content of a message in the store. It is read chunk by
// chunk: no query stays open while a slow next hop takes its time.
type storedBody struct {
	store Store
	id    mail.ID
	size  int64
}

func (b *storedBody) Size() int64 { return b.size }

func (b *storedBody) Open(ctx context.Context) (io.ReadCloser, error) {
	return &bodyReader{ctx: ctx, body: b}, nil
}

type bodyReader struct {
	ctx   context.Context // of Open: io.Reader has none
	body  *storedBody
	chunk []byte // what is left of the current one
	next  int64
	read  int64
}

func (r *bodyReader) Read(p []byte) (int, error) {
	for len(r.chunk) == 0 {
		if r.read == r.body.size {
			return 0, io.EOF
		}
		err := r.body.store.Get(r.ctx, "SELECT bytes FROM body WHERE message = ? AND chunk = ?",
			[]any{int64(r.body.id), r.next}, &r.chunk)
		if errors.Is(err, store.ErrNotFound) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, fmt.Errorf("read body of message %s: %w", r.body.id, err)
		}
		r.next++
	}
	n := copy(p, r.chunk)
	r.chunk = r.chunk[n:]
	r.read += int64(n)
	return n, nil
}

// WriteTo hands whole chunks over.
func (r *bodyReader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		if _, err := r.Read(nil); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		n, err := w.Write(r.chunk)
		r.chunk = r.chunk[n:]
		r.read += int64(n)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

func (r *bodyReader) Close() error {
	r.chunk = nil
	return nil
}

// writeBody reads content and calls write for each chunk. The slice is used
// again for the next one.
func writeBody(ctx context.Context, content mail.Body, write func(chunk int, bytes []byte) error) error {
	r, err := content.Open(ctx)
	if err != nil {
		return fmt.Errorf("open received message: %w", err)
	}
	defer r.Close()
	buffer := make([]byte, min(chunkSize, content.Size()))
	for left, chunk := content.Size(), 0; left > 0; chunk++ {
		part := buffer[:min(chunkSize, left)]
		if _, err := io.ReadFull(r, part); err != nil {
			return fmt.Errorf("read received message: %w", err)
		}
		if err := write(chunk, part); err != nil {
			return err
		}
		left -= int64(len(part))
	}
	return nil
}
