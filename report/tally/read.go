package tally

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gatepost/mail"
	"gatepost/store"
)

// Sum is what was counted for a domain on a day.
type Sum struct {
	Day      Day         `json:"day"`
	Domain   mail.Domain `json:"domain"`
	Rows     int64       `json:"rows"`
	Messages int64       `json:"messages"`
	Accepted int64       `json:"accepted"`
}

// Row is one evaluation and how many messages had it.
type Row struct {
	Evaluation
	Messages int64
	Seen     time.Time // the last of them
}

const sums = "SELECT day, domain, COUNT(*), CAST(SUM(messages) AS BIGINT), CAST(SUM(accepted) AS BIGINT) FROM report_tally"

// Sums gives what was counted from a day on and before another, by day and
// domain.
func (t *Tally) Sums(ctx context.Context, from, before Day) ([]Sum, error) {
	return t.sums(ctx, sums+" WHERE day >= ? AND day < ? GROUP BY day, domain ORDER BY day, domain", int64(from), int64(before))
}

// Sum gives what was counted for one domain on a day; zero where nothing was.
func (t *Tally) Sum(ctx context.Context, on Day, domain mail.Domain) (Sum, error) {
	found, err := t.sums(ctx, sums+" WHERE day = ? AND domain = ? GROUP BY day, domain", int64(on), domain.String())
	if err != nil || len(found) == 0 {
		return Sum{Day: on, Domain: domain}, err
	}
	return found[0], nil
}

func (t *Tally) sums(ctx context.Context, query string, args ...any) (out []Sum, err error) {
	err = t.o.Store.Select(ctx, func(scan func(...any) error) error {
		var s Sum
		var on int64
		var name string
		if err := scan(&on, &name, &s.Rows, &s.Messages, &s.Accepted); err != nil {
			return err
		}
		s.Day = Day(on)
		s.Domain, err = mail.ParseDomain(name)
		out = append(out, s)
		return err
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read figures of DMARC: %w", err)
	}
	return out, nil
}

// Rows gives the rows of a domain and day, those with the most messages first.
func (t *Tally) Rows(ctx context.Context, on Day, domain mail.Domain, limit int) ([]Row, error) {
	var out []Row
	err := t.o.Store.Select(ctx, func(scan func(...any) error) error {
		var r Row
		var seen int64
		var detail []byte
		if err := scan(&r.Messages, &seen, &detail); err != nil {
			return err
		}
		r.Seen = time.UnixMilli(seen).UTC()
		err := json.Unmarshal(detail, &r.Evaluation)
		out = append(out, r)
		return err
	}, "SELECT messages, seen, detail FROM report_tally WHERE day = ? AND domain = ? ORDER BY messages DESC, evaluation LIMIT ?", int64(on), domain.String(), limit)
	if err != nil {
		return nil, fmt.Errorf("read figures of DMARC for %s: %w", domain, err)
	}
	return out, nil
}

// expireAtOnce bounds the rows of one commit.
const expireAtOnce = 2000

// Expire forgets the days before one, a domain's rows at a time.
func (t *Tally) Expire(ctx context.Context, before Day) error {
	for {
		rows := int64(0)
		affected, err := t.o.Store.Submit(ctx, store.Statement{
			SQL:  "DELETE FROM report_tally WHERE (day, domain, evaluation) IN (SELECT day, domain, evaluation FROM report_tally WHERE day < ? LIMIT ?)",
			Args: []any{int64(before), expireAtOnce}})
		if err != nil {
			return fmt.Errorf("expire figures of DMARC: %w", err)
		}
		for _, n := range affected {
			rows += n
		}
		if rows < expireAtOnce {
			return nil
		}
	}
}
