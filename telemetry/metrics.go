package telemetry

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics holds every metric of one gateway in a registry of its own, so that
// two gateways run in one process.
type Metrics struct {
	registry *prometheus.Registry

	Sessions       *prometheus.GaugeVec   // open sessions, by listener
	SessionsTotal  *prometheus.CounterVec // sessions begun, by listener
	Refused        *prometheus.CounterVec // commands and messages refused, by listener, stage and rule
	Accepted       *prometheus.CounterVec // messages accepted, by listener and role
	AcceptedOctets prometheus.Counter
	TLS            *prometheus.CounterVec // handshakes, by side (in, out) and version or "failed"
	Logins         *prometheus.CounterVec // AUTH, by listener and result
	Proofs         *prometheus.CounterVec // results of spf, dkim, dmarc, iprev
	Discovery      *prometheus.CounterVec // DMARC results that differ between tree walk and public suffixes
	Verdicts       *prometheus.CounterVec // verdicts on judged mail, by action and mode
	Recipients     *prometheus.CounterVec // recipients that reached an outcome of an attempt
	Ended          *prometheus.CounterVec // recipients that ended, by how
	Delivery       *prometheus.HistogramVec
	Latency        prometheus.Histogram
	Connections    *prometheus.CounterVec // outbound connections, by result
	AfterDot       prometheus.Counter     // connections lost between the final dot and its reply
	Signatures     prometheus.Counter     // DKIM signatures made
	Seals          prometheus.Counter     // ARC sets made
	DNS            *prometheus.CounterVec // look-ups, by type and result
	DNSSeconds     prometheus.Histogram
	StoreSeconds   prometheus.Histogram
	StoreErrors    prometheus.Counter
	Notices        prometheus.Counter     // DSNs made
	ReportsOut     *prometheus.CounterVec // DMARC reports to others, by result and reason
	FailureReports *prometheus.CounterVec // DMARC failure reports, by result
	ReportDropped  prometheus.Counter     // messages that DMARC reports will not show
	ConfigReloads  *prometheus.CounterVec // reloads, by what and result
}

// seconds spans one hundred microseconds to two minutes.
var seconds = []float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 5, 10, 30, 60, 120}

// long spans a tenth of a second to five days.
var long = []float64{.1, .5, 1, 5, 30, 60, 300, 900, 3600, 14400, 43200, 86400, 432000}

// New declares all metrics.
func New(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.Sessions = m.gauge("sessions", "SMTP sessions open now.", "listener")
	m.SessionsTotal = m.counter("sessions_total", "SMTP sessions begun.", "listener")
	m.Refused = m.counter("refused_total", "Connections, commands and messages refused.", "listener", "stage", "rule")
	m.Accepted = m.counter("messages_accepted_total", "Messages accepted, that is durable.", "listener", "role")
	m.AcceptedOctets = m.plain("accepted_octets_total", "Octets of accepted messages.")
	m.TLS = m.counter("tls_handshakes_total", "TLS handshakes by side (in, out) and protocol version, or failed.", "side", "version")
	m.Logins = m.counter("logins_total", "AUTH commands by result.", "listener", "result")
	m.Proofs = m.counter("auth_results_total", "Results of SPF, DKIM, ARC, DMARC and iprev on judged mail.", "method", "result")
	m.Discovery = m.counter("dmarc_discovery_differences_total", "Messages whose DMARC result or policy differs between tree walk and public suffixes, by both results (policy.dmarc.discovery: compare).", "treewalk", "psl")
	m.Verdicts = m.counter("verdicts_total", "Verdicts on judged mail by action and mode (enforce, monitor).", "action", "mode")
	m.Recipients = m.counter("attempts_total", "Recipients attempted by outcome (delivered, deferred, failed).", "outcome")
	m.Ended = m.counter("recipients_ended_total", "Recipients that left the queue, by how.", "how")
	m.Delivery = m.histogram("delivery_seconds", "Duration of one delivery attempt.", seconds, "outcome")
	m.Latency = m.single("delivery_latency_seconds", "Time from acceptance to delivery.", long)
	m.Connections = m.counter("outbound_connections_total", "Outbound connections by result.", "result")
	m.AfterDot = m.plain("lost_after_dot_total", "Connections lost between the final dot and its reply: possible duplicates.")
	m.Signatures = m.plain("dkim_signatures_total", "DKIM signatures on delivered mail.")
	m.Seals = m.plain("arc_seals_total", "ARC sets on delivered mail.")
	m.DNS = m.counter("dns_lookups_total", "DNS look-ups by type and result (cached, ok, nxdomain, nodata, temporary).", "type", "result")
	m.DNSSeconds = m.single("dns_seconds", "Duration of DNS look-ups that were not answered from the cache.", seconds)
	m.StoreSeconds = m.single("store_commit_seconds", "Time from Submit to durable.", seconds)
	m.StoreErrors = m.plain("store_errors_total", "Submits that the store refused.")
	m.Notices = m.plain("notices_total", "Delivery status notifications made.")
	m.ReportsOut = m.counter("dmarc_reports_total", "DMARC aggregate reports to others by result (sent, skipped, deferred) and the reason of those that were not sent.", "result", "reason")
	m.FailureReports = m.counter("dmarc_failure_reports_total", "DMARC failure reports that were asked for, by result: sent; not sent for repeated, limited, dropped, no_destination, paused or failed.", "result")
	m.ReportDropped = m.plain("dmarc_report_messages_dropped_total", "Judged messages that DMARC reports will not show, for a bound of what is counted was reached.")
	m.ConfigReloads = m.counter("reloads_total", "Reloads of the configuration by result (ok, failed).", "what", "result")
	info := m.gauge("build_info", "Version of this binary; always 1.", "version")
	info.WithLabelValues(version).Set(1)
	return m
}

// QueueStats is a snapshot of the queue for the metrics.
type QueueStats struct {
	Queued, Held, Active int64
	Oldest               time.Duration
}

// WatchQueue declares the gauges of the queue; read is called at each scrape.
func (m *Metrics) WatchQueue(read func() (QueueStats, bool)) {
	m.registry.MustRegister(&queueCollector{read: read,
		depth:  prometheus.NewDesc("gatepost_queue_recipients", "Recipients in the queue by state.", []string{"state"}, nil),
		oldest: prometheus.NewDesc("gatepost_queue_oldest_seconds", "Age of the oldest queued recipient.", nil, nil),
	})
}

// WatchCertificates declares the time at which the first certificate of the
// listeners ends.
func (m *Metrics) WatchCertificates(first func() (time.Time, bool)) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "gatepost", Name: "certificate_expiry_timestamp_seconds",
		Help: "When the first certificate of the listeners ends, in seconds since 1970; 0 without certificates."}, func() float64 {
		t, ok := first()
		if !ok {
			return 0
		}
		return float64(t.Unix())
	}))
}

type queueCollector struct {
	read          func() (QueueStats, bool)
	depth, oldest *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *queueCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.depth; ch <- c.oldest }

// Collect implements prometheus.Collector. A store that cannot be read gives no value, not a zero.
func (c *queueCollector) Collect(ch chan<- prometheus.Metric) {
	s, ok := c.read()
	if !ok {
		return
	}
	for state, n := range map[string]int64{"queued": s.Queued, "held": s.Held, "active": s.Active} {
		ch <- prometheus.MustNewConstMetric(c.depth, prometheus.GaugeValue, float64(n), state)
	}
	ch <- prometheus.MustNewConstMetric(c.oldest, prometheus.GaugeValue, s.Oldest.Seconds())
}

// Handler serves the metrics in the Prometheus text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *Metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "gatepost", Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) plain(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "gatepost", Name: name, Help: help})
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "gatepost", Name: name, Help: help}, labels)
	m.registry.MustRegister(g)
	return g
}

func (m *Metrics) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "gatepost", Name: name, Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(h)
	return h
}

func (m *Metrics) single(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "gatepost", Name: name, Help: help, Buckets: buckets})
	m.registry.MustRegister(h)
	return h
}
