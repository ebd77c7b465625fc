package integration

import (
	"context"
	"strings"
	"testing"
	"time"

	"gatepost/auth/arc"
	"gatepost/dnsx"
	"gatepost/mail"
)

// publicZone answers TXT questions from the server of a test.
func publicZone(t *testing.T, server string) *dnsx.Resolver {
	t.Helper()
	r, err := dnsx.New(dnsx.Options{Servers: []dnsx.Server{{Address: server}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// dkimpyChain is what dkimpy says of the chain of a message, with one key
// record for every name.
const dkimpyChain = `
import sys
import dkim
records = dict(line.split("\t", 1) for line in open(sys.argv[2]).read().splitlines())
cv, sets, reason = dkim.arc_verify(open(sys.argv[1], "rb").read(), dnsfunc=lambda name, timeout=5: records[name.decode().rstrip(".")].encode())
print(cv.decode() if cv else "ended", len(sets), reason)
`

// chainOf is the chain of a message by our verifier; dkimpy must say the same.
func (s *site) chainOf(t *testing.T, data []byte) arc.Result {
	t.Helper()
	resolver := publicZone(t, s.vars["dns"])
	r, err := arc.NewVerifier(arc.Options{Resolver: resolver}).Verify(t.Context(), mail.MemoryBody(data))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := output(nil, nil, "/usr/bin/python3", "-c", "import dkim"); err != nil || r.Value == arc.None {
		return r
	}
	records := ""
	for _, set := range r.Sets {
		name := set.Selector + "._domainkey." + set.Sealer.String()
		answer, err := resolver.TXT(context.WithoutCancel(t.Context()), name)
		if err != nil {
			t.Fatal(err)
		}
		records += name + "\t" + answer.Records[0] + "\n"
	}
	dir := t.TempDir()
	out, err := output(nil, nil, "/usr/bin/python3", "-c", dkimpyChain, writeFile(t, dir, "m.eml", string(data)), writeFile(t, dir, "records", records))
	if err != nil || strings.HasPrefix(out, arc.Pass+" ") != (r.Value == arc.Pass) {
		t.Errorf("we say %s (%s), dkimpy %q, %v", r.Value, r.Reason, out, err)
	}
	return r
}

// TestSealing: what a stranger sends leaves with a set that every verifier
// passes, in front of all else; what is relayed is signed instead. A second
// gateway that trusts the first takes a message that it would refuse.
func TestSealing(t *testing.T) {
	t.Parallel()
	first := startSite(t, "", func(vars map[string]string) {
		vars["policy"] = "arc: {seal: {domain: seal.test}}, dmarc: {reject: quarantine}"
	})
	contains(t, first.mustRun("check"), "policy.arc.seal.domain", "has no active rsa-2048 key", "gatepost dkim create seal.test")
	first.keys()
	one := func(from, subject, data string) []byte {
		t.Helper()
		reply := send(t, fromWorld, first.mx, 250, from, "bob@example.test", data)
		m := first.inside.wait(t, "Subject: "+subject+"\r\n")
		first.traced(queuedID(t, reply), "delivered")
		return m.Data
	}
	without := one("a@good.test", "no key", letter("a@good.test", "bob@example.test", "no key", "text"))
	lacks(t, string(without), "ARC-Seal")
	first.logged("handed on without an ARC seal", "seal.test")
	made := first.mustRun("dkim", "create", "seal.test", "--selector", "a1", "--activate")
	lacks(t, made, "nothing will be signed")
	first.addZone(first.mustRun("dkim", "dns", "seal.test"))
	lacks(t, first.mustRun("check"), "policy.arc.seal")

	sealed := one("a@good.test", "sealed", letter("a@good.test", "bob@example.test", "sealed", "text"))
	if !strings.HasPrefix(string(sealed), "ARC-Seal: ") {
		t.Errorf("the set does not stand in front:\n%s", sealed)
	}
	contains(t, unfolded(sealed), "ARC-Authentication-Results: i=1; example.test;", "arc=none", "dmarc=pass header.from=good.test")
	r := first.chainOf(t, sealed)
	if r.Value != arc.Pass || !r.FromSigned || len(r.Sets) != 1 || r.Sets[0].Sealer.String() != "seal.test" || len(r.Sets[0].Findings) < 4 {
		t.Errorf("%+v", r)
	}
	first.traced(queuedID(t, send(t, fromWorld, first.mx, 250, "a@good.test", "bob@example.test", letter("a@good.test", "bob@example.test", "traced", "text"))), "arc:seal.test/a1")

	// Relayed mail and notices of ours are not sealed.
	send(t, fromExchange, first.mx, 250, "bob@example.test", "carl@world.test", letter("bob@example.test", "carl@world.test", "relayed", "text"))
	relayed := first.world.wait(t, "Subject: relayed\r\n").Data
	contains(t, string(relayed), "DKIM-Signature: ")
	lacks(t, string(relayed), "ARC-")
	send(t, fromWorld, first.mx, 250, "a@good.test", "bob@example.test", letter("a@good.test", "bob@example.test", "unsigned", "text"))
	lacks(t, string(first.inside.wait(t, "Subject: unsigned\r\n").Data), "DKIM-Signature")

	// Held mail is sealed when it is released.
	held := queuedID(t, send(t, fromStranger, first.mx, 250, "a@reject.test", "bob@example.test", letter("a@reject.test", "bob@example.test", "held", "text")))
	first.mustRun("quarantine", "release", held)
	if r := first.chainOf(t, first.inside.wait(t, "Subject: held\r\n").Data); r.Value != arc.Pass {
		t.Errorf("released: %+v", r)
	}
	first.secondGate(t, string(sealed))
}

func nextMonth() string { return time.Now().AddDate(0, 1, 0).Format(time.DateOnly) }

// secondGate sends a sealed message on to gateways that refuse it, but for the
// chain.
func (s *site) secondGate(t *testing.T, sealed string) {
	t.Helper()
	record := s.mustRun("dkim", "dns", "seal.test")
	for policy, code := range map[string]int{"": 550, "arc: {trusted_sealers: [seal.test], seal: {domain: second.test}}": 250,
		`overrides: [{from: good.test, forwarder: {arc: seal.test}, until: ` + nextMonth() + `, note: "the first gate"}]`: 250,
		`overrides: [{from: good.test, forwarder: {arc: other.test}, until: ` + nextMonth() + `, note: "another"}]`:       550,
	} {
		second := startSite(t, record, func(vars map[string]string) { vars["policy"] = policy })
		if strings.Contains(policy, "second.test") {
			second.mustRun("dkim", "create", "second.test", "--selector", "b1", "--activate")
			second.addZone(second.mustRun("dkim", "dns", "second.test"))
		}
		send(t, fromStranger, second.mx, code, "list@plain.test", "bob@example.test", sealed)
		if code == 550 {
			continue
		}
		got := second.inside.wait(t, "Subject: sealed\r\n").Data
		contains(t, unfolded(got), "arc=pass", "dmarc=fail")
		if !strings.Contains(policy, "second.test") {
			if strings.Count(string(got), "ARC-Seal: ") != 1 {
				t.Errorf("%s: sealed without being asked to", policy)
			}
			continue
		}
		if r := second.chainOf(t, got); r.Value != arc.Pass || len(r.Sets) != 2 || r.Sets[1].Sealer.String() != "second.test" {
			t.Errorf("two gateways: %+v", r)
		}
		second.reloadsUnsealed(t)
	}
}

// reloadsUnsealed switches sealing off while the gateway runs.
func (s *site) reloadsUnsealed(t *testing.T) {
	t.Helper()
	if err := s.rewrite("seal: {domain: second.test}", `seal: {domain: ""}`); err != nil {
		t.Fatal(err)
	}
	s.mustRun("reload")
	send(t, fromWorld, s.mx, 250, "a@good.test", "bob@example.test", letter("a@good.test", "bob@example.test", "switched off", "text"))
	lacks(t, string(s.inside.wait(t, "Subject: switched off\r\n").Data), "ARC-Seal")
}
