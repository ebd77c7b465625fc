package peertest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// Cases is how many cases a test draws (GATEPOST_DIFFERENTIAL), Seed what it
// draws them from (GATEPOST_SEED).
func Cases(t testing.TB) int   { t.Helper(); return setting(t, "GATEPOST_DIFFERENTIAL", 400) }
func Seed(t testing.TB) uint64 { t.Helper(); return uint64(setting(t, "GATEPOST_SEED", 1)) }

func setting(t testing.TB, name string, otherwise int) int {
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

// Program is another program, and the command that tells whether it is there.
type Program struct {
	Name       string
	Run, There []string
}

// Answers gives the program all its questions at once and wants a line for
// each of n cases. A test without the program is skipped.
func (p Program) Answers(t testing.TB, questions []byte, n int) []string {
	t.Helper()
	if out, err := exec.Command(p.There[0], p.There[1:]...).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: %s is absent; 'make deps' installs it: %v %s", p.Name, err, out)
	}
	cmd := exec.CommandContext(t.Context(), p.Run[0], p.Run[1:]...)
	var trouble bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(questions), &trouble
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%.2000s", p.Name, err, trouble.String())
	}
	answers := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(answers) != n {
		t.Fatalf("%s: %d answers on %d cases\n%.2000s", p.Name, len(answers), n, trouble.String())
	}
	return answers
}

// Tally counts answers that are the same and those that differ for a reason.
type Tally struct {
	Same  int
	Named map[string]int
}

// Differs counts a named disagreement; one without a name is an error, told by
// the words that follow.
func (c *Tally) Differs(t testing.TB, name, format string, args ...any) {
	t.Helper()
	if c.Named == nil {
		c.Named = map[string]int{}
	}
	c.Named[name]++
	if name == "" {
		t.Errorf(format, args...)
	}
}

// Report logs the account. A peer that agrees on few of n cases did not judge.
func (c *Tally) Report(t testing.TB, peer string, n int) {
	t.Helper()
	t.Logf("%s: %d cases, %d same answers; named disagreements: %v", peer, n, c.Same, c.Named)
	if c.Same < n/3 {
		t.Errorf("only %d equal answers: the peer did not judge", c.Same)
	}
}

// Documented wants a row of docs/conformance.md for every name; root is the
// way to the module's directory.
func Documented(t testing.TB, root string, names ...string) {
	t.Helper()
	text, err := os.ReadFile(root + "/docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.Contains(string(text), "\n| "+name+" |") {
			t.Errorf("docs/conformance.md has no row %q", name)
		}
	}
}

// TXT is a line of a zone file: any octets, in strings of 255.
func TXT(name, record string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. 60 IN TXT \"", strings.TrimSuffix(name, "."))
	for i := range len(record) {
		if i > 0 && i%255 == 0 {
			b.WriteString(`" "`)
		}
		fmt.Fprintf(&b, `\%03d`, record[i])
	}
	return b.String() + "\"\n"
}
