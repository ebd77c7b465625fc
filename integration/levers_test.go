package integration

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestOverrideForAForwarder: one author by one forwarder, and nobody else.
func TestOverrideForAForwarder(t *testing.T) {
	t.Parallel()
	until := time.Now().AddDate(0, 1, 0).Format(time.DateOnly)
	s := startSite(t, "", func(vars map[string]string) {
		vars["policy"] = fmt.Sprintf(`overrides: [{from: reject.test, forwarder: {client: good.test}, until: %s, note: "the list of ticket 17"},
  {from: quar.test, forwarder: {dkim: good.test}, action: tag, until: 2026-01-01, note: "old"}]`, until)
	})
	reply := send(t, fromWorld, s.mx, 250, "list@good.test", "bob@example.test", letter("a@reject.test", "bob@example.test", "by the list", "text"))
	contains(t, unfolded(s.inside.wait(t, "Subject: by the list").Data), "dmarc=fail", "policy reject, policy_override")
	s.traced(queuedID(t, reply), "by rule override", "client good.test", "policy_override the list of ticket 17")
	send(t, fromStranger, s.mx, 550, "list@good.test", "bob@example.test", letter("a@reject.test", "bob@example.test", "by a stranger", "text"))
	contains(t, s.mustRun("check"), "policy.overrides[1].until", "has expired and is ignored")
}

// TestBehindAnotherFilter: SPF and reverse DNS judge the client that the
// filter recorded, and only what a filter of ours recorded.
func TestBehindAnotherFilter(t *testing.T) {
	t.Parallel()
	const filter = "127.0.0.30"
	s := startSite(t, "", func(vars map[string]string) {
		vars["policy"] = "upstreams: [{addresses: [" + filter + "]}], spf: {fail: reject}"
	})
	recorded := func(client string) string {
		return "Received: from client.good.test (unknown [" + client + "])\r\n\tby filter.example.test (Postfix) with ESMTP id 4X; Sat, 21 Nov 2026 12:00:00 +0000 (UTC)\r\n"
	}
	reply := send(t, filter, s.mx, 250, "a@good.test", "bob@example.test", recorded(fromWorld)+letter("a@good.test", "bob@example.test", "filtered", "text"))
	contains(t, unfolded(s.inside.wait(t, "Subject: filtered").Data), "spf=pass smtp.mailfrom=good.test", "iprev=pass policy.iprev="+fromWorld, "dmarc=pass")
	s.traced(queuedID(t, reply), "client "+fromWorld+", HELO client.good.test, recorded by upstream "+filter)
	send(t, filter, s.mx, 550, "a@good.test", "bob@example.test", recorded("127.0.0.99")+letter("a@good.test", "bob@example.test", "spoofed", "text"))
	send(t, fromStranger, s.mx, 550, "a@good.test", "bob@example.test", recorded(fromWorld)+letter("a@good.test", "bob@example.test", "claimed", "text"))
	send(t, filter, s.mx, 550, "a@good.test", "bob@example.test", letter("a@good.test", "bob@example.test", "unread", "text"))
	send(t, filter, s.mx, 250, "a@plain.test", "bob@example.test", letter("a@plain.test", "bob@example.test", "unread but harmless", "text"))
	contains(t, unfolded(s.inside.wait(t, "Subject: unread but harmless").Data), "spf=none", "there is no Received field of hop 1")
	// What the filter recorded opens no relay.
	send(t, filter, s.mx, 550, "bob@example.test", "carl@world.test", recorded(fromExchange)+letter("bob@example.test", "carl@world.test", "relay", "x"))
}

// TestSpoofedOwnDomain: a From of ours from outside needs a proof, whatever
// our own DMARC record says.
func TestSpoofedOwnDomain(t *testing.T) {
	t.Parallel()
	config := strings.Replace(siteConfig, `{name: all.example.test, next_hop: inside,`, `{name: all.example.test, next_hop: inside, spoofed: quarantine,`, 1)
	s := newSite(t, "", nil)
	s.configure(config, s.vars)
	s.start()
	s.addZone("_dmarc.all.example.test. 60 TXT \"v=DMARC1; p=none\"\n")
	held := send(t, fromStranger, s.mx, 250, "a@plain.test", "bob@example.test", letter("boss@all.example.test", "bob@example.test", "urgent", "text"))
	if e, ok := s.heldList(t)[queuedID(t, held)]; !ok || !strings.Contains(e.Recipients[0].Reason, "spoofed") {
		t.Errorf("not held as spoofed: %+v", e)
	}
	signed := s.signAs(t, "all.example.test", letter("boss@all.example.test", "bob@example.test", "honest", "text"))
	send(t, fromStranger, s.mx, 250, "a@plain.test", "bob@example.test", signed)
	s.inside.wait(t, "Subject: honest")
}

// TestSpoofedInDisguise: ways to write a domain of ours that a reader's program
// may show as ours; none is delivered unjudged.
func TestSpoofedInDisguise(t *testing.T) {
	t.Parallel()
	config := strings.Replace(siteConfig, `{name: all.example.test, next_hop: inside,`, `{name: all.example.test, next_hop: inside, spoofed: reject,`, 1)
	s := newSite(t, "", nil)
	s.configure(config, s.vars)
	s.start()
	for name, from := range map[string]string{
		"as it is": "boss@all.example.test", "capitals": "boss@ALL.Example.TEST", "below it": "boss@mail.all.example.test", "far below it": "boss@a.b.c.d.all.example.test",
		"trailing dot": "boss@all.example.test.", "full-width letter": "boss@\uff41ll.example.test", "ideographic full stop": "boss@all\u3002example\u3002test",
		"soft hyphen": "boss@a\u00adll.example.test", "zero width joiner": "boss@all\u200d.example.test", "capital of another script": "boss@all.ex\u2090mple.test",
		"quoted local part": `"boss"@all.example.test`, "blanks around dots": "boss@all . example . test", "comment in the domain": "boss@all.(x)example.test", "folded domain": "boss@all.example\r\n .test",
		"route": "<@plain.test:boss@all.example.test>", "brackets": "Boss <boss@all.example.test>", "encoded": "=?utf-8?q?boss=40all.example.test?=", "encoded domain": "boss@=?utf-8?q?all.example.test?=",
		"latin-1": "boss@all.ex\xe4mple.test", "percent": "boss%all.example.test@all.example.test", "null sender below": "a@x.all.example.test",
	} {
		t.Run(name, func(t *testing.T) {
			send(t, fromStranger, s.mx, 550, "a@plain.test", "bob@example.test", letter(from, "bob@example.test", "in disguise", "text"))
		})
	}
}

// TestDiscoveryCompared: the tree walk decides, and where the list of public
// suffixes differs the log and the trace say so.
func TestDiscoveryCompared(t *testing.T) {
	t.Parallel()
	zone := "_dmarc.firm.test. TXT \"v=DMARC1; p=reject\"\n_dmarc.apart.firm.test. TXT \"v=DMARC1; p=none; psd=n\"\n"
	s := startSite(t, zone, func(vars map[string]string) { vars["policy"] = "dmarc: {discovery: compare}" })
	data := letter("a@x.apart.firm.test", "bob@example.test", "compared", "text")
	reply := send(t, fromStranger, s.mx, 250, "a@plain.test", "bob@example.test", data)
	s.traced(queuedID(t, reply), "dmarc      fail", "policy none", "by public suffixes it would be fail, policy reject of firm.test")
	s.logged("DMARC discovery differs", `"psl_policy":"reject"`)
}

// replay asks what another policy would have done, and gives the exit status.
func (s *site) replay(t *testing.T, policy string) (string, int) {
	t.Helper()
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(config), "policy: {}", "policy: {"+policy+"}", 1)
	cmd := exec.Command(binary(t), "replay", "--since", "1d", "--config", writeFile(t, t.TempDir(), "new.yaml", changed))
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

// TestReplay: another policy over the mail of the last days, waiting, ended
// and refused.
func TestReplay(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	one := func(code int, client, from string) string {
		t.Helper()
		return send(t, client, s.mx, code, from, "bob@example.test", letter(from, "bob@example.test", from, "text"))
	}
	good := queuedID(t, one(250, fromWorld, "a@good.test"))
	held := queuedID(t, one(250, fromStranger, "a@quar.test"))
	for range 2 {
		one(550, fromStranger, "a@reject.test")
	}
	send(t, fromExchange, s.mx, 250, "bob@example.test", "carl@world.test", letter("bob@example.test", "carl@world.test", "relayed", "text"))
	s.settled()
	s.traced(good, "delivered")
	other := func(policy string) (string, int) { return s.replay(t, policy) }
	waitFor(t, 10*time.Second, "the refusals to be recorded", func() bool {
		out, code := other("")
		return code == 0 && strings.Contains(out, "5 message(s) judged again, 0 would change")
	})
	out, code := other("dmarc: {reject: quarantine, quarantine: tag}")
	if code != 2 {
		t.Errorf("exit status %d", code)
	}
	words := strings.Join(strings.Fields(out), " ")
	contains(t, words, "2 reject.test reject quarantine dmarc", "1 quar.test quarantine tag dmarc "+held, "5 message(s) judged again, 3 would change")
	if out, code = other("mode: monitor"); code != 2 || !strings.Contains(out, "accept (would reject)") {
		t.Errorf("monitor: exit status %d\n%s", code, out)
	}
	if out, code = other("mode: nonsense"); code != 1 {
		t.Errorf("a file that is wrong: exit status %d\n%s", code, out)
	}
	if out, code = other("exempt: [127.0.0.99]"); code != 2 {
		t.Errorf("exempt: exit status %d\n%s", code, out)
	}
	lacks(t, out, "good.test", "example.test")
}

// TestReplayOfOtherProofs: settings that shape the proofs are judged by the
// facts where these tell, are undecided where they do not, and are named.
func TestReplayOfOtherProofs(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	other := letter("a@reject.test", "bob@example.test", "another", "other text") // whose signature does not fit
	broken := strings.TrimSuffix(s.signAs(t, "www.reject.test", other), other)
	data := s.signAs(t, "plain.test", broken+s.signAs(t, "reject.test", letter("a@reject.test", "bob@example.test", "signed twice", "text")))
	id := queuedID(t, send(t, fromStranger, s.mx, 250, "a@plain.test", "bob@example.test", data))
	send(t, fromStranger, s.mx, 550, "a@plain.test", "bob@example.test", letter("a@reject.test", "bob@example.test", "not signed", "text"))
	s.settled()
	waitFor(t, 10*time.Second, "the refusal to be recorded", func() bool {
		out, code := s.replay(t, "")
		return code == 0 && strings.Contains(out, "2 message(s) judged again, 0 would change")
	})
	for _, c := range []struct {
		policy string
		code   int
		told   []string
	}{
		{"dkim: {min_rsa_bits: 2048}", 0, []string{"0 would change", "2 message(s) were judged with policy.dkim.min_rsa_bits: 1024, now 2048"}},
		{"dkim: {max_signatures: 2}", 0, []string{"0 would change", "policy.dkim.max_signatures: 10, now 2"}}, // the author's come first
		{"dkim: {max_signatures: 1}", 2, []string{"1 reject.test accept reject dmarc " + id, "policy.dkim.max_signatures: 10, now 1"}},
		{"dkim: {body_length_tag: accept}", 0, []string{"policy.dkim.body_length_tag: unsafe, now accept"}},
		{"dmarc: {discovery: psl}", 0, []string{"policy.dmarc.discovery: treewalk, now psl"}},
		{"upstreams: [{addresses: [" + fromStranger + "]}]", 2, []string{"1 reject.test accept undecided - " + id, "1 reject.test reject undecided", "policy.upstreams: another list, now this list"}},
	} {
		out, code := s.replay(t, c.policy)
		if code != c.code {
			t.Errorf("%s: exit status %d, want %d", c.policy, code, c.code)
		}
		contains(t, strings.Join(strings.Fields(out), " "), c.told...)
	}
}
