package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// relayVars are the vars of relayConfig with the embedded store.
func relayVars(s *sink, in string) map[string]string {
	return map[string]string{"in": in, "sink": s.Addr, "store": sqliteStore}
}

// book is a running load on one gateway and what it was promised.
type book struct {
	*ledger
	stop    chan struct{}
	clients sync.WaitGroup
}

// startBook sends numbered messages until finish.
func startBook(address string, clients int) *book {
	b := &book{ledger: &ledger{acked: map[int]bool{}}, stop: make(chan struct{})}
	for range clients {
		b.clients.Go(func() { b.load(address, b.stop) })
	}
	return b
}

// acknowledged is how many messages were acknowledged so far.
func (b *book) acknowledged() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.acked)
}

// goesOn waits until more messages are acknowledged.
func (b *book) goesOn(t *testing.T, what string) {
	t.Helper()
	before := b.acknowledged()
	waitFor(t, 30*time.Second, "mail to be accepted "+what, func() bool { return b.acknowledged() >= before+20 })
}

// finish ends the load and wants every acknowledged message at the sink.
func (b *book) finish(t *testing.T, g *gate, s *sink) {
	t.Helper()
	close(b.stop)
	b.clients.Wait()
	waitEmpty(t, g)
	seen := map[int]int{}
	for _, m := range s.all() {
		seen[sequence(t, m.Data)]++
	}
	lost := 0
	for n := range b.acked {
		if seen[n] == 0 {
			lost++
		}
	}
	t.Logf("%d acknowledged, %d unsure, %d arrived, %d lost", len(b.acked), b.unsure, len(seen), lost)
	if lost > 0 || len(b.acked) == 0 {
		t.Errorf("%d of %d acknowledged messages were lost", lost, len(b.acked))
	}
	checkAccount(t, g)
}

// tried sends one message and gives the code that ended it.
func tried(t *testing.T, address string) (int, string) {
	t.Helper()
	code, text, err := deliver(address, "client.test", "a@sender.test", []string{"b@rcpt.test"}, "X-Seq: 0\r\n"+letter("a@sender.test", "b@rcpt.test", "try", "x"))
	if err != nil && code == 0 {
		t.Errorf("the session broke: %v", err)
	}
	return code, text
}

// isTemporary wants 451, 452 or 421, which tell a client to come again.
func isTemporary(t *testing.T, address string) {
	t.Helper()
	if code, text := tried(t, address); code != 451 && code != 452 && code != 421 {
		t.Errorf("while nothing can be stored a message gets %q", text)
	}
}

// smallDisk mounts a file system of its own under dir.
func smallDisk(t *testing.T, dir, size string) {
	t.Helper()
	asRoot(t, "mounts a small file system")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("SKIPPED: no tmpfs can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

// fill takes disk space until less than rest is left, and gives it back.
func fill(t *testing.T, dir string, rest uint64) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		if st.Bavail*uint64(st.Bsize) < rest {
			break
		}
		n, err := f.Write(block)
		if err != nil && len(block) > 4096 {
			block = block[:4096]
		} else if err != nil && n == 0 {
			break
		}
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDiskFull: below min_free, and without any octet left, clients are told
// to come again, the node is unready, and it recovers by itself.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	for name, rest := range map[string]uint64{"below min_free": 3 << 20, "no space at all": 0} {
		t.Run(name, func(t *testing.T) {
			s, in := startSink(t, nil), freeAddress(t)
			vars := relayVars(s, in)
			if rest > 0 {
				vars["store"] = "{min_free: 4MiB}"
			} else {
				vars["store"] = "{min_free: 1}"
			}
			g := newGate(t, relayConfig, vars)
			disk := filepath.Join(g.dir, "data")
			smallDisk(t, disk, "48m")
			g.start()
			b := startBook(in, 4)
			b.goesOn(t, "before")
			free := fill(t, disk, rest)
			waitFor(t, 20*time.Second, "the node to be unready", func() bool { return g.ready() == http.StatusServiceUnavailable })
			isTemporary(t, in)
			free()
			waitFor(t, 20*time.Second, "the node to be ready again", func() bool { return g.ready() == http.StatusOK })
			b.goesOn(t, "afterwards")
			g.logged(`"level":"ERROR","msg":"not ready`, `"msg":"ready again"`)
			b.finish(t, g, s)
		})
	}
}

// inject lets calls on the files of the store fail until the process is stopped.
func (g *gate) inject(out, calls, how string) *process {
	g.t.Helper()
	db, pid := filepath.Join(g.dir, "data", "gatepost.db"), g.cmd.Process.Pid
	p := startProcess(g.t, nil, tool(g.t, "strace"), "-f", "-qq", "-o", out, "-P", db, "-P", db+"-wal", "-P", db+"-shm",
		"-e", "trace="+calls, "-e", "inject="+calls+":"+how, "-p", strconv.Itoa(pid))
	waitFor(g.t, 20*time.Second, "strace to attach", func() bool {
		select {
		case err := <-p.end:
			p.end <- err
			g.t.Skipf("SKIPPED: strace cannot attach here: %v %s", err, p.log)
		default:
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		return err == nil && !strings.Contains(string(b), "TracerPid:\t0\n")
	})
	return p
}

// TestStoreReadOnly: writes fail for a while as on a file system that went
// read-only. The node is unready meanwhile, nothing that was acknowledged is
// lost, and it recovers by itself.
func TestStoreReadOnly(t *testing.T) {
	t.Parallel()
	s, in := startSink(t, nil), freeAddress(t)
	g := startGate(t, relayConfig, relayVars(s, in))
	b := startBook(in, 4)
	b.goesOn(t, "before")
	faults := g.inject("/dev/null", "pwrite64,write,ftruncate,fsync,fdatasync", "error=EROFS")
	waitFor(t, 20*time.Second, "the node to be unready", func() bool { return g.ready() == http.StatusServiceUnavailable })
	isTemporary(t, in)
	faults.stop()
	waitFor(t, 20*time.Second, "the node to be ready again", func() bool { return g.ready() == http.StatusOK })
	b.goesOn(t, "afterwards")
	b.finish(t, g, s)
	g.logged(`"level":"ERROR","msg":"not ready`, `"msg":"ready again"`)
}

// TestSyncFails: fsync reports I/O errors now and then; strace counts calls
// per thread.
func TestSyncFails(t *testing.T) {
	t.Parallel()
	s, in := startSink(t, nil), freeAddress(t)
	g := startGate(t, relayConfig, relayVars(s, in))
	b := startBook(in, 4)
	b.goesOn(t, "before")
	out := filepath.Join(g.dir, "strace.out")
	faults := g.inject(out, "fsync,fdatasync", "error=EIO:when=3+5")
	injected := func() int {
		text, _ := os.ReadFile(out)
		return strings.Count(string(text), "(INJECTED)")
	}
	waitFor(t, 60*time.Second, "ten injected faults", func() bool { return injected() >= 10 })
	b.goesOn(t, "between faults")
	faults.stop()
	b.goesOn(t, "afterwards")
	t.Logf("%d calls failed", injected())
	b.finish(t, g, s)
}

// TestNextHopDownAndUp: the queue exists for bad days. The node stays ready,
// takes mail, and delivers all of it once the next hop is there, unasked.
func TestNextHopDownAndUp(t *testing.T) {
	t.Parallel()
	address, in := freeAddress(t), freeAddress(t)
	g := startGate(t, relayConfig, relayVars(&sink{Addr: address}, in))
	for i := range 20 {
		if code, text, err := deliver(in, "client.test", "a@sender.test", []string{"b@rcpt.test"}, fmt.Sprintf("X-Seq: %d\r\n", i)+letter("a@sender.test", "b@rcpt.test", "waits", "x")); err != nil || code != 250 {
			t.Fatalf("%q, %v", text, err)
		}
	}
	waitFor(t, 20*time.Second, "attempts that fail", func() bool { return strings.Count(g.log.String(), `"msg":"deferred"`) >= 4 })
	if code := g.ready(); code != http.StatusOK {
		t.Errorf("a dead next hop makes the node %d", code)
	}
	contains(t, g.mustRun("queue", "stats"), "hop:sink", "queued 20")
	s := startSinkAt(t, address, nil)
	waitFor(t, 40*time.Second, "20 messages", func() bool { return len(s.all()) >= 20 })
	waitEmpty(t, g)
	if n := len(s.all()); n != 20 {
		t.Errorf("%d messages arrived, want 20", n)
	}
	checkAccount(t, g)
}

// TestNextHopMisbehaves: it says 421, 451 and nonsense behind the dot; every
// message arrives in the end, once.
func TestNextHopMisbehaves(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	tries := map[int]int{}
	s, in := startSink(t, nil), freeAddress(t)
	s.OnData = func(m *received) error {
		mu.Lock()
		defer mu.Unlock()
		n := sequence(t, m.Data)
		tries[n]++
		switch {
		case tries[n] > 1:
			return nil
		case n%3 == 0:
			return smtpError(421, smtp.EnhancedCode{4, 3, 2}, "shutting down")
		case n%3 == 1:
			return smtpError(451, smtp.EnhancedCode{4, 3, 0}, "try later")
		}
		return smtpError(999, smtp.EnhancedCode{9, 9, 9}, "\xff\xfe nonsense")
	}
	g := startGate(t, relayConfig, relayVars(s, in))
	for i := range 12 {
		if code, text, err := deliver(in, "client.test", "a@sender.test", []string{"b@rcpt.test"}, fmt.Sprintf("X-Seq: %d\r\n", i)+letter("a@sender.test", "b@rcpt.test", "again", "x")); err != nil || code != 250 {
			t.Fatalf("%q, %v", text, err)
		}
	}
	waitFor(t, 60*time.Second, "12 messages", func() bool { return len(s.all()) >= 12 })
	waitEmpty(t, g)
	checkAccount(t, g)
}

// TestDNSDown: a node without DNS stays ready. What cannot be judged is
// deferred, relayed mail goes to next hops, and waits for an MX.
func TestDNSDown(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", func(vars map[string]string) { vars["dns"] = freeAddress(t) })
	reply := send(t, fromStranger, s.mx, 451, "a@reject.test", "bob@example.test", letter("a@reject.test", "bob@example.test", "unjudged", "x"))
	contains(t, reply, "451 4.7.")
	send(t, fromExchange, s.mx, 250, "bob@example.test", "carl@world.test", letter("bob@example.test", "carl@world.test", "relayed without DNS", "x"))
	s.world.wait(t, "relayed without DNS")
	id := queuedID(t, send(t, fromExchange, s.mx, 250, "bob@example.test", "carl@by-mx.test", letter("bob@example.test", "carl@by-mx.test", "by MX", "x")))
	s.traced(id, "deferred", "4.4.3")
	if code := s.ready(); code != http.StatusOK {
		t.Errorf("without DNS the node is %d", code)
	}
	s.mustRun("queue", "delete", id)
}

// TestPostgreSQLGone: the database is stopped under load and started again.
func TestPostgreSQLGone(t *testing.T) {
	t.Parallel()
	script, err := filepath.Abs("scripts/postgres.sh")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(freeAddress(t), ":")
	env := []string{"GATEPOST_POSTGRES_PORT=" + port, "GATEPOST_POSTGRES_DIR=" + filepath.Join(openDir(t), "pg")}
	cluster := func(what string) string {
		t.Helper()
		out, err := output(nil, env, script, what)
		if err != nil {
			t.Fatalf("postgres.sh %s: %v %s", what, err, out)
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		return lines[len(lines)-1]
	}
	url := cluster("start")
	t.Cleanup(func() { cluster("stop") })
	s, in := startSink(t, nil), freeAddress(t)
	vars := relayVars(s, in)
	vars["store"] = `{url: "` + url + `", seal_key: "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}`
	g := startGate(t, relayConfig, vars)
	b := startBook(in, 4)
	b.goesOn(t, "before")
	for range 2 {
		cluster("stop")
		waitFor(t, 20*time.Second, "the node to be unready", func() bool { return g.ready() == http.StatusServiceUnavailable })
		isTemporary(t, in)
		cluster("start")
		waitFor(t, 30*time.Second, "the node to be ready again", func() bool { return g.ready() == http.StatusOK })
		b.goesOn(t, "afterwards")
	}
	g.logged(`"level":"ERROR","msg":"not ready`, `"msg":"ready again"`)
	b.finish(t, g, s)
}
