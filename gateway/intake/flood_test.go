package intake

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"gatepost/store"
)

// One good address, said again and again, grew the memory of the session
// without end: no copy was added, so that the limit was never met.
func TestRepeatedRecipientsCount(t *testing.T) {
	r := newRig(t, Listener{Limits: Limits{RecipientsPerMessage: 3}}).start(t)
	c := dial(t, r.addr())
	c.want("220")
	c.say("EHLO client.example", "250")
	c.say("MAIL FROM:<a@client.example>", "250")
	for range 3 {
		c.say("RCPT TO:<u@local.test>", "250")
	}
	c.say("RCPT TO:<u@local.test>", "452 4.5.3")
	c.say("RSET", "250")
	c.say("MAIL FROM:<a@client.example>", "250")
	c.say("RCPT TO:<u@local.test>", "250")
}

// Each recipient that was one too many was reported with all that had been
// taken before: 15 octets of a stranger made 10 KB of log.
func TestRefusedRecipientIsReportedAlone(t *testing.T) {
	r := newRig(t, Listener{Limits: Limits{RecipientsPerMessage: 2}})
	heard := &refusals{recorder: r.observer}
	r.options.Observer = heard
	r.start(t)
	c := dial(t, r.addr())
	c.want("220")
	c.say("EHLO client.example", "250")
	c.say("MAIL FROM:<a@client.example>", "250")
	c.say("RCPT TO:<u@local.test>", "250")
	c.say("RCPT TO:<v@local.test>", "250")
	c.say("RCPT TO:<w@local.test>", "452")
	c.say("RCPT TO:<\"@\"@local.test>", "553")
	heard.mu.Lock()
	defer heard.mu.Unlock()
	if len(heard.list) != 2 {
		t.Fatalf("%d refusals, want 2", len(heard.list))
	}
	for _, x := range heard.list {
		if len(x.Envelope.Recipients) != 0 {
			t.Errorf("%v is reported with %v", x.Reply, x.Envelope.Recipients)
		}
	}
	if got := heard.list[0].To.String(); got != "w@local.test" {
		t.Errorf("the recipient that was too many is reported as %q", got)
	}
}

type refusals struct {
	*recorder
	list []Refusal
}

func (r *refusals) Refused(x Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, x)
}

// Temporary refusals counted nothing, so that a session could make us write
// them to the log for half an hour.
func TestTemporaryRefusalsEnd(t *testing.T) {
	r := newRig(t, Listener{Limits: Limits{RecipientsPerMessage: 1, ErrorsPerSession: 2}}).start(t)
	c := dial(t, r.addr())
	c.want("220")
	c.say("EHLO client.example", "250")
	c.say("MAIL FROM:<a@client.example>", "250")
	c.say("RCPT TO:<u@local.test>", "250")
	for n := range 2 * temporaryPerError {
		if got := c.say(fmt.Sprintf("RCPT TO:<u%d@local.test>", n), "4"); !strings.HasPrefix(got, "452") {
			t.Fatalf("refusal %d: %s", n+1, got)
		}
	}
	c.want("421 4.7.0")
	c.closed()
}

// Free space was looked at before MAIL only, so that fifty clients with 50 MiB
// each in their hands filled what min_free keeps for the store.
func TestSpoolStopsAtMinFree(t *testing.T) {
	r := newRig(t, Listener{})
	var full atomic.Bool
	r.options.Ready = func(context.Context) error {
		if full.Load() {
			return fmt.Errorf("ready: %w", store.ErrFull)
		}
		return nil
	}
	r.start(t)
	c := dial(t, r.addr())
	c.want("220")
	c.say("EHLO client.example", "250")
	c.say("MAIL FROM:<a@client.example>", "250")
	c.say("RCPT TO:<u@local.test>", "250")
	c.say("DATA", "354")
	c.write("From: <a@client.example>\r\n\r\n")
	full.Store(true)
	line := strings.Repeat("x", 78) + "\r\n"
	c.write(strings.Repeat(line, (spoolHead+2*spoolStep)/len(line)))
	c.say(".", "452 4.3.1")
	full.Store(false)
	c.say("MAIL FROM:<a@client.example>", "250")
}
