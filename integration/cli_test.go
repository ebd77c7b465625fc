package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// commandsOf lists the commands that a help text names.
func commandsOf(help string) []string {
	_, list, found := strings.Cut(help, "\nCommands:\n")
	if !found {
		return nil
	}
	var out []string
	for _, line := range strings.Split(list, "\n") {
		if !strings.HasPrefix(line, "  ") {
			break
		}
		if strings.HasPrefix(line, "   ") {
			continue // the rest of a description
		}
		name, _, _ := strings.Cut(strings.TrimSpace(line), "  ")
		words := strings.Fields(name)
		for i, w := range words {
			if strings.HasPrefix(w, "<") || strings.HasPrefix(w, "[") {
				words = words[:i]
				break
			}
		}
		out = append(out, words[len(words)-1])
	}
	return out
}

// leaves are all commands that do something, found by their help.
func leaves(t *testing.T, prefix ...string) [][]string {
	t.Helper()
	out, err := output(nil, nil, binary(t), append(append([]string{}, prefix...), "--help")...)
	if err != nil {
		t.Fatalf("gatepost %v --help: %v\n%s", prefix, err, out)
	}
	names := commandsOf(out)
	if len(names) == 0 {
		contains(t, out, "Example", "--config", "--json")
		return [][]string{prefix}
	}
	var all [][]string
	for _, name := range names {
		all = append(all, leaves(t, append(append([]string{}, prefix...), name)...)...)
	}
	return all
}

// TestHelp: every command has a help text with an example.
func TestHelp(t *testing.T) {
	t.Parallel()
	all := leaves(t)
	if len(all) < 30 {
		t.Errorf("only %d commands found: %v", len(all), all)
	}
	for _, wrong := range [][]string{{"nonsense"}, {"queue"}, {"queue", "lst"}, {"check", "--nonsense"}, {"dkim", "create"}, {"trace"}} {
		if out, err := output(nil, nil, binary(t), wrong...); err == nil {
			t.Errorf("gatepost %v ended with 0:\n%s", wrong, out)
		}
	}
}

// TestJSON: what is printed with --json is JSON and nothing else, with mail in
// the queue and keys in the ring. Documents and servers have no JSON form.
func TestJSON(t *testing.T) {
	t.Parallel()
	h, _ := hopSink(t, "warn_after: 0")
	h.mustRun("dkim", "create", "sender.test", "--selector", "s1", "--activate")
	id := h.send("me@sender.test", []string{"soft@world.test"}, letter("me@sender.test", "soft@world.test", "waits", "x"))
	eml := writeFile(t, h.dir, "m.eml", letter("me@sender.test", "x@world.test", "file", "x"))
	pem := writeFile(t, h.dir, "k.pem", h.mustRun("dkim", "export", "sender.test", "s1"))
	arguments := map[string]string{
		"queue show": id, "queue retry": id, "queue hold": id, "queue release": id, "queue suspend": "hop:peer", "queue resume": "hop:peer",
		"quarantine show": id, "quarantine release": id, "trace": id, "explain": "--listener in --client-ip 127.0.0.1 --helo x.test --mail-from me@sender.test " + eml,
		"dkim create": "other.test", "dkim import": "third.test s2 " + pem, "dkim export": "sender.test s1", "dkim dns": "sender.test",
		"dkim activate": "third.test s2", "dkim retire": "third.test s2", "dkim remove": "third.test s2", "dkim sign": eml, "dkim verify": eml,
		"queue delete": id, "quarantine delete": "--all", "queue stats": "--account", "report sources": "sender.test", "report forget": "evil.test",
		"report preview": "sender.test", "report send": "sender.test",
	}
	fails := map[string]bool{"dkim check": true, "dkim verify": true, "quarantine show": true, "quarantine delete": true, "dkim remove": false, "report send": true}
	none := map[string]bool{"report show": true /* there is none to show; TestReportInbox does */, "serve": true, "quickstart": true, "config reference": true, "config metrics": true}
	hold := map[string]bool{"quarantine show": true, "quarantine release": true, "queue release": true}
	for _, leaf := range leaves(t) {
		name := strings.Join(leaf, " ")
		if none[name] {
			continue
		}
		if hold[name] {
			h.run("queue", "hold", id) // it may be held already, or be so behind an attempt
			h.shows([]string{"queue", "list", "--state", "held"}, id)
		}
		if name == "queue delete" || name == "quarantine delete" {
			continue // at the end
		}
		checkJSON(t, h, leaf, arguments[name], fails[name])
	}
	checkJSON(t, h, []string{"queue", "delete"}, id, false)
	checkJSON(t, h, []string{"queue", "list"}, "", false)
	checkJSON(t, h, []string{"trace"}, "nobody@nowhere.test", false)
}

// checkJSON runs one command; mayFail is for those whose status tells what was found.
func checkJSON(t *testing.T, h *hopGate, leaf []string, arguments string, mayFail bool) {
	t.Helper()
	args := append(append([]string{}, leaf...), strings.Fields(arguments)...)
	stdout := filepath.Join(h.dir, "stdout")
	shell := `out=$1; shift; exec "$@" >"$out"`
	all := append([]string{"-c", shell, "sh", stdout, binary(t)}, append(args, "--json", "--config", h.config)...)
	stderr, err := output([]byte("password\n"), nil, "/bin/sh", all...)
	b, readErr := os.ReadFile(stdout)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if err != nil && !mayFail {
		t.Errorf("gatepost %s: %v %s", strings.Join(args, " "), err, stderr)
	}
	if !json.Valid(b) || strings.TrimSpace(string(b)) == "null" {
		t.Errorf("gatepost %s --json printed %.300q, %s", strings.Join(args, " "), b, stderr)
	}
}

// badConfig has one of each mistake that the issue names.
const badConfig = `hostname: mx.example.test
hostnames: typo
store: {url: mysql}
limits: {message_size: lots, connections: many}
tls:
  certificates: [{cert: /nowhere/tls.crt, key: /nowhere/tls.key}]
relay_clients:
  - {name: a, addresses: [192.0.2.0/33], send_as: ["@example.test"]}
  - {name: half1, addresses: [0.0.0.0/1], send_as: ["@example.test"]}
  - {name: half2, addresses: [128.0.0.0/1], send_as: ["@example.test"]}
  - {name: half2, addresses: [10.0.0.1], send_as: ["@example.test"]}
listeners:
  - {name: in, address: "127.0.0.1:2525", role: smarthost, relay_clients: [nobody], tls: {mode: "off"}}
  - {name: open, address: "127.0.0.1:2526", role: smarthost, relay_clients: [half1, half2], tls: {mode: "off"}}
  - {name: clear, address: "127.0.0.1:2527", role: smarthost, tls: {mode: "off"}, auth: {mechanisms: [PLAIN]}}
next_hops:
  - {name: hop, urls: ["http://127.0.0.1:25"]}
domains:
  - {name: example.test, next_hop: missing, recipients: {accept: all}}
routes:
  - {match: {recipients: ["*"]}, next_hop: mx}
  - {match: {recipients: [late.test]}, next_hop: hop}
delivery: {retry: [1 minute], tls: {policy: dane}}
admin: {address: "127.0.0.1:8025"}
`

// TestCheckBad: everything that is wrong at once, each with line, key path and
// what was expected; exit 1; nothing is started.
func TestCheckBad(t *testing.T) {
	t.Parallel()
	file := writeFile(t, t.TempDir(), "gatepost.yaml", badConfig)
	out, err := output(nil, nil, binary(t), "check", "--config", file)
	if err == nil {
		t.Errorf("check ended with 0:\n%s", out)
	}
	contains(t, out,
		file+":2: hostnames: unknown key; did you mean \"hostname\"?",
		":3: store.url: ",
		":4: limits.message_size: ",
		":4: limits.connections: ",
		"tls.certificates[0].cert: ", "/nowhere/tls.crt",
		":8: relay_clients[0].addresses[0]: ", "192.0.2.0/33",
		":11: relay_clients[3].name: ",
		":13: listeners[0].relay_clients[0]: ", "nobody",
		":15: listeners[2].", "TLS",
		":17: next_hops[0].urls[0]: ",
		":19: domains[0].next_hop: ", "missing",
		":22: routes[1]", "never",
		":23: delivery.retry[0]: ",
		":23: delivery.tls.policy: \"dane\" is not supported yet",
		"nothing was started or changed",
	)
	if out, err := output(nil, nil, binary(t), "serve", "--config", file); err == nil || !strings.Contains(out, ":2: hostnames") {
		t.Errorf("serve with a bad file: %v\n%s", err, out)
	}
}

// TestCheckOpenRelay: by the union of ranges, IPv6 and mapped forms too.
func TestCheckOpenRelay(t *testing.T) {
	t.Parallel()
	for _, addresses := range []string{"[0.0.0.0/0]", "[0.0.0.0/1, 128.0.0.0/1]", `["::/0"]`, `["::ffff:0.0.0.0/96"]`, "[0.0.0.0/2, 64.0.0.0/2, 128.0.0.0/2, 192.0.0.0/2]"} {
		file := writeFile(t, t.TempDir(), "gatepost.yaml", `hostname: mx.example.test
relay_clients: [{name: all, addresses: `+addresses+`, send_as: ["@example.test"]}]
listeners: [{name: in, address: "127.0.0.1:2525", role: smarthost, relay_clients: [all], tls: {mode: "off"}}]
`)
		out, err := output(nil, nil, binary(t), "check", "--config", file)
		if err == nil || !strings.Contains(out, "open relay") {
			t.Errorf("%s: %v\n%s", addresses, err, out)
		}
	}
}

// TestCheckGood: the effective configuration without secrets, and warnings.
func TestCheckGood(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", nil)
	out, err := s.run("check")
	if err != nil {
		t.Fatalf("check: %v\n%s", err, out)
	}
	contains(t, out, "hostname: mx.example.test", "authserv_id: example.test", "[redacted]", "is good: no errors", "messages_per_connection: 100")
	lacks(t, out, "$argon2id")
	if err := os.Chmod(filepath.Join(s.dir, "tls.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	contains(t, s.mustRun("check", "--quiet"), "warning: ", "tls.key", "readable by")
	if err := s.gate.rewrite("hostname: mx.example.test", "hostname: nowhere.example.test"); err != nil {
		t.Fatal(err)
	}
	contains(t, s.mustRun("check", "--quiet"), "warning: ", "nowhere.example.test has no A or AAAA record")
}

// rewrite changes a text in the configuration file.
func (g *gate) rewrite(old, replacement string) error {
	b, err := os.ReadFile(g.config)
	if err != nil {
		return err
	}
	if !strings.Contains(string(b), old) {
		g.t.Errorf("%q is not in the configuration", old)
	}
	return os.WriteFile(g.config, []byte(strings.Replace(string(b), old, replacement, 1)), 0o600)
}

// TestUserHash: what it prints is taken by the configuration, and passwords
// are not taken from the command line.
func TestUserHash(t *testing.T) {
	t.Parallel()
	out, err := output([]byte("geheim ü\n"), nil, binary(t), "user", "hash")
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	contains(t, out, "$argon2id$v=19$m=")
	lacks(t, out, "geheim")
	again, err := output([]byte("geheim ü\n"), nil, binary(t), "user", "hash")
	if err != nil || again == out {
		t.Errorf("the same hash twice: no salt; %v", err)
	}
	if out, err := output(nil, nil, binary(t), "user", "hash"); err == nil {
		t.Errorf("an empty password was hashed: %s", out)
	}
}
