package trace

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gatepost/mail"
)

// Summary is a message that a search found.
type Summary struct {
	ID   mail.ID   `json:"id"`
	At   time.Time `json:"at"` // of the newest row found
	From string    `json:"from"`
	To   []string  `json:"to"`
	Kind Kind      `json:"kind"` // the newest event
	Text string    `json:"text,omitempty"`
}

// Search finds messages by an address of their envelope, newest first, back
// to since. It takes "user@example.com" and "@example.com" without regard to
// case, and stops at limit messages.
func (l *Log) Search(ctx context.Context, address string, since time.Time, limit int) ([]Summary, error) {
	var found []Summary
	seen := map[mail.ID]bool{}
	top, err := l.newest(ctx)
	if err != nil {
		return nil, err
	}
	for top > 0 && len(found) < limit {
		bottom := max(top-l.window, 0)
		ids, err := l.matches(ctx, needle(address), bottom, top, since)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			if seen[id] || len(found) == limit {
				continue
			}
			seen[id] = true
			life, err := l.Life(ctx, id)
			if err != nil {
				return nil, err
			}
			found = append(found, life.summary())
		}
		old, err := l.olderThan(ctx, bottom, since)
		if err != nil || old {
			return found, err
		}
		top = bottom
	}
	return found, nil
}

func (l *Log) newest(ctx context.Context) (n int64, err error) {
	err = l.store.Select(ctx, func(scan func(...any) error) error { return scan(&n) },
		"SELECT n FROM trace ORDER BY n DESC LIMIT 1")
	return n, err
}

// matches gives the messages of the rows above bottom up to top that match.
func (l *Log) matches(ctx context.Context, needle string, bottom, top int64, since time.Time) ([]mail.ID, error) {
	var ids []mail.ID
	err := l.store.Select(ctx, func(scan func(...any) error) error {
		var id int64
		err := scan(&id)
		ids = append(ids, mail.ID(id))
		return err
	}, "SELECT message FROM trace WHERE n > ? AND n <= ? AND at >= ? AND {{find}}(who, ?) > 0 ORDER BY n DESC LIMIT ?",
		bottom, top, since.UnixMilli(), needle, l.window)
	if err != nil {
		return nil, fmt.Errorf("search traces: %w", err)
	}
	return ids, nil
}

// olderThan tells whether the rows up to n are all from before since.
func (l *Log) olderThan(ctx context.Context, n int64, since time.Time) (bool, error) {
	old := true
	err := l.store.Select(ctx, func(scan func(...any) error) error {
		var at int64
		err := scan(&at)
		old = at < since.UnixMilli()
		return err
	}, "SELECT at FROM trace WHERE n <= ? ORDER BY n DESC LIMIT 1", n)
	return old, err
}

// summary is the life in one line.
func (life Life) summary() Summary {
	s := Summary{ID: life.ID}
	if a := life.Accepted; a != nil {
		s.At, s.From, s.Kind = a.At, a.From.String(), KindAccepted
		for _, to := range a.Recipients {
			s.To = append(s.To, to.String())
		}
	}
	if r := life.Refusal; r != nil {
		s.At, s.From, s.To, s.Kind, s.Text = r.At, r.From, r.To, KindRefused, r.Status.String()
	}
	for _, e := range life.Events {
		s.At, s.Kind, s.Text = e.At, e.Kind, e.Reason
		if e.Status != nil {
			s.Text = e.Status.String()
		}
		if to := e.Recipient.String(); life.Accepted == nil && to != "" && !slices.Contains(s.To, to) {
			s.To = append(s.To, to)
		}
	}
	return s
}
