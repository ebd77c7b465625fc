package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatepost/mail"
)

// Entry is a message in the queue.
type Entry struct {
	ID         mail.ID          `json:"id"`
	Received   time.Time        `json:"received"`
	From       mail.Address     `json:"from"`
	Size       int64            `json:"size"`
	Origin     mail.Origin      `json:"origin"`
	Recipients []RecipientEntry `json:"recipients"`
}

// RecipientEntry is one recipient of a message in the queue.
type RecipientEntry struct {
	N        int          `json:"n"`
	Address  mail.Address `json:"address"`
	Dest     string       `json:"dest"`
	State    string       `json:"state"` // queued, held, delivered, bounced, failed, deleted or consumed
	Attempts int          `json:"attempts"`
	Next     time.Time    `json:"next,omitzero"` // not tried before
	Expires  time.Time    `json:"expires,omitzero"`
	Active   bool         `json:"active"` // in the memory of a node: in an attempt, or about to be
	Reason   string       `json:"reason,omitempty"`
	Wish     string       `json:"wish,omitempty"`   // of an administrator, not yet carried out
	Status   *mail.Status `json:"status,omitempty"` // of the last attempt
}

var stateNames = [...]string{"queued", "held", "delivered", "bounced", "failed", "deleted", "consumed"}

// Filter chooses messages. Zero fields choose all.
type Filter struct {
	State string  // "queued" or "held"
	Dest  string  // destination
	From  string  // address, or "@domain"
	To    string  // address, or "@domain"
	After mail.ID // for the next page
	Limit int     // at most; default 100
}

// listBatch is how many messages one query looks at.
const listBatch = 100

// List gives messages in the order of their arrival.
func (q *Queue) List(ctx context.Context, f Filter) ([]Entry, error) {
	if f.Limit < 1 {
		f.Limit = 100
	}
	where, args := f.where()
	var found []Entry
	for after := int64(f.After); ; {
		var ids []mail.ID
		err := q.o.Store.Select(ctx, func(scan func(...any) error) error {
			err := scan(&after)
			ids = append(ids, mail.ID(after))
			return err
		}, "SELECT DISTINCT message FROM recipient WHERE message > ?"+where+" ORDER BY message LIMIT ?", append(append([]any{after}, args...), listBatch)...)
		if err != nil {
			return nil, fmt.Errorf("list queue: %w", err)
		}
		for _, id := range ids {
			entry, err := q.Show(ctx, id)
			if errors.Is(err, ErrNotFound) || err == nil && !f.matches(entry) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if found = append(found, entry); len(found) == f.Limit {
				return found, nil
			}
		}
		if len(ids) < listBatch {
			return found, nil
		}
	}
}

func (f Filter) where() (where string, args []any) {
	switch f.State {
	case "queued":
		where = " AND state = 0"
	case "held":
		where = " AND state = 1"
	default:
		where = " AND state < 2"
	}
	if f.Dest != "" {
		where, args = where+" AND dest = ?", []any{f.Dest}
	}
	return where, args
}

func (f Filter) matches(e Entry) bool {
	if !matchesAddress(f.From, e.From) {
		return false
	}
	return len(f.Numbers(e)) > 0
}

// Numbers are the recipients of an entry that the filter means.
func (f Filter) Numbers(e Entry) []int {
	var out []int
	for _, r := range e.Recipients {
		stateFits := r.State == f.State || f.State == "" && (r.State == "queued" || r.State == "held")
		if stateFits && (f.Dest == "" || r.Dest == f.Dest) && matchesAddress(f.To, r.Address) {
			out = append(out, r.N)
		}
	}
	return out
}

// matchesAddress compares without regard to case; "@domain" is any address of
// the domain, "<>" the null reverse-path.
func matchesAddress(pattern string, a mail.Address) bool {
	pattern = strings.ToLower(pattern)
	switch {
	case pattern == "":
		return true
	case pattern == "<>":
		return a.IsNull()
	case strings.HasPrefix(pattern, "@"):
		return a.Domain().String() == pattern[1:]
	}
	return strings.EqualFold(a.String(), strings.Trim(pattern, "<>"))
}

// Show gives one message, or ErrNotFound.
func (q *Queue) Show(ctx context.Context, id mail.ID) (Entry, error) {
	m, _, err := q.load(ctx, id)
	if errors.Is(err, errCorrupt) { // what can be read of it is shown
		m, err = &mail.Message{ID: id, Received: id.Time(), Content: mail.MemoryBody(nil)}, nil
	}
	if err != nil {
		return Entry{}, err
	}
	e := Entry{ID: id, Received: m.Received, From: m.Envelope.From, Size: m.Content.Size(), Origin: m.Origin}
	err = q.o.Store.Select(ctx, func(scan func(...any) error) error {
		r, err := scanRecipientEntry(scan)
		e.Recipients = append(e.Recipients, r)
		return err
	}, "SELECT n, address, dest, state, attempts, not_before, expires, owner, reason, wish, status FROM recipient WHERE message = ? ORDER BY n", int64(id))
	if err != nil {
		return Entry{}, fmt.Errorf("show message %s: %w", id, err)
	}
	return e, nil
}

func scanRecipientEntry(scan func(...any) error) (r RecipientEntry, err error) {
	var n, state, attempts, notBefore, expires, owner int64
	var address, reason, status []byte
	if err := scan(&n, &address, &r.Dest, &state, &attempts, &notBefore, &expires, &owner, &reason, &r.Wish, &status); err != nil {
		return r, err
	}
	r.N, r.Attempts, r.State, r.Active, r.Reason = int(n), int(attempts), stateNames[state], owner != 0, string(reason)
	if state == stateQueued {
		r.Next, r.Expires = fromMillis(notBefore), fromMillis(expires)
	}
	if len(status) > 0 {
		s := decodeStatus(status)
		r.Status = &s
	}
	if err := r.Address.UnmarshalText(address); err != nil {
		r.Address = mail.Address{}
	}
	return r, nil
}

// Message gives a message to read, content included, or ErrNotFound.
func (q *Queue) Message(ctx context.Context, id mail.ID) (*mail.Message, error) {
	m, _, err := q.load(ctx, id)
	return m, err
}

func ignoreGone(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
