package gateway

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatepost/config"
	"gatepost/mail"
	"gatepost/store"
	"gatepost/trace"
)

// offline makes a gateway that is not run, with a clock that the test moves.
func offline(t *testing.T, extra string, now func() time.Time) *Gateway {
	t.Helper()
	return offlineText(t, relayText+extra, now)
}

func offlineText(t *testing.T, text string, now func() time.Time) *Gateway {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "gatepost.yaml")
	writeFile(t, file, fmt.Sprintf(text, "node.test", filepath.Join(dir, "data"), freeAddress(t), "127.0.0.1:9"))
	c, wrong, _, err := CheckFile(t.Context(), file)
	if err != nil || len(wrong) > 0 {
		t.Fatal(err, wrong)
	}
	g, err := New(t.Context(), c, Options{Log: &safeBuffer{}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// Traces go when history.keep is over, and not before.
func TestTracesExpire(t *testing.T) {
	now := time.Now()
	g := offline(t, "history: {keep: 2d}\n", func() time.Time { return now })
	id := g.base.identity.Next()
	record := trace.Record{ID: id, At: now, Events: []trace.Event{{At: now, Kind: trace.KindDelivered}}}
	if _, err := g.store.Submit(t.Context(), record.Statement()); err != nil {
		t.Fatal(err)
	}
	now = now.Add(47 * time.Hour)
	g.expireTraces(t.Context())
	if _, err := g.trace.Life(t.Context(), id); err != nil {
		t.Errorf("after 47 hours: %v", err)
	}
	now = now.Add(2 * time.Hour)
	g.expireTraces(t.Context())
	if _, err := g.trace.Life(t.Context(), id); !errors.Is(err, trace.ErrUnknown) {
		t.Errorf("after 49 hours: %v", err)
	}
}

// Nodes that share the seal key draw pct alike; nobody else can tell the draw.
func TestSampleKeyComesFromTheSealKey(t *testing.T) {
	a, b := sampleKey([]byte("one")), sampleKey([]byte("two"))
	if bytes.Equal(a, b) || !bytes.Equal(a, sampleKey([]byte("one"))) {
		t.Error("the key does not follow the seal key")
	}
}

func TestNoDelayNoticesByZero(t *testing.T) {
	c := config.Config{Hostname: "a.test", Postmaster: "p@a.test"}
	if o := queueOptions(&c); o.WarnAfter >= 0 {
		t.Errorf("warn_after: 0 gives %v, which means the default", o.WarnAfter)
	}
}

// A disk with less than min_free makes the node unready, in words that help.
func TestReadyAsksTheStore(t *testing.T) {
	if err := offline(t, "", time.Now).Ready(t.Context()); err != nil {
		t.Errorf("ready: %v", err)
	}
	full := offlineText(t, strings.Replace(relayText, "min_free: 1MiB", "min_free: 1000000GiB", 1), time.Now)
	if err := full.Ready(t.Context()); !errors.Is(err, store.ErrFull) {
		t.Errorf("with less than min_free: %v", err)
	}
}

// A reload shows clients the certificates of the new file.
func TestReloadTakesOtherCertificates(t *testing.T) {
	n := startNode(t, "node.test", "127.0.0.1:9")
	defer n.end(t)
	text, err := os.ReadFile(n.file)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(n.file)
	for _, name := range []string{"first.test", "second.test"} {
		writeCertificate(t, filepath.Join(dir, name), name)
		with := strings.Replace(string(text), `tls: {mode: "off"}`, "tls: {mode: implicit}", 1) +
			fmt.Sprintf("tls: {certificates: [{cert: %[1]s, key: %[1]s}]}\n", filepath.Join(dir, name))
		writeFile(t, n.file, with)
		if _, err := n.g.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		c, err := tls.Dial("tcp", n.listen, &tls.Config{InsecureSkipVerify: true}) // made below
		if err != nil {
			t.Fatal(err)
		}
		if got := c.ConnectionState().PeerCertificates[0].DNSNames[0]; got != name {
			t.Errorf("certificate of %s, want %s", got, name)
		}
		c.Close()
	}
}

// A held message is told of once, however many recipients it has.
func TestHeldMailIsToldOf(t *testing.T) {
	now := time.Now()
	g := offline(t, "policy: {quarantine: {notify: [sec@a.test]}}\n", func() time.Time { return now })
	text := "From: x@b.test\r\n\r\nx\r\n"
	m := &mail.Message{ID: g.base.identity.Next(), Received: now, Content: mail.MemoryBody([]byte(text)), Origin: mail.Origin{Role: mail.RoleMX},
		Envelope: mail.Envelope{Recipients: []mail.Recipient{{Address: addressOf("a@a.test")}, {Address: addressOf("b@a.test")}}}}
	if err := (acceptor{g.queue}).Accept(t.Context(), m, "test"); err != nil {
		t.Fatal(err)
	}
	if n := len(g.notices.held); n != 1 {
		t.Fatalf("%d events wait to be told", n)
	}
	if err := g.notices.send(t.Context(), g.config.Load().Policy.Quarantine.Notify, g.notices.gather(<-g.notices.held)); err != nil {
		t.Fatal(err)
	}
	entries, err := g.queueList(t.Context(), QueueQuestion{To: "sec@a.test", Limit: 10})
	if err != nil || len(entries) != 1 {
		t.Fatalf("notices in the queue: %+v, %v", entries, err)
	}
	content, err := g.content(t.Context(), entries[0].ID)
	if err != nil || !strings.Contains(string(content), m.ID.String()) {
		t.Errorf("the notice does not name the message: %v\n%s", err, content)
	}
}

// writeCertificate writes certificate and key into one file.
func writeCertificate(t *testing.T, file, name string) {
	t.Helper()
	writeFile(t, file, string(certificatePEM(t, &x509.Certificate{DNSNames: []string{name}})))
}

// A message that waits and has failed attempts in the trace is one line of a search.
func TestSearchShowsEachMessageOnce(t *testing.T) {
	now := time.Now()
	g := offline(t, "", func() time.Time { return now })
	to := addressOf("a@a.test")
	m := &mail.Message{ID: g.base.identity.Next(), Received: now, Content: mail.MemoryBody([]byte("From: x@b.test\r\n\r\nx\r\n")),
		Origin: mail.Origin{Role: mail.RoleMX}, Envelope: mail.Envelope{Recipients: []mail.Recipient{{Address: to}}}}
	if err := (acceptor{g.queue}).Accept(t.Context(), m, "test"); err != nil {
		t.Fatal(err)
	}
	record := trace.Record{ID: m.ID, At: now, Events: []trace.Event{{At: now, Kind: trace.KindDeferred, Recipient: to}}}
	if _, err := g.store.Submit(t.Context(), record.Statement()); err != nil {
		t.Fatal(err)
	}
	found, err := g.traceSearch(t.Context(), TraceQuestion{Address: "a@a.test", Since: time.Hour, Limit: 10})
	if err != nil || len(found) != 1 || found[0].Kind != trace.KindHeld {
		t.Errorf("found %+v, %v", found, err)
	}
}

// After a reload that names another data_dir, the end of this gateway leaves
// that directory's socket alone and takes its own away.
func TestEndRemovesOnlyItsOwnSocket(t *testing.T) {
	n := startNode(t, "node.test", "127.0.0.1:9")
	text, err := os.ReadFile(n.file)
	if err != nil {
		t.Fatal(err)
	}
	own, other := n.g.config.Load().DataDir, t.TempDir()
	writeFile(t, Socket(other), "of somebody else")
	writeFile(t, n.file, strings.Replace(string(text), own, other, 1))
	if _, err := n.g.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.end(t)
	if _, err := os.Stat(Socket(other)); err != nil {
		t.Errorf("the other socket: %v", err)
	}
	if _, err := os.Stat(Socket(own)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("our own socket is still there: %v", err)
	}
}
