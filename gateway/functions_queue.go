package gateway

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"gatepost/admin"
	"gatepost/mail"
	"gatepost/queue"
	"gatepost/trace"
)

// QueueQuestion is what the queue and quarantine calls ask. Not every call
// reads every field.
type QueueQuestion struct {
	IDs     []string `json:"ids,omitempty"`
	State   string   `json:"state,omitempty"` // queued, held or empty
	Dest    string   `json:"dest,omitempty"`
	From    string   `json:"from,omitempty"`
	To      string   `json:"to,omitempty"`
	Limit   int      `json:"limit,omitempty"`
	All     bool     `json:"all,omitempty"`
	By      string   `json:"by,omitempty"`      // who asks, for trace and log
	Content bool     `json:"content,omitempty"` // show: the message too
	Account bool     `json:"account,omitempty"` // stats: read the whole trace too
}

// EntryAnswer is a message in the queue, with its content where asked for.
type EntryAnswer struct {
	queue.Entry
	Content []byte `json:"content,omitempty"`
}

// StatsAnswer is the state of the queue, with the account where asked for.
type StatsAnswer struct {
	queue.Stats
	Account *trace.Account `json:"account,omitempty"`
}

// ChangeAnswer tells what a change did.
type ChangeAnswer struct {
	Messages   int `json:"messages"`
	Recipients int `json:"recipients"`
	Waiting    int `json:"waiting"` // recipients that are in an attempt; it happens behind it
}

func (g *Gateway) queueFunctions() map[string]admin.Function {
	return map[string]admin.Function{
		"queue/list":  admin.Answer(g.queueList),
		"queue/show":  admin.Answer(g.queueShow),
		"queue/stats": admin.Answer(g.queueStatsFull),
		"queue/retry": admin.Answer(g.queueRetry),
		"queue/hold": admin.Answer(func(ctx context.Context, q QueueQuestion) (ChangeAnswer, error) {
			return g.change(ctx, q, "hold", g.queue.Hold)
		}),
		"queue/release": admin.Answer(func(ctx context.Context, q QueueQuestion) (ChangeAnswer, error) {
			return g.change(ctx, q, "release", g.queue.Release)
		}),
		"queue/delete": admin.Answer(func(ctx context.Context, q QueueQuestion) (ChangeAnswer, error) {
			return g.change(ctx, q, "delete", g.queue.Delete)
		}),
		"quarantine/delete": admin.Answer(func(ctx context.Context, q QueueQuestion) (ChangeAnswer, error) {
			return g.change(ctx, q, "quarantine delete", g.queue.DeleteHeld)
		}),
		"queue/suspend": admin.Answer(func(ctx context.Context, q QueueQuestion) (nothing, error) { return g.suspend(ctx, q, true) }),
		"queue/resume":  admin.Answer(func(ctx context.Context, q QueueQuestion) (nothing, error) { return g.suspend(ctx, q, false) }),
	}
}

// listLimit bounds what one list shows.
const listLimit = 10_000

func (q QueueQuestion) filter() (queue.Filter, error) {
	if q.Limit < 1 || q.Limit > listLimit {
		return queue.Filter{}, admin.Invalid("limit must be 1 to %d", listLimit)
	}
	return queue.Filter{State: q.State, Dest: q.Dest, From: q.From, To: q.To, Limit: q.Limit}, nil
}

func (g *Gateway) queueList(ctx context.Context, q QueueQuestion) ([]queue.Entry, error) {
	f, err := q.filter()
	if err != nil {
		return nil, err
	}
	return g.queue.List(ctx, f)
}

// oneID reads the only id of a question.
func (q QueueQuestion) oneID() (mail.ID, error) {
	if len(q.IDs) != 1 {
		return 0, admin.Invalid("expected one id")
	}
	id, err := mail.ParseID(q.IDs[0])
	if err != nil {
		return 0, admin.Invalid("%v", err)
	}
	return id, nil
}

// queueProblem says that a message has left the queue, in words that help.
func queueProblem(err error, id string) error {
	if errors.Is(err, queue.ErrNotFound) {
		return admin.NotFound("%s is not in the queue in that state; 'gatepost trace %s' tells what became of it", id, id)
	}
	return err
}

func (g *Gateway) queueShow(ctx context.Context, q QueueQuestion) (EntryAnswer, error) {
	id, err := q.oneID()
	if err != nil {
		return EntryAnswer{}, err
	}
	e, err := g.queue.Show(ctx, id)
	if err != nil || !q.Content {
		return EntryAnswer{Entry: e}, queueProblem(err, id.String())
	}
	content, err := g.content(ctx, id)
	return EntryAnswer{e, content}, queueProblem(err, id.String())
}

// content reads a message as it would go out, but for signatures.
func (g *Gateway) content(ctx context.Context, id mail.ID) ([]byte, error) {
	m, err := g.queue.Message(ctx, id)
	if err != nil {
		return nil, err
	}
	r, err := m.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func (g *Gateway) queueStatsFull(ctx context.Context, q QueueQuestion) (StatsAnswer, error) {
	s, err := g.queue.Stats(ctx)
	if err != nil || !q.Account {
		return StatsAnswer{Stats: s}, err
	}
	account, err := g.trace.Account(ctx)
	return StatsAnswer{s, &account}, err
}

// choose finds the recipients that a question is about: all of the messages
// that are named, or those that the filter finds, and no others of the same
// messages.
func (g *Gateway) choose(ctx context.Context, q QueueQuestion) ([]queue.Choice, error) {
	var out []queue.Choice
	for _, s := range q.IDs {
		id, err := mail.ParseID(s)
		if err != nil {
			return nil, admin.Invalid("%v", err)
		}
		out = append(out, queue.Choice{ID: id})
	}
	if len(out) > 0 {
		return out, nil
	}
	if !q.All && q.Dest == "" && q.From == "" && q.To == "" {
		return nil, admin.Invalid("name messages by id, or choose them with --dest, --from, --to or --all")
	}
	f := queue.Filter{State: q.State, Dest: q.Dest, From: q.From, To: q.To, Limit: listLimit}
	for {
		entries, err := g.queue.List(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			out = append(out, queue.Choice{ID: e.ID, Numbers: f.Numbers(e)})
			f.After = e.ID
		}
		if len(entries) < listLimit {
			return out, nil
		}
	}
}

// change does one thing to the chosen recipients. Of many messages, those that
// have left the queue meanwhile are passed over.
func (g *Gateway) change(ctx context.Context, q QueueQuestion, what string, do func(context.Context, queue.Choice, string) (queue.Progress, error)) (ChangeAnswer, error) {
	choices, err := g.choose(ctx, q)
	if err != nil {
		return ChangeAnswer{}, err
	}
	var a ChangeAnswer
	for _, c := range choices {
		p, err := do(ctx, c, q.By)
		if errors.Is(err, queue.ErrNotFound) && len(choices) > 1 {
			continue
		}
		if err != nil {
			return a, queueProblem(err, c.ID.String())
		}
		a.Messages, a.Recipients, a.Waiting = a.Messages+1, a.Recipients+p.Recipients, a.Waiting+p.Waiting
	}
	g.logged("queue "+what, "by", q.By, "messages", a.Messages, "recipients", a.Recipients)
	return a, nil
}

func (g *Gateway) queueRetry(ctx context.Context, q QueueQuestion) (ChangeAnswer, error) {
	if len(q.IDs) == 0 && q.Dest != "" {
		err := g.queue.RetryDestination(ctx, q.Dest)
		if errors.Is(err, queue.ErrNotFound) {
			return ChangeAnswer{}, admin.NotFound("nothing waits for %s; 'gatepost queue stats' lists the destinations", q.Dest)
		}
		return ChangeAnswer{}, err
	}
	if q.All && len(q.IDs) == 0 && q.From == "" && q.To == "" {
		g.logged("queue retry", "by", q.By, "messages", "all")
		return ChangeAnswer{}, g.queue.RetryAll(ctx)
	}
	q.State = "queued"
	return g.change(ctx, q, "retry", func(ctx context.Context, c queue.Choice, _ string) (queue.Progress, error) {
		return g.queue.Retry(ctx, c)
	})
}

func (g *Gateway) suspend(ctx context.Context, q QueueQuestion, on bool) (nothing, error) {
	if !strings.HasPrefix(q.Dest, "hop:") && !strings.HasPrefix(q.Dest, "mx:") {
		return nothing{}, admin.Invalid("%q is no destination; expected hop:NAME or mx:DOMAIN", q.Dest)
	}
	g.logged("destination suspended", "by", q.By, "next_hop", q.Dest, "suspended", on)
	return nothing{}, g.queue.Suspend(ctx, q.Dest, on)
}

// queued finds messages of an address that are still under way, for a search
// of the trace.
func (g *Gateway) queued(ctx context.Context, address string, limit int) ([]trace.Summary, error) {
	var out []trace.Summary
	seen := map[mail.ID]bool{}
	for _, f := range []queue.Filter{{From: address, Limit: limit}, {To: address, Limit: limit}} {
		entries, err := g.queue.List(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !seen[e.ID] {
				out = append(out, summaryOf(e))
			}
			seen[e.ID] = true
		}
	}
	return out, nil
}

func summaryOf(e queue.Entry) trace.Summary {
	s := trace.Summary{ID: e.ID, At: e.Received, From: e.From.String(), Kind: "queued"}
	for _, r := range e.Recipients {
		s.To = append(s.To, r.Address.String())
		if r.State == "held" {
			s.Kind, s.Text = trace.KindHeld, r.Reason
		} else if r.Status != nil {
			s.Text = r.Status.String()
		}
	}
	return s
}

// pendingEvents tells the state of recipients that have not ended.
func pendingEvents(e queue.Entry, now time.Time) []trace.Event {
	var out []trace.Event
	for _, r := range e.Recipients {
		if r.State != "queued" && r.State != "held" {
			continue
		}
		out = append(out, trace.Event{At: now, Kind: trace.Kind(r.State), Recipient: r.Address, N: r.N, Dest: r.Dest, Attempt: r.Attempts, Next: r.Next, Reason: r.Reason})
	}
	return out
}
