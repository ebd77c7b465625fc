package queue

import (
	"context"
	"errors"
	"fmt"

	"gatepost/mail"
	"gatepost/queue/dsn"
	"gatepost/trace"
)

// noticeKinds tells of which endings the sender hears, in one notice per kind.
var noticeKinds = []struct {
	kind dsn.Kind
	due  func(*ending) bool
}{
	{dsn.Failure, func(e *ending) bool { return e.kind == trace.KindBounced }},
	{dsn.Delay, func(e *ending) bool { return e.delayed }},
	{dsn.Success, func(e *ending) bool { return e.relayed }},
}

// writeNotices makes the notices to the sender that are due.
func (o *outcome) writeNotices(ctx context.Context) error {
	for _, k := range noticeKinds {
		var about []dsn.Recipient
		var of []*ending
		for i := range o.endings {
			if e := &o.endings[i]; k.due(e) {
				about = append(about, dsn.Recipient{Recipient: e.Recipient, Status: e.status, Expired: e.expired, Until: e.Expires})
				of = append(of, e)
			}
		}
		if len(about) == 0 {
			continue
		}
		id, err := o.writeNotice(ctx, k.kind, about)
		var failure *Error
		if errors.As(err, &failure) && failure.Reason == ReasonRoute {
			o.q.o.Logger.Error("queue: no way to the sender, who hears nothing", "id", o.message.ID, "error", err)
			for _, e := range of {
				e.hush()
			}
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range of {
			e.notice = id
		}
	}
	return nil
}

// hush makes an ending of which the sender cannot be told.
func (e *ending) hush() {
	e.delayed, e.relayed = false, false
	if e.kind == trace.KindBounced {
		e.kind, e.reason = trace.KindFailed, "no way to the sender for a notice"
	}
}

// writeNotice writes one notice and prepares its way into the queue.
func (o *outcome) writeNotice(ctx context.Context, kind dsn.Kind, about []dsn.Recipient) (mail.ID, error) {
	q := o.q
	m, err := q.notices.Write(ctx, dsn.Notice{ID: q.o.IDs.Next(), Kind: kind, Message: o.message, Recipients: about, At: o.now})
	if err != nil {
		return 0, fmt.Errorf("write notice about message %s: %w", o.message.ID, err)
	}
	e := &entry{queue: q, message: m, inline: true}
	if err := e.prepare(ctx); err != nil {
		return 0, err
	}
	e.admit()
	o.notices = append(o.notices, e)
	return m.ID, nil
}
