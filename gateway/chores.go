package gateway

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"gatepost/admin"
	"gatepost/auth/keyring"
	"gatepost/dnsx"
	"gatepost/mail"
	"gatepost/telemetry"
)

// How often the chores are done.
const (
	certificatesEvery = 10 * time.Second
	expireEvery       = time.Hour
	keyCheckEvery     = 5 * time.Minute
	keyCheckWait      = time.Minute
)

// startChores starts what runs beside the mail.
func (g *Gateway) startChores(work *errgroup.Group, ctx context.Context) {
	work.Go(func() error { return g.trace.Run(ctx) })
	work.Go(func() error { return g.tally.Run(ctx) })
	work.Go(func() error { g.certificates.Watch(ctx, certificatesEvery); return nil })
	work.Go(func() error { return g.notices.run(ctx) })
	work.Go(func() error { return every(ctx, expireEvery, g.expireTraces) })
	work.Go(func() error { return every(ctx, expireEvery, g.expireReports) })
	work.Go(func() error { return g.suppress.Run(ctx) })
	work.Go(func() error { return every(ctx, reportEvery, g.reportRound) })
	work.Go(func() error { return g.failures.Run(ctx) })
	work.Go(func() error { return every(ctx, keyCheckEvery, g.checkPendingKeys) })
	work.Go(func() error { return every(ctx, statsEvery, g.countQueue) })
}

// every does chore now and then until ctx ends.
func every(ctx context.Context, wait time.Duration, chore func(context.Context)) error {
	tick := time.NewTicker(wait)
	defer tick.Stop()
	for {
		chore(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// expireTraces forgets what is older than history.keep.
func (g *Gateway) expireTraces(ctx context.Context) {
	before := g.now().Add(-g.config.Load().History.Keep.Std())
	if err := g.trace.Expire(ctx, before); err != nil && ctx.Err() == nil {
		g.log.Warn("old traces were not removed; it is tried again", telemetry.KeyError, err.Error())
	}
}

// expireReports forgets what is older than report.keep.
func (g *Gateway) expireReports(ctx context.Context) {
	before := g.now().Add(-g.config.Load().Report.Keep.Std())
	if err := g.reports.Expire(ctx, before); err != nil && ctx.Err() == nil {
		g.log.Warn("old reports were not removed; it is tried again", telemetry.KeyError, err.Error())
	}
	if err := g.sender.Expire(ctx); err != nil && ctx.Err() == nil {
		g.log.Warn("old figures for DMARC reports were not removed; it is tried again", telemetry.KeyError, err.Error())
	}
}

// checkPendingKeys looks whether new DKIM keys have appeared in DNS.
func (g *Gateway) checkPendingKeys(ctx context.Context) {
	pending := false
	for _, k := range g.ring.List(ctx, mail.Domain{}) {
		pending = pending || k.State == keyring.Pending
	}
	if !pending {
		return
	}
	reports, err := g.checkKeys(ctx, mail.Domain{})
	if err != nil {
		g.log.Warn("DKIM keys were not checked", telemetry.KeyError, err.Error())
		return
	}
	for _, r := range reports {
		if r.Activated {
			g.log.Info("DKIM key found in DNS and active", "key", r.Key.Name())
		}
	}
}

// checkKeys compares keys with what the world sees of them.
func (g *Gateway) checkKeys(ctx context.Context, d mail.Domain) ([]keyring.Report, error) {
	resolver, err := dnsx.New(checkResolverOptions(&g.config.Load().Config))
	if err != nil {
		return nil, fmt.Errorf("resolver for DKIM checks: %w", err)
	}
	defer resolver.Close()
	ctx, cancel := within(ctx, keyCheckWait)
	defer cancel()
	return g.ring.Check(ctx, resolver, d)
}

// startHTTP opens health and metrics where they are configured.
func (g *Gateway) startHTTP(work *errgroup.Group, ctx context.Context) error {
	c := g.config.Load()
	metrics := http.NewServeMux()
	metrics.Handle("GET /metrics", g.metrics.Handler())
	for _, s := range []struct {
		what, address string
		handler       http.Handler
	}{{"health", c.Health.Address, admin.Health(g.Ready)}, {"metrics", c.Metrics.Address, metrics}} {
		if s.address == "" {
			continue
		}
		l, err := net.Listen("tcp", s.address)
		if err != nil {
			return fmt.Errorf("%s.address: %w", s.what, listenError(err))
		}
		work.Go(func() error { return admin.Serve(ctx, l, s.handler, g.log) })
	}
	return nil
}

// statsEvery is how old the queue's numbers in the metrics may be. A scrape
// never waits for the store: counting a large queue takes a while.
const statsEvery = 15 * time.Second

// countQueue keeps the numbers of the queue for the metrics.
func (g *Gateway) countQueue(ctx context.Context) {
	s, err := g.queue.Stats(ctx)
	if err != nil {
		g.counted.Store(nil)
		return
	}
	out := telemetry.QueueStats{Queued: s.Queued, Held: s.Held, Active: int64(s.Running)}
	if !s.Oldest.IsZero() {
		out.Oldest = g.now().Sub(s.Oldest)
	}
	g.counted.Store(&out)
}

// queueStats gives the numbers to a scrape; none while the store is away.
func (g *Gateway) queueStats() (telemetry.QueueStats, bool) {
	if s := g.counted.Load(); s != nil {
		return *s, true
	}
	return telemetry.QueueStats{}, false
}

// certificateExpiry is when the first of our certificates ends.
func (g *Gateway) certificateExpiry() (time.Time, bool) {
	var first time.Time
	for _, leaf := range g.certificates.Leaves() {
		if first.IsZero() || leaf.NotAfter.Before(first) {
			first = leaf.NotAfter
		}
	}
	return first, !first.IsZero()
}
