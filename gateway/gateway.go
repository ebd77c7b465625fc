package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"gatepost/admin"
	"gatepost/auth/keyring"
	"gatepost/config"
	"gatepost/gateway/intake"
	"gatepost/mail"
	"gatepost/queue"
	"gatepost/queue/dsn"
	"gatepost/report/forensic"
	"gatepost/report/inbox"
	"gatepost/report/outgoing"
	"gatepost/report/suppress"
	"gatepost/report/tally"
	"gatepost/store"
	"gatepost/telemetry"
	"gatepost/trace"
)

// Options are what the process gives the gateway beside its configuration.
type Options struct {
	// Logger replaces the log that the configuration asks for.
	Logger  *slog.Logger
	Log     io.Writer // where the configured log goes
	Version string
	Now     func() time.Time
}

// Gateway is one node.
type Gateway struct {
	log     *slog.Logger
	writer  *logWriter // nil with a logger of the caller
	metrics *telemetry.Metrics
	now     func() time.Time
	version string
	base    base

	file         string
	config       atomic.Pointer[config.Loaded]
	store        *store.Store
	trace        *trace.Log
	reports      *inbox.Inbox
	tally        *tally.Tally
	suppress     *suppress.List
	sender       *outgoing.Sender
	failures     *forensic.Sender
	running      atomic.Bool
	ring         *keyring.Ring
	live         *live
	queue        *queue.Queue
	certificates *intake.Certificates
	intake       *intake.Intake
	notices      *noticeWriter
	counted      atomic.Pointer[telemetry.QueueStats]
	reloading    sync.Mutex
	stopping     atomic.Bool
	unready      atomic.Bool // what Ready said last, for the log
}

// New opens the store and makes all parts; nothing listens yet.
func New(ctx context.Context, c *config.Loaded, o Options) (*Gateway, error) {
	g := &Gateway{file: c.File, now: o.Now, log: o.Logger, metrics: telemetry.New(o.Version), version: o.Version, live: &live{}}
	if g.now == nil {
		g.now = time.Now
	}
	if g.log == nil {
		g.writer = newLogWriter(o.Log)
		g.log = NewLogger(c.Log, g.writer)
	}
	g.config.Store(c)
	if err := g.open(ctx, c); err != nil {
		return nil, err
	}
	if err := g.assemble(ctx, c); err != nil {
		return nil, errors.Join(err, g.store.Close())
	}
	return g, nil
}

// open opens the store and the key ring.
func (g *Gateway) open(ctx context.Context, c *config.Loaded) error {
	// On PostgreSQL too there are the socket and the spool.
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	s, err := store.Open(ctx, store.Options{
		URL: string(c.Store.URL), Dir: c.DataDir, MinFree: int64(c.Store.MinFree), Logger: g.log, Now: g.now,
		Schemas: []store.Schema{queue.Schema, trace.Schema, keyring.Schema(), inbox.Schema, tally.Schema, suppress.Schema, outgoing.Schema},
		Observe: observeStore(g.metrics),
	})
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	g.store = s
	seal, err := sealKey(&c.Config)
	if err == nil {
		g.ring, err = keyring.New(ctx, keyring.Options{Store: s, SealKey: seal, Files: keyFiles(&c.Config), Now: g.now, Random: rand.Reader, Logger: g.log})
	}
	if err != nil {
		return errors.Join(err, s.Close())
	}
	g.trace = trace.New(s, g.log)
	g.base = base{log: g.log, now: g.now, keys: g.ring, observe: outbound{g.metrics}, names: names{g.metrics}, sealKey: seal, version: g.version}
	return nil
}

func sealKey(c *config.Config) ([]byte, error) {
	if c.Store.SealKey.IsZero() {
		return keyring.SealKeyIn(c.DataDir, rand.Reader)
	}
	return keyring.ParseSealKey(c.Store.SealKey.Reveal())
}

// assemble joins the parts.
func (g *Gateway) assemble(ctx context.Context, c *config.Loaded) error {
	ids, err := mail.NewIDSource(g.now, rand.Reader)
	if err != nil {
		return err
	}
	if g.reports, err = inbox.New(inbox.Options{Store: g.store, IDs: ids, Now: g.now, Logger: g.log, Proven: reportSender,
		Reports: int64(c.Report.MaxReports), Records: int64(c.Report.MaxRecords)}); err != nil {
		return err
	}
	if err := g.countReports(); err != nil {
		return err
	}
	g.base.reports = g.reports
	p, err := newParts(c, g.base)
	if err != nil {
		return err
	}
	g.live.replace(p)
	g.notices = newNoticeWriter(g)
	o := queueOptions(&c.Config)
	o.Store, o.Router, o.Deliverer, o.IDs, o.Logger, o.Now = g.store, g.live, g.live, ids, g.log, g.now
	o.Observer = observers{&way{g.log, g.metrics}, g.notices, g.suppress}
	o.Alone = g.store.Engine() == "sqlite"
	if g.queue, err = queue.New(o); err != nil {
		return errors.Join(err, p.close())
	}
	g.base.identity = ids
	if err := errors.Join(g.sendReports(ids), g.sendFailures(ids)); err != nil {
		return errors.Join(err, p.close())
	}
	if g.certificates, err = intake.LoadCertificates(certificateFiles(&c.Config), g.log); err != nil {
		return errors.Join(err, p.close())
	}
	if g.intake, err = intake.New(g.intakeOptions(&c.Config)); err != nil {
		return errors.Join(err, p.close())
	}
	g.metrics.WatchQueue(g.queueStats)
	g.metrics.WatchCertificates(g.certificateExpiry)
	return nil
}

// sweepSpool removes spool files that a crash left before they were unlinked.
func (g *Gateway) sweepSpool(dir string) {
	old, err := filepath.Glob(filepath.Join(dir, "spool-*"))
	if err != nil {
		return // the pattern is ours
	}
	for _, f := range old {
		if err := os.Remove(f); err != nil {
			g.log.Warn("spool file of an earlier run not removed", telemetry.KeyError, err.Error())
		}
	}
}

// observers tells several.
type observers []queue.Observer

// Observe implements queue.Observer.
func (all observers) Observe(e queue.Event) {
	for _, o := range all {
		o.Observe(e)
	}
}

func (g *Gateway) intakeOptions(c *config.Config) intake.Options {
	o := intakeOptions(c)
	o.Services = intake.Services{
		Acceptor: acceptor{g.queue}, Ready: g.Ready, Policy: g.live, Observer: &door{g.log, g.metrics, g.trace, &counter{g.live, g.tally}, &failing{g.live, g.failures}},
		Authenticator: g.live, Certificates: g.certificates, IDs: g.base.identity, Logger: g.log, Now: g.now,
	}
	return o
}

func queueOptions(c *config.Config) queue.Options {
	d := c.Delivery
	o := queue.Options{
		Retry: durations(d.Retry), Expire: d.Expire.Std(), WarnAfter: d.WarnAfter.Std(), Keep: c.Policy.Quarantine.Keep.Std(),
		Concurrency: d.Connections, Window: d.ConnectionsPerDestination, Recipients: d.RecipientsPerMessage,
		Notices: dsn.Options{Hostname: c.Hostname, Postmaster: addressOf(c.Postmaster)},
	}
	if o.WarnAfter == 0 {
		o.WarnAfter = -1 // 0 in the file: no delay notices
	}
	return o
}

// Ready tells whether mail can be stored. A dead next hop or DNS does not
// make a node unready: the queue exists for bad days.
func (g *Gateway) Ready(ctx context.Context) error {
	if g.stopping.Load() {
		return errors.New("shutting down")
	}
	bounded, cancel := within(ctx, readyWait)
	defer cancel()
	err := g.store.Usable(bounded)
	if ctx.Err() == nil { // else it is the asker who has gone
		g.noteReady(err)
	}
	return err
}

// noteReady logs when the answer changes: once why no mail is taken, and once
// that it is again.
func (g *Gateway) noteReady(err error) {
	switch before := g.unready.Swap(err != nil); {
	case err != nil && !before:
		g.log.Error("not ready: mail is refused for now, for it cannot be stored", telemetry.KeyError, err.Error())
	case err == nil && before:
		g.log.Info("ready again")
	}
}

// Socket is where the gateway with this data directory listens for the
// command line.
func Socket(dataDir string) string { return filepath.Join(dataDir, "gatepost.sock") }

// Run takes mail in and carries it on until ctx ends, then stops within
// shutdown_grace. It may be called once; the store is closed when it returns.
func (g *Gateway) Run(ctx context.Context) error {
	defer g.closeAll()
	g.running.Store(true)
	calm, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var log sync.WaitGroup
	logging, stopLog := context.WithCancel(calm)
	if g.writer != nil {
		log.Go(func() { g.writer.run(logging) })
	}
	defer log.Wait()
	defer stopLog()
	g.sweepSpool(g.config.Load().DataDir)
	err := g.serve(ctx, calm)
	if err != nil {
		g.log.Error("stopped", telemetry.KeyError, err.Error())
	} else {
		g.log.Info("stopped")
	}
	return err
}

// serve starts everything, waits for the end of ctx and stops everything in
// the order that loses nothing.
func (g *Gateway) serve(ctx, calm context.Context) error {
	background, stopBackground := context.WithCancel(calm)
	defer stopBackground()
	work, failed := errgroup.WithContext(background)
	if err := g.startServers(work, failed); err != nil {
		stopBackground()
		return errors.Join(err, work.Wait())
	}
	g.startChores(work, failed)
	delivering, stopDelivery := context.WithCancel(calm)
	defer stopDelivery()
	work.Go(func() error { return g.queue.Run(delivering) })
	if err := g.intake.Start(calm); err != nil {
		stopDelivery()
		stopBackground()
		return errors.Join(listenError(err), work.Wait())
	}
	c := g.config.Load()
	g.log.Info("gatepost runs", "hostname", c.Hostname, "listeners", listenerNames(c), "store", g.store.Engine(), "config", g.file)
	select {
	case <-ctx.Done():
	case <-failed.Done():
	}
	g.stop(calm, stopDelivery)
	stopBackground()
	return work.Wait()
}

// stop is the order of the end: unready, no new mail, running DATA finished,
// deliveries at a safe point.
func (g *Gateway) stop(calm context.Context, stopDelivery func()) {
	g.stopping.Store(true)
	grace, cancel := within(calm, g.config.Load().ShutdownGrace.Std())
	defer cancel()
	g.log.Info("stopping", "grace", g.config.Load().ShutdownGrace.Std().String())
	if err := g.intake.Shutdown(grace); err != nil {
		g.log.Warn("sessions were cut when the grace ended", telemetry.KeyError, err.Error())
	}
	g.queue.Shutdown(grace)
	stopDelivery()
}

// listenError says what to do about an address that cannot be bound.
func listenError(err error) error {
	switch {
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w (ports below 1024 need root or CAP_NET_BIND_SERVICE; deploy/gatepost.service grants it)", err)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w (another program listens there; 'ss -ltnp' names it)", err)
	}
	return fmt.Errorf("listen: %w", err)
}

func listenerNames(c *config.Loaded) []string {
	var out []string
	for _, l := range c.Listeners {
		out = append(out, l.Name+" "+l.Address)
	}
	return out
}

// startServers opens the socket of the command line, health and metrics.
func (g *Gateway) startServers(work *errgroup.Group, ctx context.Context) error {
	path := Socket(g.config.Load().DataDir) // a reload may name another directory, which is not ours
	socket, err := admin.Listen(path)
	if err != nil {
		return err
	}
	work.Go(func() error {
		defer os.Remove(path)
		return admin.Serve(ctx, socket, admin.Handler(g.Functions()), g.log)
	})
	return g.startHTTP(work, ctx)
}

func (g *Gateway) closeAll() {
	if s := g.live.current.Load(); s != nil {
		s.parts.close()
	}
	if err := g.store.Close(); err != nil {
		g.log.Error("close the store", telemetry.KeyError, err.Error())
	}
	if g.writer != nil {
		g.writer.flush()
	}
}
