package integration

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestExplain judges files as the gateway would, and sends nothing.
func TestExplain(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	eml := func(author string) string {
		return writeFile(t, s.dir, author+".eml", letter(author, "bob@example.test", "explained", "text"))
	}
	explain := func(ip, from, author string, more ...string) (string, error) {
		return s.run(append([]string{"explain", "--client-ip", ip, "--helo", "client.good.test", "--mail-from", from, eml(author)}, more...)...)
	}
	out, err := explain(fromStranger, "a@reject.test", "a@reject.test")
	if err == nil {
		t.Errorf("mail that is refused: exit status 0\n%s", out)
	}
	contains(t, out, "content    reject by rule dmarc", "550 5.7.1", "reject.test", "rule proofs", "dmarc=fail", "spf=fail smtp.mailfrom=reject.test")
	out, err = explain(fromWorld, "a@good.test", "a@good.test", "--to", "bob@example.test")
	if err != nil {
		t.Errorf("good mail: %v\n%s", err, out)
	}
	contains(t, out, "content    accept", "dmarc=pass", "spf=pass", "RCPT       accept")
	if out, err = explain(fromWorld, "a@good.test", "a@good.test", "--to", "nobody@example.test"); err == nil {
		t.Errorf("an unknown recipient: exit status 0\n%s", out)
	}
	contains(t, out, "5.1.1")
	out, err = explain(fromExchange, "bob@example.test", "bob@example.test", "--to", "carl@world.test")
	if err != nil {
		t.Errorf("a relay client: %v\n%s", err, out)
	}
	contains(t, out, "role       relay exchange", "vouched    for example.test")
	out, err = explain(fromStranger, "a@quar.test", "a@quar.test", "--json")
	if err != nil || !json.Valid([]byte(out)) || !strings.Contains(out, `"quarantine"`) {
		t.Errorf("--json: %v\n%s", err, out)
	}
	if out, err := explain(fromStranger, "<>", "a@none.test"); err != nil || !strings.Contains(out, "smtp.helo=client.good.test") {
		t.Errorf("null sender: %v\n%s", err, out)
	}
	for _, wrong := range [][]string{{"not an address", "a@good.test"}, {fromWorld, "a@b@c"}} {
		if out, err := explain(wrong[0], wrong[1], "a@good.test"); err == nil {
			t.Errorf("explain %v: %s", wrong, out)
		}
	}
	s.settled()
	if n := len(s.inside.all()) + len(s.world.all()) + len(s.heldList(t)); n != 0 {
		t.Errorf("explain sent or held %d messages", n)
	}
}

// TestTrace: where is my message, why was it refused.
func TestTrace(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	s.keys()
	in := queuedID(t, send(t, fromWorld, s.mx, 250, "a@good.test", "bob@example.test", letter("a@good.test", "bob@example.test", "in", "x")))
	s.traced(in, "accepted", "listener mx, role mx, client 127.0.0.20, HELO client.good.test", "from       <a@good.test>", "to         <bob@example.test>",
		"spf        pass (mailfrom good.test)", "dmarc      pass from good.test", "iprev      pass client.good.test", "verdict    accept",
		"delivered", "hop:inside", "250 2.0.0 OK: queued", "127.0.0.1[127.0.0.1]:")
	out := queuedID(t, send(t, fromExchange, s.mx, 250, "bob@example.test", "carl@world.test", letter("bob@example.test", "carl@world.test", "out", "x")))
	s.traced(out, "role relay", "relay client exchange", "vouched for example.test", "hop:world", "signed by example.test/r1, example.test/e1")
	reply := send(t, fromStranger, s.mx, 550, "a@good.test", "nobody@example.test", "")
	refused := strings.Trim(reply[strings.LastIndex(reply, "(")+1:], ")")
	s.traced(refused, "refused", "at rcpt", "550 5.1.1", "client 127.0.0.99", "<a@good.test>", "nobody@example.test", "rule")
	s.shows([]string{"trace", "bob@example.test"}, in, out, "delivered")
	s.shows([]string{"trace", "@good.test", "--since", "1h"}, in, refused, "refused")
	s.shows([]string{"trace", "nobody@example.test"}, refused, "550 5.1.1")
	contains(t, s.mustRun("trace", "elsewhere@example.test"), "nothing found")
	if text, err := s.run("trace", "0zzzzzzzzzz00"); err == nil {
		t.Errorf("an id that nobody gave: %s", text)
	}
	var life struct {
		ID     string
		Events []struct{ Kind string }
	}
	if err := json.Unmarshal([]byte(s.mustRun("trace", in, "--json")), &life); err != nil || life.ID != in || len(life.Events) == 0 || life.Events[0].Kind != "delivered" {
		t.Errorf("--json: %+v, %v", life, err)
	}
}

// TestQueueCommands: look at the queue and act on it.
func TestQueueCommands(t *testing.T) {
	t.Parallel()
	h, end := hopSink(t, "warn_after: 0")
	contains(t, h.mustRun("queue", "list"), "nothing")
	soft := h.send("me@sender.test", []string{"soft@world.test"}, letter("me@sender.test", "soft@world.test", "deferred", "the text"))
	other := h.send("", []string{"soft@elsewhere.test"}, letter("me@sender.test", "soft@elsewhere.test", "other", "x"))
	h.shows([]string{"queue", "list"}, soft, other, "<me@sender.test>", "<soft@world.test>", "hop:peer", "queued", "450 4.2.2 mailbox is full")
	lists := func(want, not string, args ...string) {
		t.Helper()
		out := h.mustRun(append([]string{"queue", "list"}, args...)...)
		contains(t, out, want)
		lacks(t, out, not)
	}
	lists(soft, other, "--from", "me@sender.test")
	lists(other, soft, "--from", "<>")
	lists(soft, other, "--to", "@world.test")
	lists("nothing", soft, "--dest", "hop:back")
	contains(t, h.mustRun("queue", "show", soft, "--content"), "Subject: deferred", "the text", "Received: from client.test")
	contains(t, h.mustRun("queue", "hold", soft), "held: 1 message(s), 1 recipient(s)")
	lists(soft, other, "--state", "held")
	contains(t, h.mustRun("quarantine", "list"), soft)
	contains(t, h.mustRun("queue", "stats"), "queued 1, held 1")
	end.OnRcpt = nil
	h.mustRun("queue", "retry", other)
	m := end.wait(t, "Subject: other")
	if n := len(end.arrivals("Subject: deferred")); m.From != "" || n != 0 {
		t.Errorf("from <%s>; the held message arrived %d times", m.From, n)
	}
	contains(t, h.mustRun("queue", "release", soft), "released: 1 message(s)")
	end.wait(t, "Subject: deferred")
	h.traced(soft, "held", "by root", "released", "delivered")
	h.mustRun("queue", "suspend", "hop:peer")
	waits := h.send("me@sender.test", []string{"carl@world.test"}, letter("me@sender.test", "carl@world.test", "suspended", "x"))
	contains(t, h.mustRun("queue", "stats"), "hop:peer", "suspended", "queued 1")
	contains(t, h.mustRun("trace", waits), "queued")
	h.mustRun("queue", "resume", "hop:peer")
	end.wait(t, "Subject: suspended")
	h.mustRun("queue", "suspend", "hop:peer")
	deleted := h.send("me@sender.test", []string{"carl@world.test"}, letter("me@sender.test", "carl@world.test", "deleted", "x"))
	contains(t, h.mustRun("queue", "delete", "--from", "@sender.test"), "deleted: 1 message(s)")
	h.traced(deleted, "deleted", "by root")
	h.mustRun("queue", "resume", "hop:peer")
	for _, wrong := range [][]string{{"queue", "delete"}, {"queue", "delete", deleted}, {"queue", "show", "xx"}, {"queue", "hold", deleted}, {"queue", "suspend", "world.test"}} {
		if out, err := h.run(wrong...); err == nil {
			t.Errorf("gatepost %v: %s", wrong, out)
		}
	}
	h.settled()
	checkAccount(t, h.gate)
	if n := len(end.arrivals("Subject: deleted")) + len(h.back.all()); n != 0 {
		t.Errorf("a deleted message arrived or its sender was told: %d", n)
	}
}
