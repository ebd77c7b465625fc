package delivery

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/gateway/delivery/smtpc"
	"gatepost/mail"
	"gatepost/telemetry"
)

// Deliverer carries messages to their next hops. It may be used by many
// goroutines.
type Deliverer struct {
	options  Options
	hops     map[string]*hop
	mx       *hop
	own      map[netip.Addr]bool
	ownNames map[string]bool
	pool     *pool
	buffers  *smtpc.Buffers
	turn     atomic.Uint32 // of the source addresses
	stop     chan struct{}
	reaper   sync.WaitGroup
}

// New checks the options and makes a Deliverer. All that is wrong is in the
// error, joined: *FieldError where an option is meant. Close it in the end.
func New(o Options) (*Deliverer, error) {
	o.setDefaults()
	problems := o.validate()
	mxTLS, more := compileTLS(o.TLS, o.TLS, "delivery.tls")
	problems = append(problems, more...)
	hops, more := o.compileHops()
	if problems = append(problems, more...); len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	d := &Deliverer{
		options: o, hops: hops,
		mx:       &hop{name: labelMX, tls: mxTLS, ehlo: o.EHLO, maxAge: o.MaxAge},
		own:      map[netip.Addr]bool{},
		ownNames: map[string]bool{},
		pool:     newPool(o.Connections, o.IdleTime, o.Now),
		buffers:  smtpc.NewBuffers(),
		stop:     make(chan struct{}),
	}
	for _, addr := range o.Own {
		d.own[addr.Unmap()] = true
	}
	for _, name := range append(slices.Clone(o.OwnNames), o.Hostname, o.EHLO) {
		d.ownNames[strings.ToLower(name)] = true
	}
	d.reaper.Go(d.reap)
	return d, nil
}

// Close ends the kept connections and waits for that. Deliveries under way go
// on and close their connections themselves.
func (d *Deliverer) Close() {
	close(d.stop)
	d.reaper.Wait()
	d.pool.close()
}

// reap ends connections that were kept long enough.
func (d *Deliverer) reap() {
	ticker := time.NewTicker(max(d.options.IdleTime/4, 10*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-d.stop:
			return
		case <-ticker.C:
			d.pool.expire()
		}
	}
}

// Deliver makes one attempt and gives one result per recipient, in order. It
// has no error: what went wrong stands in the results.
func (d *Deliverer) Deliver(ctx context.Context, job Job) []Result {
	a := newAttempt(d, &job)
	targets, trouble := d.targets(ctx, &job)
	if trouble != nil && ctx.Err() != nil {
		trouble = &failure{cause: causeInterrupted, err: context.Cause(ctx)}
	}
	if trouble != nil {
		d.note(ctx, trouble, nil, job.Message.ID)
		a.settlePending(trouble, nil)
		return a.results
	}
	for _, t := range targets {
		if a.visit(ctx, t) {
			break
		}
	}
	a.settleRest()
	return a.results
}

// note writes to the log what a Status does not tell.
func (d *Deliverer) note(ctx context.Context, f *failure, t *target, id mail.ID) {
	if d.options.Logger == nil || f.err == nil {
		return
	}
	level := slog.LevelDebug
	if f.private() && f.cause != causeInterrupted {
		level = slog.LevelError
	}
	remote := ""
	if t != nil {
		remote = t.remote()
	}
	d.options.Logger.Log(ctx, level, "delivery failed", telemetry.KeyID, id.String(), telemetry.KeyNextHop, remote,
		telemetry.KeyStatus, string(f.cause), telemetry.KeyError, f.err.Error())
}
