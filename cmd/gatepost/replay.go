package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"gatepost/admin"
	"gatepost/config"
	"gatepost/gateway"
	"gatepost/mail"
)

type replayCommand struct {
	Since config.Duration `help:"How far back, such as 12h or 7d; no farther than history.keep." default:"7d"`
}

// Help shows an example.
func (replayCommand) Help() string {
	return "Example: gatepost replay --config new.yaml --since 7d\n\n" +
		"Lets the policy of a configuration that is not in use yet judge the messages of the last days, by the facts that the trace and\n" +
		"the queue hold, without DNS and without changing anything. The file must name the data_dir of the gateway.\n" +
		"Exit status 0 when nothing would change, 2 when anything would, 1 when it cannot tell."
}

// Run judges the messages of the last days once more.
func (c replayCommand) Run(a *app) error {
	loaded, _, err := a.checked()
	if err != nil {
		return err
	}
	replay, err := gateway.NewReplay(loaded)
	if err != nil {
		return err
	}
	client, done, err := a.client()
	if err != nil {
		return err
	}
	defer done()
	// Waiting messages first: one that ends meanwhile is in the trace then.
	for _, waiting := range []bool{true, false} {
		if err := c.read(a, client, replay, waiting); err != nil {
			return err
		}
	}
	report := replay.Report()
	if err := a.print(report, func(w io.Writer) { replayText(w, report) }); err != nil {
		return err
	}
	if report.Changed > 0 {
		return exitError(2)
	}
	return nil
}

func (c replayCommand) read(a *app, client *admin.Client, replay *gateway.Replay, waiting bool) error {
	q := gateway.ReplayQuestion{Since: c.Since.Std(), Waiting: waiting}
	for {
		var page gateway.ReplayPage
		if err := client.Ask(a.ctx, "replay", q, &page); err != nil {
			return err
		}
		replay.Add(page.Judged)
		if page.Next == 0 {
			return nil
		}
		q.After = page.Next
	}
}

func replayText(w io.Writer, r gateway.ReplayReport) {
	if len(r.Groups) > 0 {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "COUNT\tDOMAIN\tWAS\tBECOMES\tRULE\tEXAMPLES")
		for _, g := range r.Groups {
			fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\n", g.Count, orDash(g.Domain), g.Was, g.Becomes, orDash(g.Rule), idList(g.Examples))
		}
		t.Flush()
	}
	fmt.Fprintf(w, "%d message(s) judged again, %d would change\n", r.Judged, r.Changed)
	for _, s := range r.Settings {
		fmt.Fprintf(w, "%d message(s) were judged with %s: %s, now %s\n", s.Count, s.Setting, s.Was, s.Is)
	}
	if len(r.Settings) > 0 {
		fmt.Fprintln(w, "Such a setting shapes the proofs themselves: where the facts do not tell what it would have changed, a message is undecided.")
	}
	if r.Unknown > 0 {
		fmt.Fprintf(w, "%d message(s) of an older version do not tell their policy.dkim, policy.upstreams and policy.dmarc.discovery: taken for those of now\n", r.Unknown)
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func idList(ids []mail.ID) string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.String()
	}
	return strings.Join(out, " ")
}
