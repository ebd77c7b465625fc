package gateway

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatepost/auth/arc"
	"gatepost/auth/keyring"
	"gatepost/config"
	"gatepost/gateway/intake"
	"gatepost/mail"
	"gatepost/policy"
	"gatepost/queue"
	"gatepost/telemetry"
	"gatepost/trace"
)

// oneFile is a key ring of one key.
type oneFile []keyring.Key

func (k oneFile) Active(context.Context, mail.Domain) []keyring.Key { return k }

// sealBase has a key of seal.test in a ring of its own.
func sealBase(t *testing.T, log *safeBuffer) base {
	t.Helper()
	n := startNode(t, "keys.test", freeAddress(t))
	defer n.end(t)
	k, err := n.g.ring.Create(t.Context(), domainOf("seal.test"), keyring.Ed25519, "s1", true)
	if err != nil {
		t.Fatal(err)
	}
	return base{keys: oneFile{k}, now: time.Now, log: slog.New(slog.NewTextHandler(log, nil))}
}

// TestWhatIsSealed: what was found out about a message decides.
func TestWhatIsSealed(t *testing.T) {
	log := &safeBuffer{}
	c := &config.Config{}
	if s, err := newSealer(c, base{}); s != nil || err != nil {
		t.Errorf("sealing is on by default: %v, %v", s, err)
	}
	c.Policy.ARC.Seal = config.ARCSeal{Domain: "seal.test", Algorithm: "ed25519"}
	s, err := newSealer(c, sealBase(t, log))
	if err != nil {
		t.Fatal(err)
	}
	for i, test := range []struct {
		name   string
		facts  policy.Facts
		record string // in the place of facts
		chain  string
		cv     string
	}{
		{"judged", policy.Facts{Proved: true}, "", "", "cv=none"},
		{"a chain that failed", policy.Facts{Proved: true, ARC: arc.Result{Value: arc.Fail}}, "", "ARC-Seal: i=1\r\n", "cv=fail"},
		{"DNS gave no answer", policy.Facts{Proved: true, ARC: arc.Result{Value: arc.Fail, Temporary: true}}, "", "ARC-Seal: i=1\r\n", ""},
		{"not judged", policy.Facts{}, "", "", ""},
		{"not read", policy.Facts{Proved: true, Unread: "x"}, "", "", ""},
		{"no record", policy.Facts{}, "{", "", ""},
	} {
		record, err := json.Marshal(intake.Record{Facts: test.facts})
		if err != nil {
			t.Fatal(err)
		}
		if test.record != "" {
			record = []byte(test.record)
		}
		m := &mail.Message{ID: mail.ID(i + 1), Facts: record, Prefix: []byte("Authentication-Results: gate.test; spf=none\r\n"),
			Content: mail.MemoryBody([]byte(test.chain + "From: a@b.test\r\n\r\nx\r\n"))}
		fields, names, err := s.Sign(t.Context(), m, "as-is", m.Open)
		sealed := test.cv != ""
		if err != nil || !strings.Contains(string(fields), test.cv) || (len(fields) > 0) != sealed || (strings.Join(names, " ") == "arc:seal.test/s1") != sealed {
			t.Errorf("%s: %q, %v, %v", test.name, fields, names, err)
		}
	}
	if n := strings.Count(log.String(), "without an ARC seal"); n != 2 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
}

func TestSealsAreCounted(t *testing.T) {
	w := &way{metrics: telemetry.New("x"), log: slog.New(slog.DiscardHandler)}
	w.Observe(queue.Event{Kind: trace.KindDelivered, Message: &mail.Message{}, Status: mail.Status{Signed: []string{"a.test/s1", "arc:a.test/s1", "a.test/s2"}}})
	page := httptest.NewRecorder()
	w.metrics.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{"\ngatepost_dkim_signatures_total 2\n", "\ngatepost_arc_seals_total 1\n"} {
		if !strings.Contains(page.Body.String(), line) {
			t.Errorf("no line %q", line)
		}
	}
}
