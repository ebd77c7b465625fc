package main

import (
	"fmt"
	"io"

	"gatepost/config"
	"gatepost/gateway"
)

type checkCommand struct {
	Quiet bool `help:"Print problems only, not the effective configuration." short:"q"`
}

// Help shows an example.
func (checkCommand) Help() string {
	return "Example: gatepost check --config /etc/gatepost/gatepost.yaml\n\n" +
		"Exit status 1 when the file has errors. Warnings stand on standard error; secrets are printed as [redacted]."
}

// Run checks the configuration.
func (c checkCommand) Run(a *app) error {
	loaded, warnings, err := a.checked()
	if err != nil {
		return err
	}
	warnings = append(warnings, gateway.SealWarnings(a.ctx, loaded)...)
	effective, err := loaded.Effective()
	if err != nil {
		return err
	}
	answer := struct {
		File      string        `json:"file"`
		Warnings  config.Errors `json:"warnings"`
		Effective string        `json:"effective"`
	}{loaded.File, warnings, string(effective)}
	return a.print(answer, func(w io.Writer) {
		if !c.Quiet {
			w.Write(effective)
		}
		for _, x := range warnings {
			fmt.Fprintln(a.err, "warning:", x.Error())
		}
		fmt.Fprintf(a.err, "%s is good: no errors, %d warning(s)\n", loaded.File, len(warnings))
	})
}
