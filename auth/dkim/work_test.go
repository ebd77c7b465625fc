package dkim

import (
	"fmt"
	"strings"
	"testing"

	"gatepost/mail"
)

// workSize is the size of the messages whose cost is compared.
const workSize = 50 << 20

// hostileBodies are of workSize; what canonicalization must not go over twice.
var hostileBodies = map[string]string{
	"words":             strings.Repeat("words of a letter\r\n", workSize/19),
	"CRLFs at the end":  "x\r\n" + strings.Repeat("\r\n", workSize/2),
	"CRLFs before text": strings.Repeat("\r\n", workSize/2) + "x\r\n",
	"blank lines":       strings.Repeat("\r\n \t\r\n", workSize/6) + "x\r\n",
	"spaces":            "x" + strings.Repeat(" \t", workSize/2) + "y\r\n",
}

// manyFields are 5,000 fields of one name, as much as a header may hold.
func manyFields() string { return strings.Repeat("X: "+strings.Repeat("x", 700)+"\r\n", 5000) }

// manySignatures are 50, each over all that h= may name. Of those with lengths
// every one covers another part of the body.
func manySignatures(forms string, lengths bool) string {
	names := strings.Repeat(":X", 900)
	var b strings.Builder
	for i := range 50 {
		length := ""
		if lengths {
			length = fmt.Sprintf("l=%d; ", i*(workSize/60))
		}
		fmt.Fprintf(&b, "DKIM-Signature: v=1; a=ed25519-sha256; c=%s; d=example.com; s=s1; %sbh=%s=; h=From%s; b=AAAA\r\n",
			forms, length, strings.Repeat("A", 43), names)
	}
	return b.String()
}

// TestWorkOfHostileMessage: a message of 50 MiB with runs of line ends or
// white space, with 5,000 header fields, with 50 signatures, and with all of
// them together costs under ten times the work of a plain one of its size with
// one signature, in every canonical form. The work is counted in octets hashed.
func TestWorkOfHostileMessage(t *testing.T) {
	s := newEd25519Signer(t)
	work := func(message string) (int64, []Result) {
		resolver := &countingResolver{Resolver: records{testKeyName: s.record}}
		results, n, err := NewVerifier(testOptions(resolver)).verify(t.Context(), mail.MemoryBody([]byte(message)))
		if err != nil || resolver.lookups.Load() != 1 {
			t.Fatalf("%v, %d look-ups", err, resolver.lookups.Load())
		}
		return n, results
	}
	const from = "From: a@example.com\r\n"
	plain, results := work(s.sign(t, testTags, from+"\r\n"+hostileBodies["words"]))
	checkResult(t, only(t, results), Pass, "")
	if plain < workSize*9/10 {
		t.Fatalf("%d octets hashed for the plain message", plain)
	}
	for _, forms := range []string{"simple/simple", "relaxed/relaxed", "simple/relaxed", "relaxed/simple"} {
		for name, body := range hostileBodies {
			if head, tail, _ := strings.Cut(forms, "/"); head != tail && name != "blank lines" {
				continue // the form of the header has nothing to do with the body
			}
			together := manySignatures(forms, false) + manyFields() + from + "\r\n" + body
			if len(together) < workSize {
				t.Fatalf("%s: only %d octets", name, len(together))
			}
			got, results := work(together)
			if got > 3*plain {
				t.Errorf("%s, %s: %d octets hashed, %d for a plain message", forms, name, got, plain)
			}
			checkResult(t, results[0], Fail, "body hash did not verify") // it was hashed to the end
		}
	}
	for name, message := range map[string]string{
		"5,000 fields":            strings.Replace(s.sign(t, testTags, from+"\r\n"+hostileBodies["words"]), from, manyFields()+from, 1),
		"50 signatures":           manySignatures("relaxed/relaxed", false) + from + "\r\n" + hostileBodies["words"],
		"50 lengths of the body":  manySignatures("relaxed/relaxed", true) + from + "\r\n" + hostileBodies["words"],
		"50 lengths, blank lines": manySignatures("simple/simple", true) + from + "\r\n" + hostileBodies["CRLFs before text"],
	} {
		if got, _ := work(message); got > 3*plain {
			t.Errorf("%s: %d octets hashed, %d for a plain message", name, got, plain)
		}
	}
}
