package gateway

import (
	"log/slog"
	"strings"
	"time"

	"gatepost/mail"
	"gatepost/queue"
	"gatepost/store"
	"gatepost/telemetry"
	"gatepost/trace"
)

// way hears what becomes of messages in the queue: a line in the mail log
// each, and metrics.
type way struct {
	log     *slog.Logger
	metrics *telemetry.Metrics
}

// Observe implements queue.Observer.
func (w *way) Observe(e queue.Event) {
	w.count(e)
	if e.Kind == trace.KindAccepted {
		w.internal(e)
		return
	}
	attrs := []any{telemetry.KeyID, e.Message.ID.String(), telemetry.KeyFrom, e.Message.Envelope.From.String()}
	if !e.Recipient.IsNull() {
		attrs = append(attrs, telemetry.KeyTo, e.Recipient.String())
	}
	if e.Dest != "" {
		attrs = append(attrs, telemetry.KeyNextHop, e.Dest)
	}
	attrs = append(attrs, statusAttrs(e.Status)...)
	if !e.Next.IsZero() {
		attrs = append(attrs, "attempts", e.Attempts, "next", e.Next.UTC().Format(time.RFC3339))
	}
	if e.Notice != 0 {
		attrs = append(attrs, "notice", e.Notice.String())
	}
	if e.Reason != "" {
		attrs = append(attrs, "reason", e.Reason)
	}
	if e.By != "" {
		attrs = append(attrs, "by", e.By)
	}
	w.log.Info(string(e.Kind), attrs...)
}

// internal logs the acceptance of our own messages; intake tells of all others.
func (w *way) internal(e queue.Event) {
	m := e.Message
	if m.Origin.Role != mail.RoleInternal {
		return
	}
	w.log.Info(string(trace.KindAccepted), telemetry.KeyID, m.ID.String(), telemetry.KeyFrom, m.Envelope.From.String(),
		telemetry.KeyTo, recipientStrings(m.Envelope), "size", m.Content.Size(), "listener", "internal")
}

func statusAttrs(s mail.Status) []any {
	if s.Code == 0 {
		return nil
	}
	attrs := []any{telemetry.KeyStatus, s.String()}
	if s.Remote != "" {
		attrs = append(attrs, "remote", s.Remote)
	}
	if s.TLS != "" {
		attrs = append(attrs, "tls", s.TLS)
	}
	if len(s.Signed) > 0 {
		attrs = append(attrs, "signed", s.Signed)
	}
	if s.Took > 0 {
		attrs = append(attrs, "took", s.Took.Round(time.Millisecond).String())
	}
	return attrs
}

func (w *way) count(e queue.Event) {
	m := w.metrics
	switch e.Kind {
	case trace.KindAccepted:
		if e.Message.Origin.Role == mail.RoleInternal {
			m.Accepted.WithLabelValues("internal", string(mail.RoleInternal)).Inc()
			if e.Message.Envelope.From.IsNull() {
				m.Notices.Inc()
			}
		}
	case trace.KindDelivered:
		w.attempt(e)
		m.Latency.Observe(e.At.Sub(e.Message.Received).Seconds())
		m.Ended.WithLabelValues(string(e.Kind)).Inc()
	case trace.KindDeferred:
		w.attempt(e)
	case trace.KindBounced, trace.KindFailed:
		if e.Status.Took > 0 && e.Status.Outcome() == mail.Failed { // not one that expired
			w.attempt(e)
		}
		m.Ended.WithLabelValues(string(e.Kind)).Inc()
	case trace.KindDeleted, trace.KindConsumed:
		m.Ended.WithLabelValues(string(e.Kind)).Inc()
	}
}

func (w *way) attempt(e queue.Event) {
	outcome := string(e.Status.Outcome())
	w.metrics.Recipients.WithLabelValues(outcome).Inc()
	w.metrics.Delivery.WithLabelValues(outcome).Observe(e.Status.Took.Seconds())
	for _, name := range e.Status.Signed {
		if strings.HasPrefix(name, sealMark) {
			w.metrics.Seals.Inc()
		} else {
			w.metrics.Signatures.Inc()
		}
	}
}

// outbound hears what delivery does on the network.
type outbound struct{ metrics *telemetry.Metrics }

// Connected implements delivery.Observer.
func (o outbound) Connected(_, result, tls string, _ time.Duration) {
	o.metrics.Connections.WithLabelValues(result).Inc()
	if tls != "" {
		o.metrics.TLS.WithLabelValues("out", tlsVersion(tls)).Inc()
	}
}

// Reused implements delivery.Observer.
func (o outbound) Reused(string) { o.metrics.Connections.WithLabelValues("reused").Inc() }

// LostAfterDot implements delivery.Observer.
func (o outbound) LostAfterDot(string) { o.metrics.AfterDot.Inc() }

// names hears what the resolver does.
type names struct{ metrics *telemetry.Metrics }

// Exchanged implements dnsx.Observer.
func (n names) Exchanged(_, _ string, took time.Duration) {
	n.metrics.DNSSeconds.Observe(took.Seconds())
}

// LookedUp implements dnsx.Observer.
func (n names) LookedUp(recordType, outcome string, cached bool) {
	if cached {
		outcome = "cached"
	}
	n.metrics.DNS.WithLabelValues(recordType, outcome).Inc()
}

// observeStore counts commits.
func observeStore(m *telemetry.Metrics) func(store.Commit) {
	return func(c store.Commit) {
		m.StoreSeconds.Observe(c.Took.Seconds())
		if c.Err != nil {
			m.StoreErrors.Inc()
		}
	}
}
