package main

import (
	"log/slog"
	"path/filepath"
	"time"

	"gatepost/gateway/quickstart"
)

type quickstartCommand struct {
	Once       bool   `help:"End after the two messages; exit status 0 only if both arrived and verified."`
	DataDir    string `help:"Directory for everything it writes." default:"data/quickstart" placeholder:"DIR"`
	MX         string `help:"Address of the mx listener." name:"mx" default:"127.0.0.1:2525" placeholder:"HOST:PORT"`
	Submission string `help:"Address of the submission listener." default:"127.0.0.1:2587" placeholder:"HOST:PORT"`
	NextHop    string `help:"Address of the built-in next hop." default:"127.0.0.1:2526" placeholder:"HOST:PORT"`
	DNS        string `help:"Address of the built-in DNS zone." name:"dns" default:"127.0.0.1:2553" placeholder:"HOST:PORT"`
	Health     string `help:"Address of /healthz and /readyz." default:"127.0.0.1:8026" placeholder:"HOST:PORT"`
}

// Help shows an example.
func (quickstartCommand) Help() string {
	return "Example: gatepost quickstart --once\n\nEverything stays on the loopback network of this machine."
}

// quickstartWait is how long a message of the demonstration may take.
const quickstartWait = 30 * time.Second

// Run runs the demonstration.
func (c quickstartCommand) Run(a *app) error {
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return err
	}
	return quickstart.Run(a.ctx, quickstart.Options{
		Dir: dir, MX: c.MX, Submission: c.Submission, NextHop: c.NextHop, DNS: c.DNS, Health: c.Health,
		Once: c.Once, Wait: quickstartWait, Version: version, Out: a.out, Now: time.Now,
		Logger: slog.New(slog.NewTextHandler(a.out, nil)),
	})
}
