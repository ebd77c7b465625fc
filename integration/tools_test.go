package integration

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// toolWait bounds a program that a test runs to its end.
const toolWait = time.Minute

// output runs a program to its end and gives what it printed.
func output(stdin []byte, env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), toolWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Env = bytes.NewReader(stdin), append(os.Environ(), env...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// python runs a script with the interpreter that Debian's modules belong to,
// after it has looked whether they are there.
func python(t testing.TB, modules, script string, stdin []byte, args ...string) string {
	t.Helper()
	const interpreter = "/usr/bin/python3"
	if out, err := output(nil, nil, interpreter, "-c", "import "+modules); err != nil {
		t.Skipf("SKIPPED: %s without %s; 'make deps' installs them: %v %s", interpreter, modules, err, out)
	}
	out, err := output(stdin, []string{"PYTHONIOENCODING=utf-8"}, interpreter, append([]string{"-c", script}, args...)...)
	if err != nil {
		t.Fatalf("python: %v\n%s", err, out)
	}
	return out
}

// asRoot skips a test that needs root, loudly.
func asRoot(t testing.TB, why string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skipf("SKIPPED: needs root: %s", why)
	}
}

// process is a program that runs beside the test.
type process struct {
	t   testing.TB
	cmd *exec.Cmd
	log *lockedBuffer
	end chan error
}

// startProcess starts a program in a process group of its own and ends the
// whole group with the test.
func startProcess(t testing.TB, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...), log: &lockedBuffer{}, end: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = p.log, p.log, append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.end <- p.cmd.Wait() }()
	t.Cleanup(p.stop)
	return p
}

// stop ends the process group.
func (p *process) stop() {
	if p.cmd == nil {
		return
	}
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.end:
	case <-time.After(5 * time.Second):
	}
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	p.cmd = nil
	if p.t.Failed() {
		p.t.Logf("output of the peer:\n%s", tail(p.log.String()))
	}
}

// listening waits until somebody accepts connections at address.
func (p *process) listening(address string) {
	p.t.Helper()
	waitFor(p.t, 20*time.Second, "a peer at "+address, func() bool {
		select {
		case err := <-p.end:
			p.end <- err
			p.t.Fatalf("the peer ended: %v\n%s", err, p.log)
		default:
		}
		d, err := dialTCP(address)
		if err != nil {
			return false
		}
		d.Close()
		return true
	})
}

// writeFile writes a file of the test.
func writeFile(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// contains fails the test for each part that text lacks.
func contains(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is missing in:\n%s", p, tail(text))
		}
	}
}

// lacks fails the test for each part that text contains.
func lacks(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if strings.Contains(text, p) {
			t.Errorf("%q should not be in:\n%s", p, tail(text))
		}
	}
}

// unfolded is a header with its folded lines joined.
func unfolded(message []byte) string {
	header, _, _ := strings.Cut(string(message), "\r\n\r\n")
	return strings.NewReplacer("\r\n\t", " ", "\r\n ", " ").Replace(header)
}
