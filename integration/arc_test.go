package integration

import (
	"strings"
	"testing"

	"gatepost/auth/arc/arctest"
)

// sealed is message with a set of each of sealers.
func sealed(t *testing.T, message string, sealers ...arctest.Sealer) string {
	t.Helper()
	for _, one := range sealers {
		var err error
		if message, err = one.Seal(message); err != nil {
			t.Fatal(err)
		}
	}
	return message
}

// TestForwardedMail: a forwarder changed the message and sends it from an
// address that SPF does not allow. It is taken where the forwarder is trusted
// and its chain holds.
func TestForwardedMail(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", func(vars map[string]string) { vars["policy"] = "arc: {trusted_sealers: [list.test, second.test]}" })
	saw := func(domain, results string) arctest.Sealer {
		return arctest.Sealer{Domain: domain, Results: "mx." + domain + "; " + results}
	}
	const passed = "dmarc=pass (p=reject) header.from=reject.test"
	for _, domain := range []string{"list.test", "second.test", "evil.test"} {
		s.addZone(saw(domain, "").Name() + ". 60 TXT \"" + saw(domain, "").Record() + "\"\n")
	}
	signed := s.signAs(t, "reject.test", letter("a@reject.test", "bob@example.test", "before", "text"))
	seal := func(subject string, sealers ...arctest.Sealer) string {
		// What the author signed is broken: the list writes its name into Subject.
		return sealed(t, strings.Replace(signed, "Subject: before", "Subject: "+subject, 1), sealers...)
	}
	for _, c := range []struct {
		name, data string
		code       int
		reason     string // in the trace
	}{
		{"trusted", seal("trusted", saw("list.test", passed)), 250, "list.test, trusted sealer of ARC set 1"},
		{"trusted twice", seal("trusted twice", saw("list.test", passed), saw("second.test", "arc=pass; dmarc=fail header.from=reject.test")), 250, ""},
		{"untrusted", seal("untrusted", saw("evil.test", passed)), 550, "arc        pass 1=evil.test"},
		{"untrusted last", seal("untrusted last", saw("list.test", passed), saw("evil.test", "none")), 550, "2=evil.test"},
		{"broken", strings.Replace(seal("broken", saw("list.test", passed)), "Subject: broken", "Subject: spoiled", 1), 550, "arc        fail"},
		{"forged", strings.Replace(seal("forged", saw("list.test", "dmarc=fail header.from=reject.test")), "dmarc=fail", "dmarc=pass", 1), 550, "the seal of set 1 did not verify"},
		{"another author", seal("another", saw("list.test", "dmarc=pass header.from=other.test")), 550, ""},
		{"not sealed", letter("a@reject.test", "bob@example.test", "not sealed", "text"), 550, "arc        none"},
	} {
		reply := send(t, fromStranger, s.mx, c.code, "bounces@list.test", "bob@example.test", c.data)
		if c.code == 550 {
			s.checkRefusal(t, reply, "reject.test")
			words := strings.Fields(reply)
			s.traced(strings.Trim(words[len(words)-1], "()[]."), c.reason)
			continue
		}
		m := s.inside.wait(t, "Subject: "+c.name+"\r\n")
		contains(t, unfolded(m.Data), "arc=pass header.oldest-pass=0", `dmarc=fail reason="policy reject, trusted_forwarder" header.from=reject.test policy.dmarc=none`, "dkim=fail")
		s.traced(queuedID(t, reply), "arc        pass 1=list.test", "applied none trusted_forwarder list.test", "delivered")
		path := writeFile(t, t.TempDir(), "message.eml", c.data)
		s.shows([]string{"explain", "--client-ip", fromStranger, "--helo", "x.test", "--mail-from", "bounces@list.test", "--to", "bob@example.test", path}, c.reason, "rule arc")
	}
}
