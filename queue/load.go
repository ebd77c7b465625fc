package queue

import (
	"context"
	"errors"
	"fmt"

	"gatepost/mail"
	"gatepost/store"
)

// errCorrupt reports a message whose rows cannot be read as what was written.
var errCorrupt = errors.New("queue: message cannot be read")

// load reads a message with all its recipients, and how many of these are
// still pending.
func (q *Queue) load(ctx context.Context, id mail.ID) (m *mail.Message, pending int, err error) {
	m = &mail.Message{ID: id}
	var received, size, left int64
	var meta []byte
	err = q.o.Store.Get(ctx, "SELECT received, size, pending, meta, prefix, facts FROM message WHERE id = ?", []any{int64(id)},
		&received, &size, &left, &meta, &m.Prefix, &m.Facts)
	if errors.Is(err, store.ErrNotFound) {
		return nil, 0, ErrNotFound
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read message %s: %w", id, err)
	}
	if err := decodeMeta(m, meta); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	m.Received = fromMillis(received)
	m.Content = &storedBody{q.o.Store, id, size}
	err = q.o.Store.Select(ctx, func(scan func(...any) error) error {
		var address, original []byte
		var notify int64
		if err := scan(&address, &notify, &original); err != nil {
			return err
		}
		r, err := decodeRecipient(address, notify, original)
		if err != nil {
			return fmt.Errorf("%w: %w", errCorrupt, err)
		}
		m.Envelope.Recipients = append(m.Envelope.Recipients, r)
		return nil
	}, "SELECT address, notify, original FROM recipient WHERE message = ? ORDER BY n", int64(id))
	if err != nil {
		return nil, 0, fmt.Errorf("read recipients of message %s: %w", id, err)
	}
	return m, int(left), nil
}
