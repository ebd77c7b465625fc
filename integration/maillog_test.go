package integration

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// TestMailLog: each thing that happens to a message is one line with its id.
func TestMailLog(t *testing.T) {
	t.Parallel()
	s := startSink(t, nil)
	s.OnRcpt = func(to string) error {
		switch {
		case strings.HasPrefix(to, "later"):
			return smtpError(451, smtp.EnhancedCode{4, 2, 1}, "try later")
		case strings.HasPrefix(to, "never"):
			return smtpError(550, smtp.EnhancedCode{5, 1, 1}, "no such user")
		}
		return nil
	}
	in := freeAddress(t)
	g := startGate(t, relayConfig, map[string]string{"in": in, "sink": s.Addr, "store": sqliteStore})
	send := func(to string) string {
		_, text, err := deliver(in, "c.test", "a@sender.test", []string{to}, letter("a@sender.test", to, "log", "x"))
		if err != nil {
			t.Fatal(err)
		}
		return queuedID(t, text)
	}
	good, later, never := send("good@rcpt.test"), send("later@rcpt.test"), send("never@rcpt.test")
	if _, text, _ := deliver(in, "c.test", "x@elsewhere.test", []string{"good@rcpt.test"}, ""); !strings.HasPrefix(text, "550") {
		t.Fatalf("sender outside send_as: %s", text)
	}
	for _, want := range []struct{ msg, id, key, text string }{
		{"accepted", good, "from", "a@sender.test"},
		{"delivered", good, "status", "250 "},
		{"deferred", later, "status", "451 4.2.1 try later"},
		{"bounced", never, "status", "550 5.1.1 no such user"},
		{"refused", "", "rule", "send-as"},
	} {
		waitFor(t, 20*time.Second, "the line "+want.msg, func() bool { return hasLine(g.log.String(), want.msg, want.id, want.key, want.text) })
	}
	g.mustRun("queue", "hold", later)
	waitFor(t, 20*time.Second, "the line held", func() bool { return hasLine(g.log.String(), "held", later, "by", "") })
	if n := strings.Count(g.log.String(), `"msg":"accepted","id":"`+good); n != 1 {
		t.Errorf("%d lines say that %s was accepted", n, good)
	}
}

// hasLine looks for a line of the JSON log.
func hasLine(log, msg, id, key, text string) bool {
	for line := range strings.Lines(log) {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) != nil || fields["msg"] != msg || id != "" && fields["id"] != id {
			continue
		}
		value, ok := fields[key].(string)
		if ok && strings.Contains(value, text) {
			return true
		}
	}
	return false
}
