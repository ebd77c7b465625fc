package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestSystemdUnit holds deploy/gatepost.service against systemd's own tools,
// and its list of system calls against those that the binary makes.
func TestSystemdUnit(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	t.Log("UNVERIFIED: deploy/gatepost.service was checked by systemd-analyze, not started: no systemd runs where these tests run")
	b, err := os.ReadFile("../deploy/gatepost.service")
	if err != nil {
		t.Fatal(err)
	}
	const installed = "/usr/local/bin/gatepost"
	unit := writeFile(t, t.TempDir(), "gatepost.service", strings.ReplaceAll(string(b), installed, binary(t)))
	if out, err := output(nil, nil, analyze, "verify", "--man=no", unit); err != nil || strings.Contains(out, unit) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// 0 is locked up, 100 is wide open; the network and port 25 cost what is left.
	if out, err := output(nil, nil, analyze, "security", "--offline=true", "--threshold=20", unit); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
	stop := regexp.MustCompile(`(?m)^TimeoutStopSec=(\S+)$`).FindStringSubmatch(string(b))
	if stop == nil {
		t.Fatal("the unit has no TimeoutStopSec")
	}
	if d, err := time.ParseDuration(stop[1]); err != nil || d <= 30*time.Second {
		t.Errorf("TimeoutStopSec=%s: must be longer than the default of shutdown_grace, 30s", stop[1])
	}
	t.Run("system calls", func(t *testing.T) { testSystemCalls(t, analyze, string(b)) })
}

const systemdConfig = `
hostname: mx.example.test
store: {min_free: 16MiB}
dns: {servers: [{address: "{{dns}}"}]}
relay_clients: [{name: local, addresses: [127.0.0.1], send_as: ["@example.test"]}]
listeners: [{name: in, address: "{{in}}", role: smarthost, relay_clients: [local]}]
tls: {certificates: [{cert: "{{dir}}/tls.crt", key: "{{dir}}/tls.key"}]}
next_hops: [{name: sink, urls: ["smtp://{{sink}}"], tls: {policy: "off"}}]
routes: [{match: {recipients: ["*"]}, next_hop: sink}]
`

// testSystemCalls records what a gateway asks of the kernel while it relays a
// message, and looks for what the unit does not allow.
func testSystemCalls(t *testing.T, analyze, unit string) {
	strace := tool(t, "strace")
	sink, in := startSink(t, nil), freeAddress(t)
	g := newGate(t, systemdConfig, map[string]string{"in": in, "dns": freeAddress(t), "sink": sink.Addr})
	record := filepath.Join(g.dir, "strace.out")
	g.wrap = []string{strace, "-D", "-f", "-qq", "-s", "0", "-o", record} // -D: signals meet the gateway, not strace
	g.start()
	code, text, err := deliver(in, "client.example.test", "a@example.test", []string{"b@world.test"}, letter("a@example.test", "b@world.test", "traced", "x"))
	if err != nil || code != 250 {
		t.Fatalf("delivery: %d %s %v", code, text, err)
	}
	sink.wait(t, "traced")
	g.stop()

	b, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	allowed, calls := allowedCalls(t, analyze, unit), 0
	for _, m := range regexp.MustCompile(`(?m)^\d+ +([a-z0-9_]+)\(`).FindAllSubmatch(b, -1) {
		name := string(m[1])
		calls++
		if !allowed[name] {
			t.Errorf("the gateway calls %s, which the unit's SystemCallFilter refuses", name)
			allowed[name] = true // said once
		}
	}
	families := regexp.MustCompile(`(?m)^RestrictAddressFamilies=(.*)$`).FindStringSubmatch(unit)
	if families == nil || calls < 1000 {
		t.Fatalf("%d calls recorded, address families %q: too little to judge", calls, families)
	}
	for _, m := range regexp.MustCompile(`socket\((AF_[A-Z0-9]+)`).FindAllSubmatch(b, -1) {
		if !strings.Contains(families[1]+" ", string(m[1])+" ") {
			t.Errorf("the gateway opens a socket of %s, which the unit refuses", m[1])
		}
	}
}

// allowedCalls are the system calls of the unit's SystemCallFilter lines.
func allowedCalls(t *testing.T, analyze, unit string) map[string]bool {
	t.Helper()
	out, err := output(nil, nil, analyze, "syscall-filter")
	if err != nil {
		t.Fatalf("systemd-analyze syscall-filter: %v\n%s", err, out)
	}
	sets, current := map[string][]string{}, ""
	for line := range strings.Lines(out) {
		word := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "@"):
			current = word
		case word != "" && !strings.HasPrefix(word, "#"):
			sets[current] = append(sets[current], word)
		}
	}
	allowed := map[string]bool{}
	var apply func(name string, value bool)
	apply = func(name string, value bool) {
		for _, member := range sets[name] {
			apply(member, value)
		}
		allowed[name] = value
	}
	for _, m := range regexp.MustCompile(`(?m)^SystemCallFilter=(~?)(\S+)$`).FindAllStringSubmatch(unit, -1) {
		apply(m[2], m[1] == "")
	}
	// SQLite gives its files to the owner of the database when it runs as root, as this test may and the service does not.
	allowed["fchown"] = os.Geteuid() == 0
	if len(allowed) < 50 {
		t.Fatalf("only %d system calls understood", len(allowed))
	}
	return allowed
}
