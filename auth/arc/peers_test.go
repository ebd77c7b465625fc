package arc

import (
	"encoding/base64"
	"encoding/json"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"time"

	"gatepost/auth/peertest"
)

// peers are other programs' verifiers, run once for all messages.
var peers = []peertest.Program{
	{Name: "dkimpy", Run: []string{"/usr/bin/python3", "testdata/peers/dkimpy.py"}, There: []string{"/usr/bin/python3", "-c", "import dkim"}},
	{Name: "Mail::DKIM", Run: []string{"/usr/bin/perl", "testdata/peers/maildkim.pl"}, There: []string{"/usr/bin/perl", "-MMail::DKIM::ARC::Verifier", "-e", "1"}},
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
	r := mathrand.New(mathrand.NewPCG(peertest.Seed(t), 3))
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
	messages, zone := peerMessages(t, peertest.Cases(t))
	in, err := json.Marshal(zone)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		in = base64.StdEncoding.AppendEncode(append(in, '\n'), []byte(m.text))
	}
	for _, p := range peers {
		t.Run(p.Name, func(t *testing.T) { checkVerdicts(t, messages, p.Answers(t, append(in, '\n'), len(messages))) })
	}
}

func checkVerdicts(t *testing.T, messages []peerMessage, lines []string) {
	t.Helper()
	passed := 0
	for i, m := range messages {
		var said []string
		if err := json.Unmarshal([]byte(lines[i]), &said); err != nil || len(said) != 2 {
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
