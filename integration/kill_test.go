package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// relayConfig is a smarthost for loopback with one next hop.
const relayConfig = `
hostname: relay.example.test
store: {{store}}
log: {level: info, format: json}
relay_clients:
  - {name: local, addresses: [127.0.0.1], send_as: ["@sender.test"]}
limits: {connections_per_client: 500}
listeners:
  - {name: in, address: "{{in}}", role: smarthost, relay_clients: [local], tls: {mode: "off"}}
next_hops:
  - {name: sink, urls: ["smtp://{{sink}}"], tls: {policy: "off"}}
routes:
  - {match: {recipients: ["*"]}, next_hop: sink}
delivery: {retry: [1s, 1s, 2s], warn_after: 0}
`

// kills is how often the kill harness kills the gateway; soak sets more.
func kills() int {
	if n, err := strconv.Atoi(os.Getenv("GATEPOST_KILLS")); err == nil {
		return n
	}
	return 50
}

// ledger keeps what the clients were promised.
type ledger struct {
	mu     sync.Mutex
	next   int
	acked  map[int]bool
	unsure int // connections that ended before the reply to the final dot
}

func (l *ledger) take() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	return l.next
}

// load sends numbered messages until stop is closed; every refused or lost
// one is forgotten, every acknowledged one must arrive.
func (l *ledger) load(address string, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		d, err := dial(address)
		if err != nil {
			time.Sleep(5 * time.Millisecond) // the gateway is down on purpose
			continue
		}
		l.session(d, stop)
		d.conn.Close()
	}
}

func (l *ledger) session(d *dialogue, stop <-chan struct{}) {
	if code, _, err := d.cmd("EHLO client.test"); err != nil || code != 250 {
		return
	}
	for {
		select {
		case <-stop:
			return
		default:
		}
		n := l.take()
		body := fmt.Sprintf("X-Seq: %d\r\n", n) + letter("a@sender.test", "b@rcpt.test", "n", string(bytes.Repeat([]byte("x\r\n"), n%2000)))
		to := []string{"b@rcpt.test"}
		if n%5 == 0 {
			to = append(to, "c@other.test")
		}
		code, _, err := d.transaction("a@sender.test", to, body)
		l.mu.Lock()
		switch {
		case err != nil:
			l.unsure++
		case code == 250:
			l.acked[n] = true
		}
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// TestKilledUnderLoad kills the real binary again and again while mail comes
// in and goes out. No acknowledged message may be missing; the trace must
// account for every recipient.
func TestKilledUnderLoad(t *testing.T) { killUnderLoad(t, sqliteStore, kills()) }

// TestKilledUnderLoadOnPostgreSQL is the same on the other engine; a killed
// node's rows are freed when its lease has run out.
func TestKilledUnderLoadOnPostgreSQL(t *testing.T) {
	killUnderLoad(t, postgresStore(t), max(3, kills()/10))
}

func killUnderLoad(t *testing.T, store string, kills int) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	s := startSink(t, nil)
	in := freeAddress(t)
	g := newGate(t, relayConfig, map[string]string{"in": in, "sink": s.Addr, "store": store})
	book := &ledger{acked: map[int]bool{}}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() { book.load(in, stop) })
	}
	for range kills {
		g.start()
		time.Sleep(time.Duration(20+random.IntN(300)) * time.Millisecond)
		g.kill()
	}
	close(stop)
	clients.Wait()
	g.start()
	waitEmpty(t, g)
	seen := map[int]int{}
	duplicates := 0
	for _, m := range s.all() {
		n := sequence(t, m.Data)
		seen[n]++
		if seen[n] > 1 {
			duplicates++
		}
	}
	missing := 0
	for n := range book.acked {
		if seen[n] == 0 {
			missing++
			t.Errorf("message %d was acknowledged and never arrived", n)
		}
	}
	t.Logf("seed %d: %d kills, %d acknowledged, %d unsure, %d arrived, %d arrived again, %d missing", seed, kills, len(book.acked), book.unsure, len(seen), duplicates, missing)
	if len(book.acked) < kills {
		t.Errorf("only %d messages were acknowledged: the load was too light to prove anything", len(book.acked))
	}
	checkAccount(t, g)
}

func sequence(t testing.TB, data []byte) int {
	t.Helper()
	i := bytes.Index(data, []byte("X-Seq: "))
	if i < 0 {
		t.Fatalf("a message without number arrived:\n%.300s", data)
	}
	line, _, _ := bytes.Cut(data[i+7:], []byte("\r\n"))
	n, err := strconv.Atoi(string(line))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// queueStats is what `gatepost queue stats --json` prints.
type queueStats struct {
	Queued  int64 `json:"queued"`
	Held    int64 `json:"held"`
	Account struct {
		Recipients int64            `json:"recipients"`
		Ends       map[string]int64 `json:"ends"`
		Faults     []string         `json:"faults"`
	} `json:"account"`
}

func stats(t testing.TB, g *gate) queueStats {
	t.Helper()
	var s queueStats
	out := g.mustRun("queue", "stats", "--account", "--json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return s
}

func waitEmpty(t testing.TB, g *gate) {
	t.Helper()
	waitFor(t, 90*time.Second, "the queue to be empty", func() bool {
		s := stats(t, g)
		return s.Queued == 0
	})
}

// checkAccount asserts the accounting invariant of the design on the trace.
func checkAccount(t testing.TB, g *gate) {
	t.Helper()
	s := stats(t, g)
	var ended int64
	for _, n := range s.Account.Ends {
		ended += n
	}
	if len(s.Account.Faults) > 0 {
		t.Errorf("the trace contradicts itself: %v", s.Account.Faults)
	}
	if s.Queued == 0 && s.Held == 0 && ended != s.Account.Recipients {
		t.Errorf("%d recipients were accepted and %d ended: %v", s.Account.Recipients, ended, s.Account.Ends)
	}
}
