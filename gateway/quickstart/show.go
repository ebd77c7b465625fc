package quickstart

import (
	"fmt"
	"strings"

	"gatepost/mail"
)

func (q *quick) title(format string, args ...any) {
	fmt.Fprintf(q.o.Out, "\n=== "+format+"\n\n", args...)
}

// shown are the fields that the gateway adds.
var shown = []string{"Received", "Authentication-Results", "DKIM-Signature", "From", "To", "Subject"}

// headers prints what is worth seeing of a delivered message.
func (q *quick) headers(message []byte) {
	h, err := mail.ParseHeader(message)
	if err != nil {
		fmt.Fprintln(q.o.Out, "the delivered header cannot be read:", err)
		return
	}
	for _, f := range h.Fields {
		for _, name := range shown {
			if f.Is(name) {
				fmt.Fprint(q.o.Out, strings.ReplaceAll(string(f.Raw), "\r\n", "\n"))
			}
		}
	}
	fmt.Fprintln(q.o.Out)
}

// next tells what to type now.
func (q *quick) next() {
	config := q.path("gatepost.yaml")
	host, port, _ := strings.Cut(q.o.MX, ":")
	shost, sport, _ := strings.Cut(q.o.Submission, ":")
	q.title("It runs. What to type next, in another terminal (Ctrl-C here ends it)")
	fmt.Fprintf(q.o.Out, `  # more mail, in and out
  swaks --server %s --port %s --ehlo client.world.test --from alice@world.test --to bob@gatepost.test
  swaks --server %s --port %s --tls --auth PLAIN --auth-user %s --auth-password %s --from bob@gatepost.test --to alice@world.test
  # mail that DMARC refuses: nobody but 127.0.0.1 may send as world.test
  bin/gatepost explain --config %s --client-ip 192.0.2.1 --helo evil.example --mail-from alice@world.test --to bob@gatepost.test FILE.eml
  # where is my message? (by the id of the 250 reply, or by address)
  bin/gatepost trace --config %s bob@gatepost.test
  bin/gatepost queue stats --config %s
  ls %s
`, host, port, shost, sport, demoUser, demoPassword, config, config, config, q.path("Maildir/new"))
}
