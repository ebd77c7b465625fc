package policy

import (
	"fmt"
	"testing"

	"gatepost/auth/dmarc"
	"gatepost/mail"
)

// drawOf is the number of one message, seen by a node with the given key.
func drawOf(t testing.TB, key, text string) int {
	return draw([]byte(key), domain(t, "author.example"), header(t, text))
}

func TestSameMessageSameDraw(t *testing.T) {
	message := "From: a@author.example\r\nMessage-ID: <1@x>\r\nSubject: a\r\n b\r\n"
	first := drawOf(t, "k", message)
	for name, other := range map[string]string{
		"a hop more":       "Received: from x by y\r\n" + message,
		"other order":      "Message-ID: <1@x>\r\nSubject: a\r\n b\r\nFrom: a@author.example\r\n",
		"folded otherwise": "From: a@author.example\r\nMessage-ID:\r\n <1@x>\r\nSubject: a b\r\n",
	} {
		if drawOf(t, "k", other) != first {
			t.Errorf("%s: another draw", name)
		}
	}
	if drawOf(t, "k2", message) == first {
		t.Error("the key does not matter: a sender can compute the draw")
	}
	if drawOf(t, "k", "From: a@author.example\r\nMessage-ID: <2@x>\r\nSubject: a\r\n b\r\n") == first {
		t.Error("another message, the same draw")
	}
}

func TestPctIsTheShareThatGetsThePolicy(t *testing.T) {
	const messages = 4000
	for _, c := range []struct{ pct, local, want int }{{100, 100, 100}, {30, 100, 30}, {100, 25, 25}, {50, 50, 25}, {0, 100, 0}, {100, 0, 0}} {
		o := options(t, &proofs{})
		o.DMARC.EnforcePercent = c.local
		e := engine(t, o)
		full := 0
		for i := range messages {
			draw := drawOf(t, "k", fmt.Sprintf("From: a@author.example\r\nMessage-ID: <%d@x>\r\n", i))
			d := e.disposition(Facts{Draw: draw, DMARC: dmarc.Result{Value: "fail", Policy: "reject", Pct: c.pct}})
			switch {
			case d.Applied == "reject":
				full++
			case d.Applied != "quarantine" || d.Override != "sampled_out":
				t.Fatalf("unsampled reject became %+v", d)
			}
		}
		if got := full * 100 / messages; got < c.want-3 || got > c.want+3 {
			t.Errorf("pct=%d and enforce_percent %d: %d%% got the full policy, want %d%%", c.pct, c.local, got, c.want)
		}
	}
}

func TestEveryTryAndNodeAnswersAlike(t *testing.T) {
	p := &proofs{spf: spfResult(t, "fail", "author.example"), dmarc: dmarc.Result{Policy: "reject", Pct: 50}}
	for i := range 50 {
		h := header(t, fmt.Sprintf("From: a@author.example\r\nMessage-ID: <%d@x>\r\n", i))
		seen := map[Action]bool{}
		for node := range 2 {
			s := stranger()
			s.ID = mail.ID(100*i + node + 1)
			if node == 1 {
				s.Addr = s.Addr.Next()
			}
			_, v, _ := engine(t, options(t, p)).Content(t.Context(), s, mail.Envelope{From: address(t, "b@author.example")}, h, mail.MemoryBody(nil))
			seen[v.Action] = true
		}
		if len(seen) != 1 {
			t.Fatalf("message %d: %v", i, seen)
		}
	}
}
