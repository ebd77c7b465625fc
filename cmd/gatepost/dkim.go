package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"gatepost/auth/dkim"
	"gatepost/auth/keyring"
	"gatepost/gateway"
)

type dkimCommand struct {
	Create   dkimCreateCommand   `cmd:"" help:"Make a key pair and print the DNS record to publish."`
	List     dkimListCommand     `cmd:"" help:"List keys with their states."`
	Import   dkimImportCommand   `cmd:"" help:"Take a private key from a PEM file (PKCS#1 or PKCS#8)."`
	Export   dkimExportCommand   `cmd:"" help:"Print a private key as PKCS#8 PEM."`
	DNS      dkimDNSCommand      `cmd:"" name:"dns" help:"Print the DNS records of a domain's keys as zone-file lines."`
	Check    dkimCheckCommand    `cmd:"" help:"Compare keys with DNS; a pending key that is found becomes active."`
	Activate dkimActivateCommand `cmd:"" help:"Sign with a key without waiting for DNS."`
	Retire   dkimRetireCommand   `cmd:"" help:"Stop signing with a key."`
	Remove   dkimRemoveCommand   `cmd:"" help:"Delete a retired or pending key for ever."`
	Sign     dkimSignCommand     `cmd:"" help:"Sign a message file and print it."`
	Verify   dkimVerifyCommand   `cmd:"" help:"Verify the signatures of a message file."`
}

// ask makes one call and prints the answer.
func ask[A any](a *app, call string, question any, text func(io.Writer, A)) error {
	_, err := asked(a, call, question, text)
	return err
}

// asked is ask for commands whose exit status depends on the answer.
func asked[A any](a *app, call string, question any, text func(io.Writer, A)) (answer A, err error) {
	client, done, err := a.client()
	if err != nil {
		return answer, err
	}
	defer done()
	if err := client.Ask(a.ctx, call, question, &answer); err != nil {
		return answer, err
	}
	return answer, a.print(answer, func(w io.Writer) { text(w, answer) })
}

type dkimKeyArgs struct {
	Domain   string `arg:"" help:"Domain of the key (d=)."`
	Selector string `arg:"" help:"Selector of the key (s=)."`
}

func (k dkimKeyArgs) question() gateway.KeyQuestion {
	return gateway.KeyQuestion{Domain: k.Domain, Selector: k.Selector}
}

type dkimCreateCommand struct {
	Domain    string `arg:"" help:"Domain to sign for (d=)."`
	Algorithm string `help:"Kind of key: ${enum}." enum:"rsa-2048,ed25519" default:"rsa-2048"`
	Selector  string `help:"Selector (s=). Default: a new one of the day."`
	Activate  bool   `help:"Sign with it at once, without waiting until it is found in DNS."`
}

// Help shows an example.
func (dkimCreateCommand) Help() string {
	return "Example: gatepost dkim create example.com --algorithm ed25519\n\n" +
		"The key is pending until 'gatepost dkim check', which the gateway also runs by itself, finds it in DNS."
}

// Run makes a key.
func (c dkimCreateCommand) Run(a *app) error {
	q := gateway.KeyQuestion{Domain: c.Domain, Algorithm: c.Algorithm, Selector: c.Selector, Activate: c.Activate}
	return ask(a, "dkim/create", q, newKeyText)
}

func newKeyText(w io.Writer, k gateway.KeyAnswer) {
	fmt.Fprintf(w, "%s is %s. Publish:\n\n%s\n", k.Key.Name(), k.Key.State, k.ZoneLine)
	if k.Warning != "" {
		fmt.Fprintf(w, "\nwarning: %s\n", k.Warning)
	}
	if k.Key.State == keyring.Pending {
		fmt.Fprintf(w, "\nThen: gatepost dkim check %s\n", k.Key.Domain)
	}
}

type dkimListCommand struct {
	Domain string `arg:"" optional:"" help:"Only keys of this domain."`
}

// Help shows an example.
func (dkimListCommand) Help() string { return "Example: gatepost dkim list" }

// Run lists keys.
func (c dkimListCommand) Run(a *app) error {
	return ask(a, "dkim/list", gateway.KeyQuestion{Domain: c.Domain}, func(w io.Writer, keys []keyring.Key) {
		if len(keys) == 0 {
			fmt.Fprintln(w, "no keys; 'gatepost dkim create DOMAIN' makes one")
			return
		}
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "DOMAIN\tSELECTOR\tALGORITHM\tBITS\tSTATE\tSINCE\tFILE")
		for _, k := range keys {
			since := ""
			if !k.Changed.IsZero() {
				since = k.Changed.UTC().Format(time.DateOnly)
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", k.Domain, k.Selector, k.Algorithm, k.Bits, k.State, since, k.File)
		}
		t.Flush()
	})
}

type dkimImportCommand struct {
	dkimKeyArgs `embed:""`
	File        string `arg:"" help:"PEM file." type:"path"`
	Activate    bool   `help:"Sign with it at once, without waiting until it is found in DNS."`
}

// Help shows an example.
func (dkimImportCommand) Help() string {
	return "Example: gatepost dkim import example.com s1 /etc/opendkim/keys/s1.private"
}

// Run imports a key.
func (c dkimImportCommand) Run(a *app) error {
	pem, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	q := c.question()
	q.PEM, q.Activate = pem, c.Activate
	return ask(a, "dkim/import", q, newKeyText)
}

type dkimExportCommand struct {
	dkimKeyArgs `embed:""`
}

// Help shows an example.
func (dkimExportCommand) Help() string {
	return "Example: (umask 077; gatepost dkim export example.com s1 > s1.pem)"
}

// Run prints a private key.
func (c dkimExportCommand) Run(a *app) error {
	return ask(a, "dkim/export", c.question(), func(w io.Writer, pem []byte) { w.Write(pem) })
}

type dkimDNSCommand struct {
	Domain string `arg:"" help:"Domain."`
}

// Help shows an example.
func (dkimDNSCommand) Help() string {
	return "Example: gatepost dkim dns example.com >> db.example.com"
}

// Run prints zone-file lines.
func (c dkimDNSCommand) Run(a *app) error {
	return ask(a, "dkim/dns", gateway.KeyQuestion{Domain: c.Domain}, func(w io.Writer, lines []string) {
		fmt.Fprintln(w, strings.Join(lines, "\n"))
	})
}

type dkimCheckCommand struct {
	Domain string `arg:"" optional:"" help:"Only keys of this domain."`
}

// Help shows an example.
func (dkimCheckCommand) Help() string {
	return "Example: gatepost dkim check example.com\n\nExit status 1 when a key and DNS do not agree."
}

// Run compares keys with DNS.
func (c dkimCheckCommand) Run(a *app) error {
	reports, err := asked(a, "dkim/check", gateway.KeyQuestion{Domain: c.Domain}, func(w io.Writer, reports []keyring.Report) {
		for _, r := range reports {
			reportText(w, r)
		}
		if len(reports) == 0 {
			fmt.Fprintln(w, "no pending or active keys to check")
		}
	})
	if err == nil && slices.ContainsFunc(reports, func(r keyring.Report) bool { return !r.Matches }) {
		return exitError(1)
	}
	return err
}

func reportText(w io.Writer, r keyring.Report) {
	state := string(r.Key.State)
	switch {
	case r.Activated:
		state = "found in DNS, active now"
	case r.Matches:
		state += ", DNS agrees"
	case r.Unknown:
		state += ", DNS gave no answer"
	default:
		state += ", DNS does not agree"
	}
	fmt.Fprintf(w, "%s: %s\n", r.Key.Name(), state)
	for _, alias := range r.Aliases {
		fmt.Fprintf(w, "  through CNAME %s\n", alias)
	}
	for _, p := range r.Problems {
		fmt.Fprintf(w, "  %s\n", p)
	}
	if r.Want != "" {
		fmt.Fprintf(w, "  it should be:\n%s\n", r.Want)
	}
}

type dkimActivateCommand struct {
	dkimKeyArgs `embed:""`
}

// Help shows an example.
func (dkimActivateCommand) Help() string { return "Example: gatepost dkim activate example.com s1" }

// Run activates a key.
func (c dkimActivateCommand) Run(a *app) error {
	return ask(a, "dkim/activate", c.question(), func(w io.Writer, k gateway.KeyAnswer) {
		fmt.Fprintf(w, "%s is %s\n", k.Key.Name(), k.Key.State)
	})
}

type dkimRetireCommand struct {
	dkimKeyArgs `embed:""`
}

// Help shows an example.
func (dkimRetireCommand) Help() string {
	return "Example: gatepost dkim retire example.com s1\n\nLeave its record in DNS until no mail signed with it is on its way any more."
}

// Run retires a key.
func (c dkimRetireCommand) Run(a *app) error {
	return ask(a, "dkim/retire", c.question(), func(w io.Writer, _ struct{}) {
		fmt.Fprintf(w, "%s/%s is retired\n", c.Domain, c.Selector)
	})
}

type dkimRemoveCommand struct {
	dkimKeyArgs `embed:""`
}

// Help shows an example.
func (dkimRemoveCommand) Help() string { return "Example: gatepost dkim remove example.com s1" }

// Run removes a key.
func (c dkimRemoveCommand) Run(a *app) error {
	return ask(a, "dkim/remove", c.question(), func(w io.Writer, _ struct{}) {
		fmt.Fprintf(w, "%s/%s is removed\n", c.Domain, c.Selector)
	})
}

type messageArg struct {
	File string `arg:"" help:"Message file; - is standard input." type:"existingfile"`
}

// maxMessageFile bounds a message file.
const maxMessageFile = 96 << 20

// read gives the message with CRLF line ends, as SMTP carries it.
func (m messageArg) read() ([]byte, error) {
	f := os.Stdin
	if m.File != "-" {
		var err error
		if f, err = os.Open(m.File); err != nil {
			return nil, err
		}
		defer f.Close()
	}
	b, err := io.ReadAll(io.LimitReader(f, maxMessageFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the message: %w", err)
	}
	if len(b) > maxMessageFile {
		return nil, fmt.Errorf("%s is larger than %d octets", m.File, maxMessageFile)
	}
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")), nil
}

type dkimSignCommand struct {
	messageArg `embed:""`
}

// Help shows an example.
func (dkimSignCommand) Help() string { return "Example: gatepost dkim sign message.eml > signed.eml" }

// Run signs a message file.
func (c dkimSignCommand) Run(a *app) error {
	message, err := c.read()
	if err != nil {
		return err
	}
	return ask(a, "dkim/sign", gateway.KeyQuestion{Message: message}, func(w io.Writer, s gateway.SignAnswer) {
		w.Write(s.Message)
		fmt.Fprintln(a.err, "signed by", strings.Join(s.Signed, ", "))
	})
}

type dkimVerifyCommand struct {
	messageArg `embed:""`
}

// Help shows an example.
func (dkimVerifyCommand) Help() string {
	return "Example: gatepost dkim verify message.eml\n\nExit status 1 when no signature passes."
}

// Run verifies a message file.
func (c dkimVerifyCommand) Run(a *app) error {
	message, err := c.read()
	if err != nil {
		return err
	}
	results, err := asked(a, "dkim/verify", gateway.KeyQuestion{Message: message}, func(w io.Writer, results []dkim.Result) {
		for _, r := range results {
			fmt.Fprintf(w, "dkim=%s header.d=%s header.s=%s header.a=%s %s\n", r.Value, r.Domain, r.Selector, r.Algorithm, r.Reason)
		}
		if len(results) == 0 {
			fmt.Fprintln(w, "dkim=none")
		}
	})
	if err == nil && !slices.ContainsFunc(results, func(r dkim.Result) bool { return r.Value == "pass" }) {
		return exitError(1)
	}
	return err
}
