package policy

import (
	"context"

	"gatepost/mail"
)

// Explanation is a judgement with all its questions, as `gatepost explain`
// shows it.
type Explanation struct {
	Mail       Verdict            `json:"mail"`
	Recipients []RecipientVerdict `json:"recipients,omitempty"`
	Facts      Facts              `json:"facts"`
	Content    Verdict            `json:"content"`
	Vouched    mail.Domain        `json:"vouched,omitzero"`
}

// RecipientVerdict is the verdict about one recipient.
type RecipientVerdict struct {
	Address mail.Address `json:"address"`
	Verdict Verdict      `json:"verdict"`
}

// Explain asks everything a session would ask, and goes on after a refusal, so
// that one call shows all that stands in the way of a message.
func (e *Engine) Explain(ctx context.Context, s Session, env mail.Envelope, header mail.Header, content mail.Body) Explanation {
	x := Explanation{Mail: e.Mail(ctx, s, env.From)}
	for _, r := range env.Recipients {
		x.Recipients = append(x.Recipients, RecipientVerdict{r.Address, e.Recipient(ctx, s, env.From, r.Address)})
	}
	x.Facts, x.Content, x.Vouched = e.Content(ctx, s, env, header, content)
	return x
}
