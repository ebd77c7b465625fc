package telemetry

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// descPattern reads what prometheus.Desc prints of itself.
var descPattern = regexp.MustCompile(`fqName: "(gatepost_[^"]*)", help: "([^"]*)".*variableLabels: \{([^}]*)\}`)

// WriteReference writes docs/metrics.md: every metric with labels and meaning.
func WriteReference(w io.Writer) error {
	m := New("")
	m.WatchQueue(func() (QueueStats, bool) { return QueueStats{}, false })
	m.WatchCertificates(func() (time.Time, bool) { return time.Time{}, false })
	ch := make(chan *prometheus.Desc, 1024)
	m.registry.Describe(ch)
	close(ch)
	var rows []string
	for d := range ch {
		if f := descPattern.FindStringSubmatch(d.String()); f != nil {
			rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |\n", f[1], f[3], f[2]))
		}
	}
	slices.Sort(rows)
	rows = slices.Compact(rows)
	if _, err := fmt.Fprint(w, "# Metrics\n\nMade from package `telemetry` by `gatepost config metrics`; do not edit. "+
		"Beside these stand the Go and process metrics of the Prometheus library.\n\n| metric | labels | meaning |\n|---|---|---|\n"); err != nil {
		return err
	}
	for _, r := range rows {
		if _, err := io.WriteString(w, r); err != nil {
			return err
		}
	}
	return nil
}
