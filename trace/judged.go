package trace

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gatepost/mail"
)

// Judged is what was found out about a message, accepted or refused for its
// content, whatever became of it.
type Judged struct {
	ID    mail.ID         `json:"id"`
	At    time.Time       `json:"at"`
	From  string          `json:"from"` // the reverse-path
	Facts json.RawMessage `json:"facts"`
}

// stageContent is the stage of refusals that judged a message.
const stageContent = "content"

// Judged gives the messages that were judged since then, in the order of
// their rows: those of at most limit rows behind after. Next is where the next
// page begins, 0 behind the last one.
func (l *Log) Judged(ctx context.Context, since time.Time, after int64, limit int) (page []Judged, next int64, err error) {
	rows := 0
	err = l.store.Select(ctx, func(scan func(...any) error) error {
		var message int64
		var record []byte
		if err := scan(&next, &message, &record); err != nil {
			return err
		}
		rows++
		r, err := decode(mail.ID(message), record)
		if j, ok := r.judged(); err == nil && ok && !j.At.Before(since) {
			page = append(page, j)
		}
		return err
	}, "SELECT n, message, record FROM trace WHERE at >= ? AND n > ? ORDER BY n LIMIT ?", since.UnixMilli(), after, limit)
	if err != nil {
		return nil, 0, fmt.Errorf("read judged messages: %w", err)
	}
	if rows < limit {
		next = 0
	}
	return page, next, nil
}

func (r Record) judged() (Judged, bool) {
	switch {
	case r.Accepted != nil && len(r.Accepted.Facts) > 0:
		return Judged{r.ID, r.Accepted.At, r.Accepted.From.String(), r.Accepted.Facts}, true
	case r.Refusal != nil && r.Refusal.Stage == stageContent && len(r.Refusal.Facts) > 0:
		return Judged{r.ID, r.Refusal.At, r.Refusal.From, r.Refusal.Facts}, true
	}
	return Judged{}, false
}
