package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"gatepost/gateway"
	"gatepost/mail"
	"gatepost/report/outgoing"
)

type reportPreviewCommand struct {
	Domain string `arg:"" help:"Domain that the record stands at: of From, or the organization above it."`
	Day    string `help:"Day of the report (UTC): today, yesterday or 2006-01-02." default:"today"`
	Format string `help:"rfc9990 or rfc7489; default: report.dmarc_aggregate.format."`
}

// Help shows examples.
func (reportPreviewCommand) Help() string {
	return "Examples: gatepost report preview example.com\n          gatepost report preview example.com --day yesterday --format rfc7489"
}

// Run shows the report that would be sent.
func (c reportPreviewCommand) Run(a *app) error {
	return ask(a, "report/preview", gateway.ReportOutQuestion{Domain: c.Domain, Day: c.Day, Format: c.Format}, previewText)
}

func previewText(w io.Writer, r gateway.ReportPreview) {
	fmt.Fprintf(w, "domain     %s\nday        %s\ncounted    %d messages, %d of them accepted, in %d records\nfrom       %s\n", r.Domain, r.Day, r.Messages, r.Accepted, r.Records, r.From)
	for _, to := range r.To {
		fmt.Fprintf(w, "to         %s\n", to)
	}
	notToText(w, r.Refused)
	for _, why := range r.Why {
		fmt.Fprintf(w, "not now    %s\n", why)
	}
	if r.XML != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimRight(r.XML, "\n"))
	}
}

func notToText(w io.Writer, list []outgoing.Refused) {
	for _, x := range list {
		fmt.Fprintf(w, "not to     %s: %s\n", mail.SafeText(x.URI, 300), mail.SafeText(x.Reason, 300))
	}
}

type reportSendCommand struct {
	Domain string `arg:"" help:"Domain that the record stands at."`
	Day    string `help:"Day of the report (UTC): yesterday or 2006-01-02." default:"yesterday"`
}

// Help shows an example.
func (reportSendCommand) Help() string {
	return "Example: gatepost report send example.com --day yesterday\n\nAll rules hold but the hour. Exit status 1 when nothing was sent."
}

// Run sends a report at once.
func (c reportSendCommand) Run(a *app) error {
	sent, err := asked(a, "report/send", gateway.ReportOutQuestion{Domain: c.Domain, Day: c.Day, By: administrator()}, func(w io.Writer, r gateway.ReportSent) {
		if r.Message != 0 {
			fmt.Fprintf(w, "sent       %s about %s to %s, in message %s\n", r.Domain, r.Day, strings.Join(r.To, ", "), r.Message)
		} else {
			fmt.Fprintf(w, "not sent   %s\n", r.Why)
		}
		notToText(w, r.Refused)
	})
	if err == nil && sent.Message == 0 {
		return exitError(1)
	}
	return err
}

type reportSentCommand struct {
	Since span `help:"Only the reports of this time." default:"30d"`
	Limit int  `help:"How many to show." default:"100"`
}

// Help shows an example.
func (reportSentCommand) Help() string { return "Example: gatepost report sent --since 7d" }

// Run lists the reports that were sent.
func (c reportSentCommand) Run(a *app) error {
	return ask(a, "report/sent", gateway.ReportOutQuestion{Since: time.Duration(c.Since), Limit: c.Limit}, sentText)
}

func sentText(w io.Writer, list gateway.ReportOutList) {
	if len(list.Reports) == 0 {
		fmt.Fprintln(w, "no reports were sent; 'gatepost report preview DOMAIN' shows what would be, and why not")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(list.Reports) > 0 {
		fmt.Fprintln(t, "AT\tDOMAIN\tDAY\tSTATE\tMESSAGE\tRECORDS\tCOUNT\tTO")
	}
	for _, r := range list.Reports {
		id := "-"
		if r.Message != 0 {
			id = r.Message.String()
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n", minute(r.At), r.Domain, r.Day, r.State, id, r.Records, r.Messages, becameOf(r))
	}
	t.Flush()
	if len(list.Paused) == 0 {
		return
	}
	fmt.Fprintf(w, "\nget no reports for a while: %d\n", len(list.Paused))
	fmt.Fprintln(t, "ADDRESS\tUNTIL\tMESSAGE\tREASON")
	for _, p := range list.Paused {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", p.Address, minute(p.Until), p.Message, p.Reason)
	}
	t.Flush()
}

// becameOf tells of each copy, or why there is none.
func becameOf(r outgoing.Entry) string {
	if r.Reason != "" {
		return r.Reason
	}
	var out []string
	for _, c := range r.Copies {
		state := c.Outcome
		if state == "" {
			state = "under way"
		}
		out = append(out, c.Address+" ("+state+")")
	}
	return strings.Join(out, ", ")
}
