package main

import (
	"fmt"
	"io"
	"strings"

	"gatepost/gateway"
	"gatepost/policy"
)

type explainCommand struct {
	messageArg `embed:""`
	ClientIP   string   `help:"Address of the client." name:"client-ip" required:"" placeholder:"IP"`
	Helo       string   `help:"Its HELO name." required:"" placeholder:"NAME"`
	MailFrom   string   `help:"Reverse-path; <> or empty is the null sender." name:"mail-from" required:"" placeholder:"ADDRESS"`
	To         []string `help:"Recipients." placeholder:"ADDRESS"`
	Listener   string   `help:"Listener it comes in by. Default: the first with the role mx."`
	User       string   `help:"Judge as this authenticated user's mail."`
}

// Help shows an example.
func (explainCommand) Help() string {
	return "Example: gatepost explain --client-ip 192.0.2.1 --helo mail.example.net --mail-from a@example.net --to b@example.com message.eml\n\n" +
		"Nothing is sent, held or kept. Exit status 1 when the message would be refused."
}

// Run judges a message file.
func (c explainCommand) Run(a *app) error {
	message, err := c.read()
	if err != nil {
		return err
	}
	q := gateway.ExplainQuestion{Listener: c.Listener, ClientIP: c.ClientIP, Helo: c.Helo, MailFrom: c.MailFrom, Recipients: c.To, User: c.User, Message: message}
	answer, err := asked(a, "explain", q, explainText)
	if err == nil && answer.Refused() {
		return exitError(1)
	}
	return err
}

func explainText(w io.Writer, e gateway.ExplainAnswer) {
	x := e.Explanation
	fmt.Fprintf(w, "role       %s %s\n", e.Role, e.RelayClient)
	verdict := func(what string, v policy.Verdict) {
		fmt.Fprintf(w, "%-10s %s\n", what, verdictText(v))
	}
	verdict("MAIL", x.Mail)
	for _, r := range x.Recipients {
		verdict("RCPT", r.Verdict)
	}
	proofsText(w, x.Facts)
	for _, s := range x.Facts.Steps {
		fmt.Fprintf(w, "  rule %-22s %-10s %s\n", s.Rule, s.Result, s.Reason)
	}
	verdict("content", x.Content)
	if !x.Vouched.IsZero() {
		fmt.Fprintf(w, "vouched    for %s: it is signed where a key is active\n", x.Vouched)
	}
	if e.AuthenticationResults != "" {
		fmt.Fprint(w, strings.ReplaceAll(e.AuthenticationResults, "\r\n", "\n"))
	}
}

func verdictText(v policy.Verdict) string {
	text := string(v.Action)
	if v.Would != "" {
		text += fmt.Sprintf(" (monitor mode; enforced it would be %s)", v.Would)
	}
	if v.Rule != "" {
		text += " by rule " + v.Rule
	}
	if v.Reason != "" {
		text += ": " + v.Reason
	}
	if v.Refused() {
		text += "\n           reply " + v.Reply.String()
	}
	return text
}
