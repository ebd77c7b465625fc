package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"gatepost/gateway"
)

type serveCommand struct{}

// Help shows an example.
func (serveCommand) Help() string {
	return "Example: gatepost serve --config /etc/gatepost/gatepost.yaml\n\n" +
		"The log goes to standard error. SIGTERM ends it within shutdown_grace, SIGHUP reloads the configuration."
}

// Run runs the gateway.
func (serveCommand) Run(a *app) error {
	c, warnings, err := a.checked()
	if err != nil {
		return err
	}
	g, err := gateway.New(a.ctx, c, gateway.Options{Log: a.err, Version: version})
	if err != nil {
		return err
	}
	g.Warn(warnings)
	ctx, stop := context.WithCancel(a.ctx)
	reloads := reloadOnHangup(ctx, g)
	err = g.Run(ctx)
	stop()
	<-reloads
	return err
}

// reloadOnHangup reloads on each SIGHUP until ctx ends; the channel is closed then.
func reloadOnHangup(ctx context.Context, g *gateway.Gateway) <-chan struct{} {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer signal.Stop(hangup)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
				g.Reload(ctx) // logs what became of it
			}
		}
	}()
	return done
}

type reloadCommand struct{}

// Help shows an example.
func (reloadCommand) Help() string { return "Example: gatepost reload" }

// Run reloads the running gateway's configuration.
func (reloadCommand) Run(a *app) error {
	client, err := a.runningClient()
	if err != nil {
		return err
	}
	defer client.Close()
	var answer gateway.ReloadAnswer
	if err := client.Ask(a.ctx, "reload", struct{}{}, &answer); err != nil {
		return err
	}
	return a.print(answer, func(w io.Writer) {
		fmt.Fprintln(w, "configuration taken into use")
		for _, key := range answer.NeedRestart {
			fmt.Fprintf(w, "  %s takes effect after a restart\n", key)
		}
	})
}

type healthCommand struct{}

// Help shows an example.
func (healthCommand) Help() string {
	return "Example: gatepost health && echo ready\n\nMade for the HEALTHCHECK of a container."
}

// Run asks whether the gateway is ready.
func (healthCommand) Run(a *app) error {
	client, err := a.runningClient()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Ask(a.ctx, "ready", struct{}{}, nil); err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	return a.print(map[string]bool{"ready": true}, func(w io.Writer) { fmt.Fprintln(w, "ready") })
}
