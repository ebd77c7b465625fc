package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"gatepost/mail"
	"gatepost/store"
)

const (
	flushEvery    = time.Second
	refusalBuffer = 512 // also the most refusals recorded per second
	refusalBatch  = 128
	expireBatch   = 1000
	scanBatch     = 200
	searchWindow  = 20_000
)

// ErrUnknown tells that there is no trace of a message.
var ErrUnknown = errors.New("trace: nothing known of this message")

// Store is what the trace needs of *store.Store.
type Store interface {
	Submit(ctx context.Context, statements ...store.Statement) ([]int64, error)
	Select(ctx context.Context, each func(scan func(dest ...any) error) error, sql string, args ...any) error
}

// Log reads traces and writes refusals.
type Log struct {
	store   Store
	logger  *slog.Logger
	window  int64 // rows that one query of a search looks through
	refused chan Record
	dropped atomic.Int64
}

// New makes a Log on a store that was opened with Schema.
func New(s Store, logger *slog.Logger) *Log {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Log{store: s, logger: logger, window: searchWindow, refused: make(chan Record, refusalBuffer)}
}

// Life is all that is known of one message. Accepted is nil while the message
// is in the queue, which then knows it.
type Life struct {
	ID       mail.ID   `json:"id"`
	Accepted *Accepted `json:"accepted,omitempty"`
	Refusal  *Refusal  `json:"refusal,omitempty"`
	Events   []Event   `json:"events,omitempty"` // oldest first
}

// Life reads the trace of one message, or fails with ErrUnknown.
func (l *Log) Life(ctx context.Context, id mail.ID) (Life, error) {
	life := Life{ID: id}
	found := false
	err := l.scan(ctx, "SELECT n, message, record FROM trace WHERE message = ? AND n > ? ORDER BY n LIMIT ?", int64(id),
		func(r Record) error {
			found = true
			life.add(r)
			return nil
		})
	if err == nil && !found {
		err = ErrUnknown
	}
	if err != nil {
		return Life{}, err
	}
	sort.SliceStable(life.Events, func(i, j int) bool { return life.Events[i].At.Before(life.Events[j].At) })
	return life, nil
}

func (life *Life) add(r Record) {
	if r.Accepted != nil {
		life.Accepted = r.Accepted
	}
	if r.Refusal != nil {
		life.Refusal = r.Refusal
	}
	life.Events = append(life.Events, r.Events...)
}

// scan pages through rows in their order. The query has three parameters: its
// own, the n after which to go on, and the limit.
func (l *Log) scan(ctx context.Context, query string, own int64, each func(Record) error) error {
	for after, rows := int64(0), scanBatch; rows == scanBatch; {
		rows = 0
		err := l.store.Select(ctx, func(scan func(...any) error) error {
			var n, message int64
			var record []byte
			if err := scan(&n, &message, &record); err != nil {
				return err
			}
			rows, after = rows+1, n
			r, err := decode(mail.ID(message), record)
			if err != nil {
				return err
			}
			return each(r)
		}, query, own, after, scanBatch)
		if err != nil {
			return fmt.Errorf("read trace: %w", err)
		}
	}
	return nil
}

// Expire removes rows older than before.
func (l *Log) Expire(ctx context.Context, before time.Time) error {
	// Rows are written in the order of time, so the old ones come first; a few
	// written by a wrong clock do not hide the others.
	for after := int64(0); ; {
		last, err := l.endOfPage(ctx, after)
		if err != nil || last == 0 {
			return err
		}
		affected, err := l.store.Submit(ctx, store.Statement{
			SQL:  "DELETE FROM trace WHERE n > ? AND n <= ? AND at < ?",
			Args: []any{after, last, before.UnixMilli()},
		})
		if err != nil {
			return fmt.Errorf("expire traces: %w", err)
		}
		if affected[0] == 0 {
			return nil
		}
		after = last
	}
}

// endOfPage is the number of the last row of the batch behind after, 0 when
// there is none.
func (l *Log) endOfPage(ctx context.Context, after int64) (last int64, err error) {
	err = l.store.Select(ctx, func(scan func(...any) error) error { return scan(&last) },
		"SELECT COALESCE(MAX(n), 0) FROM (SELECT n FROM trace WHERE n > ? ORDER BY n LIMIT ?) page", after, expireBatch)
	if err != nil {
		return 0, fmt.Errorf("expire traces: %w", err)
	}
	return last, nil
}

// needle is what an address looks like in the column who. "@example.com"
// finds every address of the domain, anything else a whole address.
func needle(address string) string {
	address = fold(strings.Trim(address, "<> "))
	if strings.HasPrefix(address, "@") {
		return address + " "
	}
	return " " + address + " "
}
