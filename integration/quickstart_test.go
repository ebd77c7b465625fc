package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// quickstartArgs put the quickstart on free ports.
func quickstartArgs(t *testing.T, dir string, more ...string) []string {
	return append([]string{"quickstart", "--data-dir", dir, "--mx", freeAddress(t), "--submission", freeAddress(t),
		"--next-hop", freeAddress(t), "--dns", freeAddress(t), "--health", freeAddress(t)}, more...)
}

// TestQuickstartOnce: the first thing that anybody runs relays a message each
// way, shows what arrived, verifies our signatures and ends with 0.
func TestQuickstartOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out, err := output(nil, nil, binary(t), quickstartArgs(t, dir, "--once")...)
	if err != nil {
		t.Fatalf("quickstart --once: %v\n%s", err, out)
	}
	contains(t, out, "Received: from client.world.test", "with ESMTPSA id", "spf=pass", "dkim=pass header.d=world.test", "dmarc=pass",
		"DKIM-Signature: a=rsa-sha256", "DKIM-Signature: a=ed25519-sha256",
		"our signature: dkim=pass header.d=gatepost.test")
	if n := strings.Count(out, "our signature: dkim=pass"); n != 2 {
		t.Errorf("%d signatures verified, want 2", n)
	}
	files, err := filepath.Glob(filepath.Join(dir, "Maildir/new/*"))
	if err != nil || len(files) != 2 {
		t.Errorf("in the Maildir: %v, %v; want two messages", files, err)
	}
}

// TestQuickstartPortTaken: no exit status 0 and a sentence that helps, when it
// cannot do its work.
func TestQuickstartPortTaken(t *testing.T) {
	t.Parallel()
	taken := startSink(t, nil).Addr
	args := quickstartArgs(t, t.TempDir(), "--once")
	args[4] = taken
	out, err := output(nil, nil, binary(t), args...)
	if err == nil {
		t.Fatalf("quickstart on a taken port ended with 0:\n%s", out)
	}
	contains(t, out, taken+" cannot be used", "choose another")
}

// TestQuickstartLines: what the quickstart tells people to type works as it
// stands, until it is interrupted.
func TestQuickstartLines(t *testing.T) {
	t.Parallel()
	swaks := tool(t, "swaks")
	dir := t.TempDir()
	p := startProcess(t, nil, binary(t), quickstartArgs(t, dir)...)
	waitFor(t, 30*time.Second, "the quickstart to say what to type next", func() bool { return strings.Contains(p.log.String(), "Maildir/new") })
	lines := regexp.MustCompile(`(?m)^ +(swaks|/\S*gatepost\S*) (.*)$`).FindAllStringSubmatch(p.log.String(), -1)
	if len(lines) < 4 {
		t.Fatalf("only %d lines to type in:\n%s", len(lines), p.log)
	}
	eml := writeFile(t, dir, "forged.eml", letter("alice@world.test", "bob@gatepost.test", "forged", "not by Alice"))
	for _, l := range lines {
		args := strings.Fields(strings.ReplaceAll(l[2], "FILE.eml", eml))
		name := swaks
		if l[1] != "swaks" {
			name = binary(t)
		}
		out, err := output(nil, nil, name, args...)
		if refuses := args[0] == "explain"; (err != nil) != refuses {
			t.Errorf("%s: %v\n%s", l[0], err, out)
		} else if refuses {
			contains(t, out, "dmarc", "reject")
		}
	}
	waitFor(t, 20*time.Second, "four messages in the Maildir", func() bool {
		files, _ := filepath.Glob(filepath.Join(dir, "Maildir/new/*"))
		return len(files) == 4
	})
	if err := syscall.Kill(p.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-p.end:
		p.end <- err
		if err != nil {
			t.Errorf("after Ctrl-C it ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("Ctrl-C did not end it")
	}
}

// TestQuickstartConfigurationIsGood: the generated file is one to begin with.
func TestQuickstartConfigurationIsGood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, err := output(nil, nil, binary(t), quickstartArgs(t, dir, "--once")...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file := filepath.Join(dir, "gatepost.yaml")
	out, err := output(nil, nil, binary(t), "check", "--config", file)
	if err != nil {
		t.Fatalf("check of the generated file: %v\n%s", err, out)
	}
	contains(t, out, "[redacted]", "is good: no errors")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lacks(t, string(text), "password: ")
}
