package integration

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Bounds of the memory that the process may ever have held, most of it the
// runtime (27 MiB at rest) and the page caches of the embedded store (16 MiB
// for writing): in all less than two of the four messages, and hardly more
// for three at once than for one.
const (
	rssBound    = 98 << 20
	growthBound = 24 << 20
	largeSize   = 49 << 20
)

// peakRSS is the most memory that a process has held.
func peakRSS(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skipf("SKIPPED: no /proc: %v", err)
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// TestLargeMessages: messages of nearly 50 MiB go in by DATA and BDAT, one,
// then three at once; then all go out at once, signed. The process stays small.
func TestLargeMessages(t *testing.T) {
	end := startSink(t, nil)
	h := startHopGate(t, "smtp://"+end.Addr, nil)
	h.mustRun("dkim", "create", "sender.test", "--selector", "r1", "--activate")
	h.mustRun("queue", "suspend", "hop:peer") // so that mail only comes in
	line := strings.Repeat("0123456789abcdef", 4) + "\r\n"
	head := letter("me@sender.test", "carl@world.test", "large", "x")
	body := head + strings.Repeat(line, (largeSize-len(head))/len(line))
	rest := peakRSS(t, h.cmd.Process.Pid)
	h.large(body, false)
	one := peakRSS(t, h.cmd.Process.Pid)
	var clients sync.WaitGroup
	for i := range 3 {
		clients.Go(func() { h.large(body, i > 0) })
	}
	clients.Wait()
	four := peakRSS(t, h.cmd.Process.Pid)
	h.mustRun("queue", "resume", "hop:peer")
	h.settled()
	out := peakRSS(t, h.cmd.Process.Pid)
	t.Logf("peak: %d MiB at rest, %d MiB with a message of 49 MiB taken in, %d MiB with three more at once, %d MiB with all four signed and delivered",
		rest>>20, one>>20, four>>20, out>>20)
	if one-rest > largeSize-(4<<20) || out > rssBound || four-one > growthBound || out-four > growthBound {
		t.Errorf("more than %d MiB in all or %d MiB more than before", rssBound>>20, growthBound>>20)
	}
	if n := len(end.all()); n != 4 {
		t.Errorf("%d messages arrived", n)
	}
	for _, m := range end.all() {
		if !strings.HasSuffix(string(m.Data), body) || !strings.Contains(string(m.Data[:2000]), "DKIM-Signature: ") {
			t.Errorf("%d octets arrived of %d, or no signature:\n%.500s", len(m.Data), len(body), m.Data)
		}
	}
}

// large sends one large message.
func (h *hopGate) large(body string, bdat bool) {
	d, err := dial(h.in)
	if err != nil {
		h.t.Error(err)
		return
	}
	defer d.conn.Close()
	step := func(want int, line string) {
		if code, text, err := d.cmd(line); err != nil || code != want {
			h.t.Errorf("%.60q: %q, %v", line, text, err)
		}
	}
	step(250, "EHLO client.test")
	step(250, "MAIL FROM:<me@sender.test>")
	step(250, "RCPT TO:<carl@world.test>")
	if bdat {
		step(250, fmt.Sprintf("BDAT %d LAST\r\n%s", len(body), strings.TrimSuffix(body, "\r\n")))
		return
	}
	step(354, "DATA")
	step(250, body+".")
}
