package arc

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// peers are other programs' verifiers, run once for all messages, and the
// command that tells whether they are there.
var peers = []struct {
	name  string
	run   []string
	there []string
}{
	{"dkimpy", []string{"/usr/bin/python3", "testdata/peers/dkimpy.py"}, []string{"/usr/bin/python3", "-c", "import dkim"}},
	{"Mail::DKIM", []string{"/usr/bin/perl", "testdata/peers/maildkim.pl"}, []string{"/usr/bin/perl", "-MMail::DKIM::ARC::Verifier", "-e", "1"}},
}

// peerMessage is a sealed message and what every verifier must say of it.
type peerMessage struct{ text, want string }

// peerMessages seals generated messages: once, twice with a change between,
// spoiled behind the last seal, and behind a chain that failed. The keys are
// RSA, which all programs know.
func peerMessages(t *testing.T, n int) ([]peerMessage, records) {
	zone := records{}
	one, two := newRSAForwarder(t, zone, "one.test"), newRSAForwarder(t, zone, "two.test")
	one.Time, two.Time = time.Now(), time.Now() // dkimpy looks at t=
	r := mathrand.New(mathrand.NewPCG(uint64(number(t, "GATEPOST_SEED", 1)), 3))
	var out []peerMessage
	for len(out) < n {
		message := one.forward(t, oddMessage(r, true), nil)
		want := Pass
		switch r.IntN(5) {
		case 0, 1:
			message = two.forward(t, message, func(m string) string { return changes(r, m) })
		case 2:
			message, want = strings.Replace(message, "anna@", "evil@", 1), Fail
		case 3:
			message, want = two.forward(t, strings.Replace(message, "anna@", "evil@", 1), nil), Fail
		}
		if got := verify(t, zone, message); got.Value != want {
			t.Fatalf("we say %+v, want %s\n%q", got, want, message)
		}
		out = append(out, peerMessage{message, want})
	}
	return out, zone
}

// TestPeers: other programs say of every chain that we made what we say.
// GATEPOST_DIFFERENTIAL sets the number of messages, GATEPOST_SEED the seed.
func TestPeers(t *testing.T) {
	messages, zone := peerMessages(t, number(t, "GATEPOST_DIFFERENTIAL", 400))
	in, err := json.Marshal(zone)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		in = base64.StdEncoding.AppendEncode(append(in, '\n'), []byte(m.text))
	}
	for _, p := range peers {
		t.Run(p.name, func(t *testing.T) {
			if out, err := exec.Command(p.there[0], p.there[1:]...).CombinedOutput(); err != nil {
				t.Skipf("SKIPPED: %s is absent; 'make deps' installs it: %v %s", p.name, err, out)
			}
			cmd := exec.CommandContext(t.Context(), p.run[0], p.run[1:]...)
			cmd.Stdin = bytes.NewReader(append(in, '\n'))
			var trouble bytes.Buffer
			cmd.Stderr = &trouble
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%.2000s", err, trouble.String())
			}
			checkVerdicts(t, messages, bytes.Split(bytes.TrimSpace(out), []byte("\n")))
		})
	}
}

func checkVerdicts(t *testing.T, messages []peerMessage, lines [][]byte) {
	t.Helper()
	if len(lines) != len(messages) {
		t.Fatalf("%d verdicts on %d messages", len(lines), len(messages))
	}
	passed := 0
	for i, m := range messages {
		var said []string
		if err := json.Unmarshal(lines[i], &said); err != nil || len(said) != 2 {
			t.Fatalf("%v in %q", err, lines[i])
		}
		if (said[0] == Pass) != (m.want == Pass) {
			t.Errorf("message %d: we say %s, the peer %q\n%.3000q", i, m.want, said, m.text)
		}
		if said[0] == Pass {
			passed++
		}
	}
	t.Logf("%d chains, %d pass", len(messages), passed)
	if passed < len(messages)/3 {
		t.Errorf("only %d pass", passed)
	}
}

// number reads a setting of the test.
func number(t testing.TB, name string, otherwise int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s is no number", name, s)
	}
	return n
}
