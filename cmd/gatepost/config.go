package main

import (
	"gatepost/config"
	"gatepost/telemetry"
)

type configCommand struct {
	Reference configReferenceCommand `cmd:"" help:"Print the reference of the configuration file (docs/config.md)."`
	Metrics   configMetricsCommand   `cmd:"" help:"Print the list of metrics (docs/metrics.md)."`
}

type configReferenceCommand struct{}

// Help shows an example.
func (configReferenceCommand) Help() string {
	return "Example: gatepost config reference > docs/config.md"
}

// Run prints docs/config.md.
func (configReferenceCommand) Run(a *app) error { return config.WriteReference(a.out) }

type configMetricsCommand struct{}

// Help shows an example.
func (configMetricsCommand) Help() string {
	return "Example: gatepost config metrics > docs/metrics.md"
}

// Run prints docs/metrics.md.
func (configMetricsCommand) Run(a *app) error { return telemetry.WriteReference(a.out) }
