package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"gatepost/auth/arc"
	"gatepost/auth/dkim"
	"gatepost/gateway"
	"gatepost/gateway/intake"
	"gatepost/mail"
	"gatepost/policy"
	"gatepost/trace"
)

type traceCommand struct {
	What  string        `arg:"" help:"Id of a message (in the SMTP reply, the log and notices), an address, or @domain."`
	Since time.Duration `help:"How far back to look for an address." default:"336h"`
	Limit int           `help:"How many messages of an address to show." default:"50"`
}

// Help shows an example.
func (traceCommand) Help() string {
	return "Examples: gatepost trace 01h2x3y4z5abc\n          gatepost trace user@example.com --since 24h"
}

// Run shows a message's life, or finds messages.
func (c traceCommand) Run(a *app) error {
	if strings.Contains(c.What, "@") {
		q := gateway.TraceQuestion{Address: c.What, Since: c.Since, Limit: c.Limit}
		return ask(a, "trace/search", q, searchText)
	}
	return ask(a, "trace/show", gateway.TraceQuestion{ID: c.What}, lifeText)
}

func searchText(w io.Writer, found []trace.Summary) {
	if len(found) == 0 {
		fmt.Fprintln(w, "nothing found; addresses are those of the envelope, and --since says how far back to look")
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TIME\tID\tWHAT\tFROM\tTO\tTEXT")
	for _, s := range found {
		fmt.Fprintf(t, "%s\t%s\t%s\t<%s>\t%s\t%s\n", s.At.UTC().Format(time.RFC3339), s.ID, s.Kind, s.From, strings.Join(s.To, ","), s.Text)
	}
	t.Flush()
}

func lifeText(w io.Writer, l trace.Life) {
	fmt.Fprintf(w, "message    %s\n", l.ID)
	if x := l.Accepted; x != nil {
		fmt.Fprintf(w, "accepted   %s, %d octets\n", x.At.UTC().Format(time.RFC3339), x.Size)
		originText(w, x.Origin)
		fmt.Fprintf(w, "from       <%s>\n", x.From)
		for _, r := range x.Recipients {
			fmt.Fprintf(w, "to         <%s>\n", r)
		}
		factsText(w, x.Facts)
	}
	if x := l.Refusal; x != nil {
		fmt.Fprintf(w, "refused    %s at %s: %s\n", x.At.UTC().Format(time.RFC3339), x.Stage, x.Status)
		originText(w, x.Origin)
		fmt.Fprintf(w, "from       <%s>\nto         %s\n", x.From, strings.Join(x.To, ", "))
		if x.Rule != "" {
			fmt.Fprintf(w, "rule       %s: %s\n", x.Rule, x.Reason)
		}
		factsText(w, x.Facts)
	}
	for _, e := range l.Events {
		eventText(w, e)
	}
}

func originText(w io.Writer, o mail.Origin) {
	fmt.Fprintf(w, "session    listener %s, role %s, client %s, HELO %s", o.Listener, o.Role, o.Addr, o.Helo)
	for _, part := range []struct{ name, value string }{{"relay client", o.Client}, {"user", o.User}, {"TLS", o.TLS}, {"vouched for", o.From.String()}} {
		if part.value != "" {
			fmt.Fprintf(w, ", %s %s", part.name, part.value)
		}
	}
	fmt.Fprintln(w)
}

// factsText prints what the proofs and the policy said.
func factsText(w io.Writer, raw json.RawMessage) {
	var r intake.Record
	if len(raw) == 0 || json.Unmarshal(raw, &r) != nil {
		return
	}
	proofsText(w, r.Facts)
	if r.Verdict.Action != "" {
		fmt.Fprintf(w, "verdict    %s\n", verdictText(r.Verdict))
	}
}

// proofsText prints what was found out about a message.
func proofsText(w io.Writer, f policy.Facts) {
	upstreamText(w, f.Upstream)
	if f.SPF.Value != "" {
		fmt.Fprintf(w, "spf        %s (%s %s) %s %s\n", f.SPF.Value, f.SPF.Identity, f.SPF.Domain, f.SPF.Mechanism, f.SPF.Reason)
	}
	for _, d := range f.DKIM {
		signatureText(w, d)
	}
	if f.ARC.Value != "" {
		fmt.Fprintf(w, "arc        %s%s %s\n", f.ARC.Value, sealersText(f.ARC), f.ARC.Reason)
	}
	if f.DMARC.Value != "" {
		fmt.Fprintf(w, "dmarc      %s from %s, policy %s%s\n", f.DMARC.Value, f.DMARC.From, dmarcPolicy(f), dispositionText(f.Disposition))
		if x := f.DMARC.PSL; x != nil {
			fmt.Fprintf(w, "           by public suffixes it would be %s, policy %s of %s\n", x.Value, x.Policy, x.PolicyDomain)
		}
	}
	if f.IPRev.Value != "" {
		fmt.Fprintf(w, "iprev      %s %s %s\n", f.IPRev.Value, f.IPRev.Name, f.IPRev.Reason)
	}
}

// signatureText prints one DKIM signature, its key on a line of its own.
func signatureText(w io.Writer, d dkim.Result) {
	fmt.Fprintf(w, "dkim       %s d=%s s=%s a=%s i=%s b=%s %s\n", d.Value, d.Domain, d.Selector, d.Algorithm, d.Identity, d.B, d.Reason)
	var about []string
	if d.KeyBits > 0 {
		about = append(about, fmt.Sprintf("key of %d bits", d.KeyBits))
	}
	if d.KeyName != "" {
		about = append(about, "found by CNAME at "+d.KeyName)
	}
	if d.Testing {
		about = append(about, "marked as testing")
	}
	if d.BodyLength >= 0 {
		about = append(about, fmt.Sprintf("l=%d octets of the body", d.BodyLength))
	}
	if len(about) > 0 {
		fmt.Fprintf(w, "           %s\n", strings.Join(about, ", "))
	}
}

// upstreamText prints who was judged in the place of the connected client.
func upstreamText(w io.Writer, u policy.Upstream) {
	switch {
	case u.Reason != "":
		fmt.Fprintf(w, "judged     nobody: %s\n", u.Reason)
	case u.Addr.IsValid():
		fmt.Fprintf(w, "judged     client %s, HELO %s, recorded by upstream %s in %d hop(s)\n", u.Addr, u.Helo, u.By, u.Hops)
	}
}

func dmarcPolicy(f policy.Facts) string {
	if f.DMARC.Policy == "" {
		return "none published"
	}
	return fmt.Sprintf("%s (%s of %s)", f.DMARC.Policy, f.DMARC.Tag, f.DMARC.PolicyDomain)
}

func dispositionText(d policy.Disposition) string {
	text := ""
	if d.Applied != "" {
		text = ", applied " + d.Applied
	}
	for _, more := range []string{d.Override, d.Sealer.String(), d.Note} {
		if more != "" {
			text += " " + more
		}
	}
	return text
}

// sealersText names who sealed the message, oldest first.
func sealersText(r arc.Result) string {
	text := ""
	for _, s := range r.Sets {
		text += fmt.Sprintf(" %d=%s", s.Instance, s.Sealer)
	}
	return text
}

func eventText(w io.Writer, e trace.Event) {
	fmt.Fprintf(w, "%-10s %s", e.Kind, e.At.UTC().Format(time.RFC3339))
	if !e.Recipient.IsNull() {
		fmt.Fprintf(w, " <%s>", e.Recipient)
	}
	if e.Dest != "" {
		fmt.Fprintf(w, " by %s", e.Dest)
	}
	if e.By != "" {
		fmt.Fprintf(w, " by %s", e.By)
	}
	if e.Reason != "" {
		fmt.Fprintf(w, ": %s", e.Reason)
	}
	if e.Related != 0 {
		fmt.Fprintf(w, " notice %s", e.Related)
	}
	if !e.Next.IsZero() {
		fmt.Fprintf(w, ", attempt %d, next %s", e.Attempt, e.Next.UTC().Format(time.RFC3339))
	}
	fmt.Fprintln(w)
	if s := e.Status; s != nil {
		statusText(w, *s)
	}
}

func statusText(w io.Writer, s mail.Status) {
	fmt.Fprintf(w, "           %s\n", s)
	if s.Remote != "" {
		fmt.Fprintf(w, "           %s %s\n", s.Remote, s.TLS)
	}
	if len(s.Signed) > 0 {
		fmt.Fprintf(w, "           signed by %s\n", strings.Join(s.Signed, ", "))
	}
}
