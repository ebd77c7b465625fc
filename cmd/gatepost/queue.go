package main

import (
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"text/tabwriter"
	"time"

	"gatepost/gateway"
	"gatepost/queue"
)

type queueCommand struct {
	List    queueListCommand    `cmd:"" help:"List messages in the queue."`
	Show    queueShowCommand    `cmd:"" help:"Show one message."`
	Retry   queueRetryCommand   `cmd:"" help:"Try messages or a destination now."`
	Hold    queueHoldCommand    `cmd:"" help:"Keep messages from being delivered."`
	Release queueReleaseCommand `cmd:"" help:"Let held messages go."`
	Delete  queueDeleteCommand  `cmd:"" help:"Delete messages; their senders are not told."`
	Suspend queueSuspendCommand `cmd:"" help:"Stop deliveries to a destination."`
	Resume  queueResumeCommand  `cmd:"" help:"Let deliveries to a destination go on."`
	Stats   queueStatsCommand   `cmd:"" help:"Show how much waits, for which destinations, and since when."`
}

// administrator is who asks, for trace and log.
func administrator() string {
	name := os.Getenv("SUDO_USER")
	if u, err := user.Current(); name == "" && err == nil {
		name = u.Username
	}
	if name == "" {
		name = fmt.Sprintf("uid %d", os.Getuid())
	}
	return name
}

type queueFilter struct {
	Dest string `help:"Only mail for this destination: hop:NAME or mx:DOMAIN." placeholder:"DEST"`
	From string `help:"Only mail from this address, @domain or <>." placeholder:"ADDRESS"`
	To   string `help:"Only mail to this address or @domain." placeholder:"ADDRESS"`
}

func (f queueFilter) question() gateway.QueueQuestion {
	return gateway.QueueQuestion{Dest: f.Dest, From: f.From, To: f.To, By: administrator()}
}

type queueListCommand struct {
	queueFilter `embed:""`
	State       string `help:"Only recipients in this state: ${enum}." enum:"queued,held,any" default:"any"`
	Limit       int    `help:"How many messages to show." default:"100"`
}

// Help shows an example.
func (queueListCommand) Help() string { return "Example: gatepost queue list --dest hop:exchange" }

// Run lists the queue.
func (c queueListCommand) Run(a *app) error {
	q := c.question()
	q.Limit, q.State = c.Limit, strings.TrimPrefix(c.State, "any")
	return ask(a, "queue/list", q, listText)
}

func listText(w io.Writer, entries []queue.Entry) {
	if len(entries) == 0 {
		fmt.Fprintln(w, "nothing")
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tRECEIVED\tSIZE\tFROM\tTO\tDEST\tSTATE\tTRIES\tNEXT\tWHY")
	for _, e := range entries {
		for _, r := range e.Recipients {
			fmt.Fprintf(t, "%s\t%s\t%d\t<%s>\t<%s>\t%s\t%s\t%d\t%s\t%s\n", e.ID, e.Received.UTC().Format(time.RFC3339), e.Size, e.From, r.Address,
				r.Dest, r.State, r.Attempts, moment(r.Next), reasonOf(r))
		}
	}
	t.Flush()
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func reasonOf(r queue.RecipientEntry) string {
	if r.Status != nil {
		return r.Status.String()
	}
	return r.Reason
}

type queueShowCommand struct {
	ID      string `arg:"" help:"Id of the message."`
	Content bool   `help:"Print the message itself too."`
}

// Help shows an example.
func (queueShowCommand) Help() string { return "Example: gatepost queue show 01h2x3y4z5abc --content" }

// Run shows one message.
func (c queueShowCommand) Run(a *app) error {
	q := gateway.QueueQuestion{IDs: []string{c.ID}, Content: c.Content}
	return ask(a, "queue/show", q, func(w io.Writer, e gateway.EntryAnswer) {
		listText(w, []queue.Entry{e.Entry})
		if c.Content {
			fmt.Fprintln(w)
			w.Write(contentFor(w, e.Content))
		}
	})
}

type queueChange struct {
	IDs         []string `arg:"" optional:"" help:"Ids of messages." name:"id"`
	queueFilter `embed:""`
	All         bool `help:"All messages."`
}

func (c queueChange) question() gateway.QueueQuestion {
	q := c.queueFilter.question()
	q.IDs, q.All = c.IDs, c.All
	return q
}

// change makes one change and says what it did.
func change(a *app, call, done string, q gateway.QueueQuestion) error {
	return ask(a, call, q, func(w io.Writer, x gateway.ChangeAnswer) {
		fmt.Fprintf(w, "%s: %d message(s), %d recipient(s)\n", done, x.Messages, x.Recipients)
		if x.Waiting > 0 {
			fmt.Fprintf(w, "%d recipient(s) are in an attempt just now; it happens behind it unless the attempt ends them\n", x.Waiting)
		}
	})
}

type queueRetryCommand struct {
	queueChange `embed:""`
}

// Help shows an example.
func (queueRetryCommand) Help() string {
	return "Examples: gatepost queue retry 01h2x3y4z5abc\n          gatepost queue retry --dest hop:exchange"
}

// Run retries.
func (c queueRetryCommand) Run(a *app) error {
	q := c.question()
	if len(q.IDs) == 0 && q.From == "" && q.To == "" && (q.Dest != "" || q.All) {
		what := q.Dest
		if what == "" {
			what = "everything that waits"
		}
		return ask(a, "queue/retry", q, func(w io.Writer, _ gateway.ChangeAnswer) { fmt.Fprintln(w, what, "is tried now") })
	}
	return change(a, "queue/retry", "tried now", q)
}

type queueHoldCommand struct {
	queueChange `embed:""`
}

// Help shows an example.
func (queueHoldCommand) Help() string { return "Example: gatepost queue hold --from @example.net" }

// Run holds.
func (c queueHoldCommand) Run(a *app) error {
	q := c.question()
	q.State = "queued"
	return change(a, "queue/hold", "held", q)
}

type queueReleaseCommand struct {
	queueChange `embed:""`
}

// Help shows an example.
func (queueReleaseCommand) Help() string { return "Example: gatepost queue release 01h2x3y4z5abc" }

// Run releases.
func (c queueReleaseCommand) Run(a *app) error {
	q := c.question()
	q.State = "held"
	return change(a, "queue/release", "released", q)
}

type queueDeleteCommand struct {
	queueChange `embed:""`
}

// Help shows an example.
func (queueDeleteCommand) Help() string {
	return "Example: gatepost queue delete --from spam@example.net\n\nThe trace names who deleted it."
}

// Run deletes.
func (c queueDeleteCommand) Run(a *app) error {
	return change(a, "queue/delete", "deleted", c.question())
}

type destArg struct {
	Dest string `arg:"" help:"hop:NAME or mx:DOMAIN."`
}

type queueSuspendCommand struct {
	destArg `embed:""`
}

// Help shows an example.
func (queueSuspendCommand) Help() string { return "Example: gatepost queue suspend hop:exchange" }

// Run suspends a destination.
func (c queueSuspendCommand) Run(a *app) error {
	q := gateway.QueueQuestion{Dest: c.Dest, By: administrator()}
	return ask(a, "queue/suspend", q, func(w io.Writer, _ struct{}) { fmt.Fprintln(w, c.Dest, "is suspended; mail for it waits") })
}

type queueResumeCommand struct {
	destArg `embed:""`
}

// Help shows an example.
func (queueResumeCommand) Help() string { return "Example: gatepost queue resume hop:exchange" }

// Run lets a destination go on.
func (c queueResumeCommand) Run(a *app) error {
	q := gateway.QueueQuestion{Dest: c.Dest, By: administrator()}
	return ask(a, "queue/resume", q, func(w io.Writer, _ struct{}) { fmt.Fprintln(w, c.Dest, "goes on") })
}

type queueStatsCommand struct {
	Account bool `help:"Also count how every recipient in the trace ended; reads the whole trace."`
}

// Help shows an example.
func (queueStatsCommand) Help() string { return "Example: gatepost queue stats" }

// Run shows the state of the queue.
func (c queueStatsCommand) Run(a *app) error {
	return ask(a, "queue/stats", gateway.QueueQuestion{Account: c.Account}, statsText)
}

func statsText(w io.Writer, s gateway.StatsAnswer) {
	fmt.Fprintf(w, "queued %d, held %d, attempts running %d, oldest %s\n", s.Queued, s.Held, s.Running, moment(s.Oldest))
	if !s.Delivering {
		fmt.Fprintln(w, "this node delivers nothing just now: it does not run, or cannot reach its store")
	}
	if len(s.Destinations) > 0 {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "DESTINATION\tQUEUED\tOLDEST\tFAILURES\tNEXT TRY\t")
		for _, d := range s.Destinations {
			note := ""
			if d.Suspended {
				note = "suspended"
			}
			fmt.Fprintf(t, "%s\t%d\t%s\t%d\t%s\t%s\n", d.Dest, d.Queued, moment(d.Oldest), d.Fails, moment(d.Wake), note)
		}
		t.Flush()
	}
	if x := s.Account; x != nil {
		fmt.Fprintf(w, "trace: %d messages with %d recipients ended: %v; %d refused\n", x.Ended, x.Recipients, x.Ends, x.Refused)
		for _, f := range x.Faults {
			fmt.Fprintln(w, "FAULT:", f)
		}
	}
}
