// Command gatepost is the SMTP gateway and its command line: one file per
// command, each thin. What a command prints is for people; --json is for
// programs. Commands about mail and keys ask the running gateway over the
// socket in its data directory.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"syscall"

	_ "golang.org/x/crypto/x509roots/fallback" // CA roots for machines and containers without their own

	"github.com/alecthomas/kong"
)

// version is set by the build.
var version = "unknown"

// commands is the whole command line.
type commands struct {
	Config string `help:"Configuration file. Default: /etc/gatepost/gatepost.yaml, then ./gatepost.yaml." placeholder:"FILE" type:"path"`
	JSON   bool   `help:"Print JSON for programs." name:"json"`

	Serve      serveCommand      `cmd:"" help:"Run the gateway until SIGTERM. SIGHUP reloads the configuration."`
	Quickstart quickstartCommand `cmd:"" help:"Run a complete gateway on this machine alone, relay a first message each way and show it."`
	Check      checkCommand      `cmd:"" help:"Check the configuration: everything that is wrong, what is dangerous, and what it means with all defaults."`
	Queue      queueCommand      `cmd:"" help:"Look at the queue and act on it."`
	Quarantine quarantineCommand `cmd:"" help:"Look at held mail and decide about it."`
	Trace      traceCommand      `cmd:"" help:"Show the whole life of a message, or find messages of an address."`
	Explain    explainCommand    `cmd:"" help:"Judge a message file as if it came in now, without sending it."`
	Replay     replayCommand     `cmd:"" help:"Let another configuration judge the mail of the last days, and show what would change."`
	DKIM       dkimCommand       `cmd:"" name:"dkim" help:"Make, publish and use DKIM keys."`
	Report     reportCommand     `cmd:"" help:"Read what others report about our domains (DMARC, failure and TLS reports), and report to owners of domains."`
	User       userCommand       `cmd:"" help:"Password hashes for users."`
	Reload     reloadCommand     `cmd:"" help:"Take a changed configuration into use, as SIGHUP does, and say what became of it."`
	Health     healthCommand     `cmd:"" help:"Ask the running gateway whether it is ready; exit status 1 if not."`
	ConfigDoc  configCommand     `cmd:"" name:"config" help:"Generated references."`
	Version    versionCommand    `cmd:"" help:"Print the version."`
}

// app is what a command gets.
type app struct {
	ctx  context.Context
	file string // of --config; empty: look in the usual places
	json bool
	out  io.Writer
	err  io.Writer
}

// exitError ends the program with a status, after the command has said why.
type exitError int

// Error implements error.
func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	var c commands
	parser, err := kong.New(&c, kong.Name("gatepost"), kong.Writers(stdout, stderr), kong.ShortUsageOnError(),
		kong.Description("An SMTP gateway with DKIM, SPF and DMARC.\n\nFirst steps: gatepost quickstart; gatepost check --config gatepost.yaml; gatepost serve."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}))
	if err != nil {
		fmt.Fprintln(stderr, "gatepost:", err)
		return 2
	}
	k, err := parser.Parse(args)
	if err != nil {
		parser.FatalIfErrorf(err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal does not wait for the grace
	err = k.Run(&app{ctx: ctx, file: c.Config, json: c.JSON, out: stdout, err: stderr})
	var status exitError
	switch {
	case errors.As(err, &status):
		return int(status)
	case err != nil:
		fmt.Fprintln(stderr, "gatepost:", err)
		return 1
	}
	return 0
}

// print writes answer as JSON with --json, else by text.
func (a *app) print(answer any, text func(io.Writer)) error {
	if !a.json {
		text(a.out)
		return nil
	}
	if v := reflect.ValueOf(answer); v.Kind() == reflect.Slice && v.IsNil() {
		answer = []struct{}{} // a list of nothing is a list
	}
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	return e.Encode(answer)
}

type versionCommand struct{}

// Help shows an example.
func (versionCommand) Help() string { return "Example: gatepost version" }

// Run prints the version.
func (versionCommand) Run(a *app) error {
	return a.print(map[string]string{"version": version}, func(w io.Writer) { fmt.Fprintln(w, "gatepost", version) })
}
