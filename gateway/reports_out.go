package gateway

import (
	"context"
	"time"

	"gatepost/mail"
	"gatepost/queue"
	"gatepost/report/outgoing"
	"gatepost/report/suppress"
	"gatepost/report/tally"
	"gatepost/store"
)

// reportEvery is how often it is looked which reports are due.
const reportEvery = time.Minute

// countReports makes what outlives a reload of the reports to others: what is
// counted, and who bounced.
func (g *Gateway) countReports() (err error) {
	if g.tally, err = tally.New(tally.Options{Store: g.store, Now: g.now, Logger: g.log, Dropped: g.metrics.ReportDropped.Inc}); err != nil {
		return err
	}
	g.suppress, err = suppress.New(suppress.Options{Store: g.store, Now: g.now, Logger: g.log,
		Pause: func() time.Duration { return g.config.Load().Report.DMARC.Pause.Std() }})
	return err
}

// sendReports makes the sender of reports.
func (g *Gateway) sendReports(ids *mail.IDSource) (err error) {
	g.sender, err = outgoing.New(outgoing.Options{Store: g.store, Tally: g.tally, Suppress: g.suppress, Acceptor: reportDoor{g.queue}, IDs: ids,
		Now: g.now, Logger: g.log, Count: func(result, reason string) { g.metrics.ReportsOut.WithLabelValues(result, reason).Inc() }})
	return err
}

// reportRound sends the reports that are due, by today's settings.
func (g *Gateway) reportRound(ctx context.Context) {
	p, done := g.live.take()
	defer done()
	g.sender.Round(ctx, p.reporting)
}

// reportDoor is the queue's door for reports.
type reportDoor struct{ queue *queue.Queue }

// Accept implements outgoing.Acceptor.
func (d reportDoor) Accept(ctx context.Context, m *mail.Message, with []store.Statement) error {
	return d.queue.Accept(ctx, m, queue.AcceptOptions{With: with})
}
