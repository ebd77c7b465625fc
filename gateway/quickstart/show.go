package quickstart

import (
	"fmt"
	"os"
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

// hints stand behind the demonstration; the words in braces are filled in.
const hints = `  # more mail, in and out
  swaks --server {mx-host} --port {mx-port} --ehlo client.world.test --from alice@world.test --to bob@gatepost.test
  swaks --server {sub-host} --port {sub-port} --tls --auth PLAIN --auth-user {user} --auth-password {password} --from bob@gatepost.test --to alice@world.test
  # mail that DMARC refuses: nobody but 127.0.0.1 may send as world.test
  {gatepost} explain --config {config} --client-ip 192.0.2.1 --helo evil.example --mail-from alice@world.test --to bob@gatepost.test FILE.eml
  # where is my message? (by the id of the 250 reply, or by address)
  {gatepost} trace --config {config} bob@gatepost.test
  {gatepost} queue stats --config {config}
  ls {maildir}
`

// next tells what to type now.
func (q *quick) next() {
	host, port, _ := strings.Cut(q.o.MX, ":")
	subHost, subPort, _ := strings.Cut(q.o.Submission, ":")
	q.title("It runs. What to type next, in another terminal (Ctrl-C here ends it)")
	fmt.Fprint(q.o.Out, strings.NewReplacer(
		"{mx-host}", host, "{mx-port}", port, "{sub-host}", subHost, "{sub-port}", subPort, "{user}", demoUser, "{password}", demoPassword,
		"{gatepost}", os.Args[0], "{config}", q.path("gatepost.yaml"), "{maildir}", q.path("Maildir/new")).Replace(hints))
}
