package gateway

import (
	"context"
	"errors"
	"fmt"

	"gatepost/config"
	"gatepost/telemetry"
)

// Reload reads the configuration file again and takes it into use without
// dropping a session. A file that is wrong changes nothing: everything wrong
// with it is logged and returned. What only a restart can change is named.
func (g *Gateway) Reload(ctx context.Context) (restart []string, err error) {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	restart, err = g.reload(ctx)
	result := "ok"
	switch {
	case err != nil:
		result = "failed"
		g.log.Error("configuration not taken into use; the old one stays", "config", g.file, telemetry.KeyError, err.Error())
	case len(restart) > 0:
		g.log.Warn("configuration taken into use, but some of it needs a restart", "config", g.file, "keys", restart)
	default:
		g.log.Info("configuration taken into use", "config", g.file)
	}
	g.metrics.ConfigReloads.WithLabelValues("config", result).Inc()
	return restart, err
}

func (g *Gateway) reload(ctx context.Context) ([]string, error) {
	c, wrong, _, err := CheckFile(ctx, g.file)
	if err != nil {
		return nil, err
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	p, err := newParts(c, g.base)
	if err != nil {
		return nil, err
	}
	// A port that is taken is what can still go wrong after the check; then the
	// certificates go back and nothing has changed.
	if err := g.certificates.Replace(certificateFiles(&c.Config)); err != nil {
		return nil, errors.Join(fmt.Errorf("certificates: %w", err), p.close())
	}
	if err := g.intake.Reload(g.intakeOptions(&c.Config)); err != nil {
		back := g.certificates.Replace(certificateFiles(&g.config.Load().Config))
		return nil, errors.Join(fmt.Errorf("listeners: %w", err), back, p.close())
	}
	if err := g.ring.SetFiles(ctx, keyFiles(&c.Config)); err != nil {
		return nil, errors.Join(fmt.Errorf("DKIM key files (listeners and certificates are new already): %w", err), p.close())
	}
	restart := needRestart(&g.config.Load().Config, &c.Config)
	g.live.replace(p)
	g.config.Store(c)
	g.queue.Reroute()
	return restart, nil
}

// needRestart names what differs and is read only at the start.
func needRestart(before, after *config.Config) []string {
	var out []string
	note := func(key string, changed bool) {
		if changed {
			out = append(out, key)
		}
	}
	note("hostname", before.Hostname != after.Hostname)
	note("data_dir", before.DataDir != after.DataDir)
	note("store.url", before.Store.URL != after.Store.URL)
	note("store.min_free", before.Store.MinFree != after.Store.MinFree)
	note("store.seal_key", before.Store.SealKey != after.Store.SealKey)
	note("log", before.Log != after.Log)
	note("health.address", before.Health != after.Health)
	note("metrics.address", before.Metrics != after.Metrics)
	note("postmaster", before.Postmaster != after.Postmaster)
	note("policy.quarantine.keep", before.Policy.Quarantine.Keep != after.Policy.Quarantine.Keep)
	note("report.max_reports", before.Report.MaxReports != after.Report.MaxReports)
	note("report.max_records", before.Report.MaxRecords != after.Report.MaxRecords)
	b, a := before.Delivery, after.Delivery
	note("delivery.expire", b.Expire != a.Expire)
	note("delivery.warn_after", b.WarnAfter != a.WarnAfter)
	note("delivery.connections", b.Connections != a.Connections)
	same := len(b.Retry) == len(a.Retry)
	for i := 0; same && i < len(b.Retry); i++ {
		same = b.Retry[i] == a.Retry[i]
	}
	note("delivery.retry", !same)
	return out
}
