package integration

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestMetrics sends one message that is delivered, one that is refused and one
// that waits, and looks for each in /metrics.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := startSink(t, nil)
	in, metrics := freeAddress(t), freeAddress(t)
	g := startGate(t, relayConfig+"metrics: {address: \"{{metrics}}\"}\n", map[string]string{"in": in, "sink": s.Addr, "metrics": metrics, "store": sqliteStore})
	if code, text, err := deliver(in, "c.test", "a@sender.test", []string{"b@rcpt.test"}, letter("a@sender.test", "b@rcpt.test", "counted", "x")); code != 250 {
		t.Fatal(code, text, err)
	}
	s.wait(t, "Subject: counted")
	if code, _, _ := deliver(in, "c.test", "a@elsewhere.test", []string{"b@rcpt.test"}, ""); code != 550 {
		t.Fatalf("sender outside send_as: %d", code)
	}
	s.server.Close()
	code, text, err := deliver(in, "c.test", "a@sender.test", []string{"b@rcpt.test"}, letter("a@sender.test", "b@rcpt.test", "waits", "x"))
	if code != 250 {
		t.Fatal(code, text, err)
	}
	for _, want := range []string{
		`gatepost_messages_accepted_total{listener="in",role="relay"} 2`,
		`gatepost_refused_total{listener="in",rule="send-as",stage="mail"} 1`,
		`gatepost_recipients_ended_total{how="delivered"} 1`,
		`gatepost_attempts_total{outcome="deferred"}`,
		`gatepost_delivery_seconds_count{outcome="delivered"} 1`,
		`gatepost_queue_recipients{state="queued"} 1`,
		`gatepost_queue_oldest_seconds`,
		`gatepost_sessions_total{listener="in"} 3`,
		`gatepost_store_commit_seconds_count`,
		`gatepost_outbound_connections_total{result="ok"} 1`,
		`gatepost_build_info{version="`,
	} {
		waitFor(t, 30*time.Second, want, // the queue is counted every 15 s
			func() bool { return strings.Contains(scrape(t, metrics), want) })
	}
	// What waits would keep the shutdown no longer than the grace; it stays in the queue.
	g.mustRun("queue", "delete", "--all")
}

func scrape(t testing.TB, address string) string {
	t.Helper()
	r, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestChunkingOff: a listener that says so neither offers nor takes BDAT.
func TestChunkingOff(t *testing.T) {
	t.Parallel()
	in := freeAddress(t)
	config := strings.Replace(relayConfig, `tls: {mode: "off"}}`, `tls: {mode: "off"}, chunking: false}`, 1)
	startGate(t, config, map[string]string{"in": in, "sink": "127.0.0.1:9", "store": sqliteStore})
	d := mustDial(t, in)
	if text := d.expect(t, 250, "EHLO c.test"); strings.Contains(text, "CHUNKING") {
		t.Errorf("CHUNKING offered:\n%s", text)
	}
	d.expect(t, 250, "MAIL FROM:<a@sender.test>")
	d.expect(t, 250, "RCPT TO:<b@rcpt.test>")
	d.expect(t, 502, "BDAT 0 LAST")
}
