// Package integration holds the black-box tests: the real binary with real
// peers, and the rules that the whole tree obeys.
package integration

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// floors is the layer table of docs/design.md: a package imports only from
// floors below its own.
var floors = map[string]int{
	"mail": 0, "telemetry": 0,
	"dnsx": 10, "dnsx/zone": 10, "dnsx/dnstest": 11, "auth/peertest": 11, "store": 10, "store/storetest": 11, "config": 10,
	"auth/canon": 20, "auth/authres": 20, "auth/memo": 20, "trace": 20,
	"auth/spf": 22, "auth/dkim": 22, "auth/sasl": 22, "auth/keyring": 22,
	"auth/arc/arctest": 22, "auth/arc": 24, "auth/dmarc": 24, "auth/signing": 24,
	"state": 30, "policy/route": 28, "policy/tlsrule": 28, "policy": 30,
	"queue/dsn": 38, "queue": 40,
	"gateway/intake/wire": 48, "gateway/intake/wire/wiretest": 49, "gateway/intake": 50,
	"gateway/delivery/smtpc": 46, "gateway/delivery/smtptest": 46, "gateway/delivery/downgrade": 46, "gateway/delivery": 50,
	"report/extract": 57, "report/aggregate": 57, "report/failure": 57, "report/tlsrpt": 57, "report/compose": 58, "report/inbox": 60,
	"report/tally": 58, "report/suppress": 58, "report/outgoing": 60, "report/forensic": 62, "report": 60, "admin": 60,
	"gateway": 70, "gateway/quickstart": 72, "cmd/gatepost": 75, "integration": 80,
}

// forbidden are imports that a floor would allow.
var forbidden = map[string][]string{
	"store":          {"mail"},
	"auth/":          {"gatepost/policy", "gatepost/gateway", "github.com/emersion/go-smtp"},
	"policy":         {"github.com/emersion/go-smtp", "gatepost/queue", "gatepost/gateway", "gatepost/store"},
	"queue":          {"github.com/emersion/go-smtp", "gatepost/gateway", "gatepost/policy"},
	"gateway/intake": {"gatepost/queue", "gatepost/gateway/delivery"},
	"admin":          {"gatepost/gateway"},
	"report":         {"gatepost/gateway", "github.com/emersion/go-smtp"},
}

// configUsers are the only packages that may import config.
var configUsers = map[string]bool{"gateway": true, "cmd/gatepost": true, "integration": true}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "gatepost/...")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for dec := json.NewDecoder(out); ; {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestLayers holds the layer table against what the packages import.
func TestLayers(t *testing.T) {
	all := packages(t)
	if len(all) < 10 {
		t.Fatalf("only %d packages listed", len(all))
	}
	for _, p := range all {
		name := strings.TrimPrefix(p.ImportPath, "gatepost/")
		floor, ok := floors[name]
		if !ok {
			t.Errorf("%s has no floor: add it to the table here and in docs/design.md", name)
			continue
		}
		for _, imported := range p.Imports {
			checkImport(t, name, floor, imported)
		}
	}
}

func checkImport(t *testing.T, name string, floor int, imported string) {
	t.Helper()
	if other, ours := strings.CutPrefix(imported, "gatepost/"); ours {
		if floors[other] >= floor {
			t.Errorf("%s (floor %d) imports %s (floor %d)", name, floor, other, floors[other])
		}
		if other == "config" && !configUsers[name] {
			t.Errorf("%s imports config; only gateway and cmd do", name)
		}
	}
	for prefix, list := range forbidden {
		if name != prefix && !strings.HasPrefix(name, strings.TrimSuffix(prefix, "/")+"/") {
			continue
		}
		for _, f := range list {
			if imported == f || strings.HasPrefix(imported, f+"/") {
				t.Errorf("%s imports %s, which its row of the table forbids", name, imported)
			}
		}
	}
}
