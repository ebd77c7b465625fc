package trace

import (
	"context"
	"encoding/json"
	"time"

	"gatepost/mail"
	"gatepost/store"
)

// Refusal is mail that never became ours, with everything that tells why.
type Refusal struct {
	At     time.Time       `json:"at"`
	Origin mail.Origin     `json:"origin"`
	Stage  string          `json:"stage"` // connect, hello, mail, rcpt or content
	From   string          `json:"from"`  // as the client said it
	To     []string        `json:"to,omitempty"`
	Status mail.Status     `json:"status"` // our reply
	Rule   string          `json:"rule,omitempty"`
	Reason string          `json:"reason,omitempty"`
	Facts  json.RawMessage `json:"facts,omitempty"`
}

// refusalRecipients bounds the recipients kept of one refusal.
const refusalRecipients = 100

func (r Refusal) safe() Refusal {
	r.Origin.Helo = mail.SafeText(r.Origin.Helo, textLimit)
	r.Origin.TLS = mail.SafeText(r.Origin.TLS, textLimit)
	r.Stage = mail.SafeText(r.Stage, textLimit)
	r.From = mail.SafeText(r.From, addressLimit)
	to := make([]string, 0, min(len(r.To), refusalRecipients))
	for _, address := range r.To[:min(len(r.To), refusalRecipients)] {
		to = append(to, mail.SafeText(address, addressLimit))
	}
	r.To = to
	r.Status.Text = mail.SafeText(r.Status.Text, textLimit)
	r.Status.Remote = mail.SafeText(r.Status.Remote, textLimit)
	r.Rule = mail.SafeText(r.Rule, textLimit)
	r.Reason = mail.SafeText(r.Reason, textLimit)
	r.Facts = facts(r.Facts)
	return r
}

// Refused keeps a refusal, under the id that the client was told. It never
// waits: when the buffer is full the refusal is counted and forgotten.
func (l *Log) Refused(id mail.ID, r Refusal) {
	select {
	case l.refused <- Record{ID: id, At: r.At, Refusal: &r}:
	default:
		l.dropped.Add(1)
	}
}

// Run writes refusals, at most one buffer each second, until ctx ends; then it
// writes what is left.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.flush(ctx)
		case <-ctx.Done():
			l.flush(context.WithoutCancel(ctx))
			return nil
		}
	}
}

// flush writes what is in the buffer now. When that fails it is lost: after
// trouble with the store there are better things to write.
func (l *Log) flush(ctx context.Context) {
	if n := l.dropped.Swap(0); n > 0 {
		l.logger.Warn("trace: too many refusals, some are not recorded", "count", n)
	}
	for n := len(l.refused); n > 0; {
		var batch []store.Statement
		for ; n > 0 && len(batch) < refusalBatch; n-- {
			batch = append(batch, (<-l.refused).Statement())
		}
		if _, err := l.store.Submit(ctx, batch...); err != nil {
			l.logger.Error("trace: refusals lost", "count", len(batch), "error", err)
		}
	}
}
