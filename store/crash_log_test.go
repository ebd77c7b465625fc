package store_test

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// sysCall is one line of the recorded log: a system call that concerns the
// disk, or a write to standard output.
type sysCall struct {
	name   string
	fd     string // the path behind the descriptor
	args   []string
	begun  bool // the first half of a call that others interrupt
	ended  bool
	failed bool
}

// record runs the child under strace and gives the log's path.
func record(t *testing.T, dir, synchronous string, inject ...string) (log string) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIPPED LOUDLY: no strace; without it nothing shows that acknowledged mail survives a power cut")
	}
	log = filepath.Join(t.TempDir(), "strace.log")
	args := append([]string{"-f", "-y", "-xx", "-s", "1000000", "-o", log,
		"-e", "trace=open,openat,pwrite64,write,fsync,fdatasync,ftruncate,unlink,unlinkat"}, inject...)
	cmd := exec.CommandContext(t.Context(), strace, append(args, os.Args[0], "-test.run=^TestCrashChild$", "-test.count=1")...)
	cmd.Env = append(os.Environ(), crashDirEnv+"="+dir, crashSyncEnv+"="+synchronous)
	out, err := cmd.CombinedOutput()
	if err != nil && strings.Contains(string(out), "ptrace") {
		t.Skipf("SKIPPED LOUDLY: strace may not trace here: %s", out)
	}
	if err != nil {
		t.Fatalf("child: %v\n%.2000s", err, out)
	}
	return log
}

// readCalls gives every call of the log, in order, to each.
func readCalls(log string, each func(sysCall) error) error {
	f, err := os.Open(log)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewReaderSize(f, 1<<20)
	begun := map[string]string{} // by process
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		call, ok := parseCall(strings.TrimSpace(line), begun)
		if !ok {
			continue
		}
		if err := each(call); err != nil {
			return err
		}
	}
}

// parseCall reads "PID name(args) = result" and its two halves.
func parseCall(line string, begun map[string]string) (sysCall, bool) {
	pid, text, _ := strings.Cut(line, " ")
	text = strings.TrimSpace(text)
	call := sysCall{begun: true, ended: true}
	if first, unfinished := strings.CutSuffix(text, "<unfinished ...>"); unfinished {
		begun[pid] = strings.TrimSpace(first)
		text, call.ended = begun[pid]+")", false
	} else if _, rest, resumed := strings.Cut(text, " resumed>"); resumed && strings.HasPrefix(text, "<... ") {
		text, call.begun = begun[pid]+strings.TrimSpace(rest), false
		delete(begun, pid)
	}
	name, rest, ok := strings.Cut(text, "(")
	if !ok || strings.ContainsAny(name, "+- <") {
		return call, false
	}
	args, result, _ := cutLast(rest, ")")
	call.name = name
	call.failed = strings.HasPrefix(strings.TrimLeft(result, " ="), "-1")
	call.args = strings.Split(args, ", ")
	if len(call.args) > 0 {
		if _, path, ok := strings.Cut(call.args[0], "<"); ok {
			call.fd = unhexString(strings.TrimSuffix(path, ">"))
		}
	}
	return call, true
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// octets decodes "\x61\x62", with or without its quotes.
func octets(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Trim(s, `"`), `\x`, ""))
	if err != nil {
		return []byte(s)
	}
	return b
}

func unhexString(s string) string { return string(octets(s)) }

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(fmt.Sprintf("strace log: number %q", s))
	}
	return n
}
