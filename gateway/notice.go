package gateway

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gatepost/mail"
	"gatepost/queue"
	"gatepost/telemetry"
	"gatepost/trace"
)

// Bounds of notices about held mail: one message tells of many.
const (
	noticeEvery = 10 * time.Minute
	noticeLines = 100
	noticeQueue = 1000
)

// noticeWriter tells policy.quarantine.notify of held mail: of the first at
// once, then at most every ten minutes of all since.
type noticeWriter struct {
	g    *Gateway
	held chan queue.Event
}

func newNoticeWriter(g *Gateway) *noticeWriter {
	return &noticeWriter{g: g, held: make(chan queue.Event, noticeQueue)}
}

// Observe implements queue.Observer. Under a flood of held mail the notice
// names only some; `gatepost quarantine list` names all.
func (n *noticeWriter) Observe(e queue.Event) {
	if e.Kind != trace.KindHeld || e.By != "" || e.Message.Origin.Role == mail.RoleInternal {
		return
	}
	select {
	case n.held <- e:
	default:
	}
}

func (n *noticeWriter) run(ctx context.Context) error {
	for {
		var events []queue.Event
		select {
		case <-ctx.Done():
			return nil
		case e := <-n.held:
			events = n.gather(e)
		}
		if to := n.g.config.Load().Policy.Quarantine.Notify; len(to) > 0 {
			if err := n.send(ctx, to, events); err != nil {
				n.g.log.Error("notice about held mail not sent", telemetry.KeyError, err.Error())
			}
		}
		pause := time.NewTimer(noticeEvery)
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
	}
}

// gather takes what else is waiting.
func (n *noticeWriter) gather(first queue.Event) []queue.Event {
	events := []queue.Event{first}
	for {
		select {
		case e := <-n.held:
			events = append(events, e)
		default:
			return events
		}
	}
}

func (n *noticeWriter) send(ctx context.Context, to []string, events []queue.Event) error {
	g := n.g
	from := addressOf(g.config.Load().Postmaster)
	text := noticeText(from, to, events, g.now(), g.config.Load().Hostname)
	m := &mail.Message{
		ID: g.base.identity.Next(), Received: g.now(), Content: mail.MemoryBody([]byte(text)),
		Envelope: mail.Envelope{From: mail.Address{}},
		Origin:   mail.Origin{Role: mail.RoleInternal, From: from.Domain()},
		Shape:    mail.Shape{HeaderSize: int64(strings.Index(text, "\r\n\r\n") + 4)},
	}
	for _, a := range to {
		m.Envelope.Recipients = append(m.Envelope.Recipients, mail.Recipient{Address: addressOf(a), Notify: mail.NotifyNever})
	}
	return g.queue.Accept(ctx, m)
}

func noticeText(from mail.Address, to []string, events []queue.Event, now time.Time, host string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "From: Mail gateway <%s>\r\nTo: %s\r\nSubject: %d message(s) held on %s\r\nDate: %s\r\nMessage-ID: <held.%d@%s>\r\n",
		from, strings.Join(to, ", "), len(events), host, now.Format(time.RFC1123Z), now.UnixNano(), host)
	b.WriteString("Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n")
	b.WriteString("These messages were accepted and are held until somebody decides:\r\n\r\n")
	for i, e := range events {
		if i == noticeLines {
			fmt.Fprintf(&b, "... and %d more\r\n", len(events)-i)
			break
		}
		fmt.Fprintf(&b, "%s  from <%s>  %s\r\n", e.Message.ID, asciiText(e.Message.Envelope.From.String()), asciiText(e.Reason))
	}
	b.WriteString("\r\nLook at one: gatepost quarantine show ID\r\nLet it go on: gatepost quarantine release ID\r\nDelete it:    gatepost quarantine delete ID\r\n")
	return b.String()
}

// asciiText keeps a line of the notice short and in US-ASCII.
func asciiText(s string) string {
	s = mail.SafeText(s, 200)
	return strings.Map(func(r rune) rune {
		if r >= 0x80 {
			return '?'
		}
		return r
	}, s)
}
