package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"gatepost/gateway"
	"gatepost/mail"
	"gatepost/report/inbox"
)

type reportCommand struct {
	List    reportListCommand    `cmd:"" help:"List reports that were sent to report.inbox, and what could not be read, with the reason."`
	Show    reportShowCommand    `cmd:"" help:"Show one report with its records."`
	Sources reportSourcesCommand `cmd:"" help:"Show who sends as a domain, from where, and how much passes."`
	Forget  reportForgetCommand  `cmd:"" help:"Remove all reports that one sender sent us."`
	Preview reportPreviewCommand `cmd:"" help:"Show the report about a domain that would be sent to its owner, to whom, and why not."`
	Send    reportSendCommand    `cmd:"" help:"Send the report about a domain and day now."`
	Sent    reportSentCommand    `cmd:"" help:"List the reports that were sent to owners of domains, and who gets none for a while."`
}

// span is a duration that may be given in days.
type span time.Duration

// UnmarshalText reads 30d, or what Go writes as a duration.
func (s *span) UnmarshalText(b []byte) error {
	if days, ok := strings.CutSuffix(string(b), "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		*s = span(time.Duration(n) * 24 * time.Hour)
		if err == nil {
			return nil
		}
	} else if d, err := time.ParseDuration(string(b)); err == nil && d >= 0 {
		*s = span(d)
		return nil
	}
	return errors.New("expected a duration such as 30d or 12h")
}

type reportListCommand struct {
	Domain string `help:"Only reports about this domain."`
	Kind   string `help:"Only reports of this kind: dmarc, failure or tls."`
	Since  span   `help:"Only what came in this time." default:"30d"`
	Limit  int    `help:"How many to show." default:"100"`
}

// Help shows examples.
func (reportListCommand) Help() string {
	return "Examples: gatepost report list\n          gatepost report list --domain example.com --kind tls --since 7d"
}

// Run lists reports.
func (c reportListCommand) Run(a *app) error {
	q := gateway.ReportQuestion{Domain: c.Domain, Kind: c.Kind, Since: time.Duration(c.Since), Limit: c.Limit}
	return ask(a, "report/list", q, reportListText)
}

func reportListText(w io.Writer, list gateway.ReportList) {
	if len(list.Reports)+len(list.Unread)+len(list.Refused) == 0 {
		fmt.Fprintln(w, "no reports; they come to the addresses of report.inbox, and --since says how far back to look")
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(list.Reports) > 0 {
		fmt.Fprintln(t, "ID\tKIND\tDOMAIN\tREPORTER\tSENT BY\tBEGIN\tEND\tRECORDS\tCOUNT\tPASS")
	}
	for _, r := range list.Reports {
		passed := percent(r.Passed, r.Messages)
		if r.Kind == "failure" {
			passed = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n", r.ID, r.Kind, r.Domain, mail.SafeText(r.Org, 40), orUnproven(r.Proven), minute(r.Begin), minute(r.End), r.Records, r.Messages, passed)
	}
	t.Flush()
	refusedText(w, list.Refused)
	if len(list.Unread) == 0 {
		return
	}
	fmt.Fprintf(w, "\ncould not be read: %d\n", len(list.Unread))
	fmt.Fprintln(t, "ID\tRECEIVED\tFROM\tFILE\tREASON")
	for _, u := range list.Unread {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", u.ID, minute(u.Received), mail.SafeText(u.Sender, 60), mail.SafeText(u.Name, 60), u.Reason)
	}
	t.Flush()
}

// refusedText says who sent more than is read in a day.
func refusedText(w io.Writer, list []inbox.Refusal) {
	if len(list) > 0 {
		fmt.Fprintln(w, "\nnot read, for the sender had sent enough that day (report.max_reports, report.max_records):")
	}
	for _, r := range list {
		who := orUnproven(r.Sender)
		if who == "*" {
			who = "all senders together"
		}
		fmt.Fprintf(w, "%s: %d messages, %s\n", r.Day, r.Messages, who)
	}
}

// orUnproven is the sender that mail proved.
func orUnproven(sender string) string {
	if sender == "" {
		return "unproven"
	}
	return sender
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02T15:04") }

// percent is part of all; a dash where there is nothing.
func percent(part, all int64) string {
	if all == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(part)/float64(all))
}

type reportShowCommand struct {
	ID string `arg:"" help:"Id of the report, as 'gatepost report list' shows it."`
}

// Help shows an example.
func (reportShowCommand) Help() string { return "Example: gatepost report show 01h2x3y4z5abc" }

// Run shows one report.
func (c reportShowCommand) Run(a *app) error {
	return ask(a, "report/show", gateway.ReportQuestion{ID: c.ID}, reportShowText)
}

func reportShowText(w io.Writer, x gateway.ReportAnswer) {
	if u := x.Unread; u != nil {
		fmt.Fprintf(w, "unread     %s\nreason     %s\nmessage    %s, %d octets, received %s\nfrom       %s\nfile       %s\n\n%s\n",
			u.ID, u.Reason, u.Message, u.Size, u.Received.Format(time.RFC3339), u.Sender, u.Name, printable(u.Content))
		return
	}
	r := x.Report
	fmt.Fprintf(w, "report     %s\nkind       %s\ndomain     %s\nreporter   %s\nreport id  %s\ntime       %s to %s\n",
		r.ID, r.Kind, r.Domain, r.Org, r.ReportID, r.Begin.Format(time.RFC3339), r.End.Format(time.RFC3339))
	fmt.Fprintf(w, "message    %s from %s (%s), received %s\ncount      %d, passed %d (%s)\ndetail     %s\n",
		r.Message, r.Sender, orUnproven(r.Proven), r.Received.Format(time.RFC3339), r.Messages, r.Passed, percent(r.Passed, r.Messages), r.Detail)
	if len(x.Records) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SOURCE\tCOUNT\tRESULT\tDKIM\tSPF\tFROM\tPROOFS")
	for _, y := range x.Records {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", y.Source, y.Messages, y.Disposition, y.DKIM, y.SPF, y.HeaderFrom, proofs(y))
	}
	t.Flush()
	if len(x.Records) < r.Records {
		fmt.Fprintf(w, "and %d records more\n", r.Records-len(x.Records))
	}
}

// proofs is what the reporter found before alignment, and why it did not do as
// the policy asks.
func proofs(r inbox.Record) string {
	var d struct {
		Results []struct{ Method, Domain, Selector, Result string }
		Reasons []struct{ Type, Comment string }
	}
	if json.Unmarshal(r.Detail, &d) != nil {
		return ""
	}
	var out []string
	for _, p := range d.Results {
		s := p.Method + "=" + p.Result + " " + p.Domain
		if p.Selector != "" {
			s += "/" + p.Selector
		}
		out = append(out, s)
	}
	for _, why := range d.Reasons {
		out = append(out, strings.TrimSpace("because "+why.Type+" "+why.Comment))
	}
	return strings.Join(out, "; ")
}

// printable is text of a stranger for a terminal, its lines kept.
func printable(b []byte) string {
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		out.WriteString(mail.SafeText(line, 2000))
		out.WriteByte('\n')
	}
	return out.String()
}

type reportSourcesCommand struct {
	Domain string `arg:"" help:"Domain in From of the messages."`
	Since  span   `help:"Only reports about this time." default:"30d"`
	Limit  int    `help:"How many sources to show." default:"50"`
	Names  bool   `help:"Look up the names of the first 50 addresses." default:"true" negatable:""`
}

// Help shows examples.
func (reportSourcesCommand) Help() string {
	return "Examples: gatepost report sources example.com\n          gatepost report sources example.com --since 7d --no-names --json"
}

// Run shows who sends as the domain.
func (c reportSourcesCommand) Run(a *app) error {
	q := gateway.ReportQuestion{Domain: c.Domain, Since: time.Duration(c.Since), Limit: c.Limit, Names: c.Names}
	return ask(a, "report/sources", q, sourcesText)
}

func sourcesText(w io.Writer, s inbox.Sources) {
	if s.Reports == 0 {
		fmt.Fprintf(w, "no aggregate reports about %s since %s\n", s.Domain, minute(s.Since))
		return
	}
	fmt.Fprintf(w, "%s since %s: %d reports, %d messages, dmarc %s, dkim %s, spf %s, quarantined %d, rejected %d\n\n", s.Domain, minute(s.Since), s.Reports,
		s.Total.Messages, percent(s.Total.DMARC, s.Total.Messages), percent(s.Total.DKIM, s.Total.Messages), percent(s.Total.SPF, s.Total.Messages),
		s.Total.Quarantine, s.Total.Reject)
	if s.Unproven > 0 {
		fmt.Fprintf(w, "%d of the reports came in mail that proves no sender; anyone can have made them up\n\n", s.Unproven)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SOURCE\tNAME\tMESSAGES\tDMARC\tDKIM\tSPF\tQUARANTINED\tREJECTED\tREPORTERS")
	for _, x := range s.Sources {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\t%d\t%d\t%s\n", x.Source, x.Name, x.Messages, percent(x.DMARC, x.Messages),
			percent(x.DKIM, x.Messages), percent(x.SPF, x.Messages), x.Quarantine, x.Reject, reporters(x.Orgs))
	}
	t.Flush()
	if s.More {
		fmt.Fprintln(w, "and smaller sources, which the first line counts too; --limit shows more")
	}
}

// reporters names three.
func reporters(orgs []string) string {
	shown := strings.Join(orgs[:min(len(orgs), 3)], ", ")
	if n := len(orgs) - 3; n > 0 {
		shown += fmt.Sprintf(" and %d more", n)
	}
	return shown
}

type reportForgetCommand struct {
	Sender string `arg:"" help:"Domain that the reports' mail proved to come from, as 'gatepost report list' shows it, or 'unproven'."`
}

// Help shows examples.
func (reportForgetCommand) Help() string {
	return "Examples: gatepost report forget evil.example\n          gatepost report forget unproven"
}

// Run removes what a sender made up.
func (c reportForgetCommand) Run(a *app) error {
	sender := c.Sender
	if sender == "unproven" {
		sender = ""
	}
	return ask(a, "report/forget", gateway.ReportForget{Sender: sender}, func(w io.Writer, x gateway.ReportForgotten) {
		fmt.Fprintf(w, "%d reports of %s removed\n", x.Reports, orUnproven(sender))
	})
}
