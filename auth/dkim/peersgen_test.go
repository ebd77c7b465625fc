package dkim

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"time"
)

// peerCase is one generated message and what is odd about it.
type peerCase struct {
	message string
	odd     map[string]bool
}

// peerCases draws messages whose records stand in zone; the same seed gives
// the same shapes, under keys of their own.
type peerCases struct {
	*mathrand.Rand
	now     time.Time
	zone    records
	signers map[string]signer
	odd     map[string]bool // of the case that is being made
}

func newPeerCases(t testing.TB, seed uint64, now time.Time) *peerCases {
	g := &peerCases{Rand: mathrand.New(mathrand.NewPCG(seed, 1)), now: now, zone: records{}, signers: map[string]signer{}}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	g.signers["ed25519"], g.signers["rsa"] = newEd25519Signer(t), rsaSigner(t, benchKey(t))
	small1024 := rsaSigner(t, small)
	g.signers["rsa1024"] = small1024
	for algorithm, s := range g.signers {
		p := s.record[strings.Index(s.record, "p="):]
		k := "k=" + strings.TrimSuffix(algorithm, "1024") + "; "
		for variant, record := range keyVariants(k, p) {
			g.zone[variant+"-"+algorithm+"._domainkey.example.com"] = record
		}
	}
	return g
}

// keyVariants are records of a key, sound ones and others.
func keyVariants(k, p string) map[string]string {
	return map[string]string{
		"good": "v=DKIM1; " + k + p, "bare": k + p, "tight": strings.ReplaceAll("v=DKIM1; "+k+p, " ", "") + ";", "spaced": " v = DKIM1 ;  " + k + strings.Replace(p, "=", " = ", 1) + " ; ",
		"notes": "v=DKIM1; n=a note; " + k + p, "unknown": "v=DKIM1; zz=1; " + k + p, "testing": "v=DKIM1; t=y; " + k + p,
		"strict": "v=DKIM1; t=s; " + k + p, "both": "v=DKIM1; t=y:s; " + k + p, "sha256": "v=DKIM1; h=sha256; " + k + p,
		"sha1": "v=DKIM1; h=sha1; " + k + p, "hashes": "v=DKIM1; h=sha1:sha256; " + k + p, "email": "v=DKIM1; s=email; " + k + p,
		"star": "v=DKIM1; s=*; " + k + p, "services": "v=DKIM1; s=tlsrpt:email; " + k + p, "service": "v=DKIM1; s=tlsrpt; " + k + p,
		"revoked": "v=DKIM1; " + k + "p=", "broken": "v=DKIM1; " + k + "p=AAAA", "version": "v=DKIM2; " + k + p,
		"nokey": "v=DKIM1; " + k, "twice": "v=DKIM1; " + k + p + "; " + p, "late": k + p + "; v=DKIM1", "other": "v=DKIM1; k=dsa; " + p,
		"granularity": "v=DKIM1; g=*; " + k + p, "split": "v=DKIM1; " + k + p[:20] + " " + p[20:],
	}
}

// pick draws one of several.
func pick[T any](g *peerCases, of ...T) T { return of[g.IntN(len(of))] }

// sometimes is true once in n times.
func (g *peerCases) sometimes(n int) bool { return g.IntN(n) == 0 }

// note marks the case that is being made.
func (g *peerCases) note(odd string) { g.odd[odd] = true }

// next draws a case.
func (g *peerCases) next(t testing.TB) peerCase {
	g.odd = map[string]bool{}
	message := g.header() + "\r\n" + g.body()
	for range 1 + g.IntN(5)/4 {
		algorithm := pick(g, "ed25519", "rsa1024", "rsa1024", "rsa")
		message = g.signers[algorithm].sign(t, g.tags(algorithm), message)
	}
	message = g.spoil(message)
	head, body, _ := strings.Cut(strings.ToLower("\r\n"+message), "\r\n\r\n")
	for _, name := range []string{"from", "to", "subject", "date", "message-id"} {
		if strings.Count(head, "\r\n"+name+":") > 1 {
			g.note("a single field twice")
		}
	}
	if strings.TrimSpace(body) == "" && strings.ContainsAny(body, " \t") {
		g.note("body of white space")
	}
	return peerCase{message, g.odd}
}

func (g *peerCases) words() string {
	var b strings.Builder
	for range g.IntN(6) {
		b.WriteString(pick(g, " ", " ", "  ", "\t", " \t ", "\r\n ", " \r\n\t"))
		b.WriteString(pick(g, "word", "b=x;", "a:b", "=?utf-8?q?x?=", "ö", "\xe9", "<a@b.example>", strings.Repeat("long", 60), "\"q\""))
	}
	return b.String()
}

func (g *peerCases) header() string {
	var b strings.Builder
	for i := range g.IntN(6) {
		fmt.Fprintf(&b, "%s:%s %d\r\n", pick(g, "X-A", "x-a", "Received", "Comments", "List-Id", "X-Empty"), g.words(), i)
	}
	from := pick(g, "From: Joe <joe@example.com>\r\n", "FROM:joe@example.com\r\n", "From:\r\n\t\"Joe, J.\"  \r\n  <joe@example.com>\r\n")
	if g.sometimes(20) {
		from = strings.Replace(from, ":", " :", 1)
		g.note("space before a colon")
	}
	b.WriteString(from)
	if g.sometimes(12) {
		b.WriteString("From: Ann <ann@example.net>\r\n")
		g.note("two From")
	}
	b.WriteString("To: ann@example.net\r\nSubject:" + g.words() + "\r\n")
	if g.sometimes(4) {
		b.WriteString("Subject: another\r\nTo: bob@example.net\r\n")
	}
	b.WriteString("Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n")
	if g.sometimes(5) {
		b.WriteString(pick(g, "X-Nothing:\r\n", "X-Blank: \r\n", "X-Blanks:   \t\r\n"))
	}
	return b.String()
}

func (g *peerCases) body() string {
	var b strings.Builder
	for range g.IntN(8) {
		if !g.sometimes(4) {
			b.WriteString(strings.ReplaceAll(g.words(), "\r\n", ""))
		}
		b.WriteString(pick(g, "\r\n", "\r\n", " \r\n", "\t \r\n", "\r\n\r\n", ".\r\n", "..\r\n"))
	}
	return b.String()
}

// tags draws the tags of a signature but for b=.
func (g *peerCases) tags(algorithm string) string {
	name := strings.TrimSuffix(algorithm, "1024")
	tags := []string{"v=1", "a=" + name + "-sha256", "d=" + pick(g, "example.com", "example.com", "Example.COM"), "bh={bh}", "h=" + g.signedNames(), "s=" + g.selector(algorithm)}
	if !g.sometimes(6) {
		tags = append(tags, "c="+pick(g, "simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed", "relaxed/relaxed", "relaxed", "simple"))
	}
	tags = append(tags, g.times()...)
	if g.sometimes(3) {
		i := pick(g, "@example.com", "joe@example.com", "joe@EXAMPLE.com", "joe@sub.example.com", "@sub.example.com", "joe@example.net", "joe@xexample.com", "=6Aoe@example.com")
		tags = append(tags, "i="+i)
		g.note("i=" + i)
	}
	if g.sometimes(6) {
		l := pick(g, "0", "1", "00", "99999999", "x", "-1", "")
		tags = append(tags, "l="+l)
		g.note("l=")
	}
	if g.sometimes(5) {
		odd := pick(g, "q=dns/txt", "q=dns/txt:http", "q=http", "z=From:joe|To:b=c", "zz=later", "zz=", "X_1=y", "a=rsa-sha256", "r=y")
		tags = append(tags, odd)
		g.note(odd)
	}
	if g.sometimes(25) {
		drop := 0 + g.IntN(6)
		g.note("without " + tags[drop][:strings.Index(tags[drop], "=")+1])
		tags = append(tags[:drop:drop], tags[drop+1:]...)
	}
	g.Shuffle(len(tags), func(i, j int) { tags[i], tags[j] = tags[j], tags[i] })
	return strings.Join(tags, pick(g, "; ", ";", ";\r\n\t", " ; ", ";\r\n "))
}

func (g *peerCases) selector(algorithm string) string {
	if g.sometimes(30) {
		g.note("no key")
		return "none"
	}
	variant := "good"
	if g.sometimes(2) {
		variant = pick(g, "bare", "tight", "spaced", "notes", "unknown", "testing", "strict", "both", "sha256", "sha1", "hashes", "email", "star", "services",
			"service", "revoked", "broken", "version", "nokey", "twice", "late", "other", "granularity", "split")
		g.note("key " + variant)
	}
	return variant + "-" + algorithm
}

// times draws t= and x=.
func (g *peerCases) times() []string {
	if !g.sometimes(3) {
		return nil
	}
	at := func(hours int) string { return fmt.Sprint(g.now.Add(time.Duration(hours) * time.Hour).Unix()) }
	drawn := pick(g, []string{"t=" + at(-1)}, []string{"t=" + at(-1), "x=" + at(1)}, []string{"x=" + at(1)}, []string{"x=" + at(-1), "expired"}, []string{"t=" + at(-3), "x=" + at(-1), "expired"},
		[]string{"t=" + at(1), "x=" + at(1), "x= not later"}, []string{"t=" + at(1000), "future"}, []string{"t=soon", "t= no number"}, []string{"x=99999999999999999999", "x= huge"}, []string{"t=", "t= no number"})
	var tags []string
	for _, tag := range drawn {
		if strings.HasPrefix(tag, "t=") && !strings.Contains(tag, " ") || strings.HasPrefix(tag, "x=") && !strings.Contains(tag, " ") {
			tags = append(tags, tag)
			continue
		}
		g.note(tag)
	}
	return tags
}

func (g *peerCases) signedNames() string {
	names := pick(g, "From:To:Subject", "from : to : subject", "From:From:Subject:Subject:X-A", "Received:From:x-a:X-A:X-Empty", "From:To:Date:Message-ID:DKIM-Signature", "From:\r\n Subject:\r\n To",
		"From:To:Nothing", "To:Subject", "From::To", "Fromm:To")
	switch names {
	case "To:Subject", "Fromm:To":
		g.note("h= without From")
	case "From::To":
		g.note("h= with an empty name")
	}
	return names
}

// spoil changes a signed message on its way, or not.
func (g *peerCases) spoil(message string) string {
	head, body, _ := strings.Cut(message, "\r\n\r\n")
	if g.sometimes(2) {
		return message
	}
	switch how := g.IntN(11); how {
	case 0:
		return message + pick(g, "\r\n", "\r\n\r\n", "x\r\n", " \r\n")
	case 1:
		if strings.HasSuffix(body, "\r\n") {
			g.note("no CRLF at the end")
		}
		return head + "\r\n\r\n" + strings.TrimSuffix(body, "\r\n")
	case 2:
		g.note("added From")
		return "From: Eve <eve@example.org>\r\n" + message
	case 3:
		return strings.Replace(message, "To: ann", pick(g, "To:  ann", "TO: ann", "To:ann", "To:\r\n ann", "To: Ann"), 1)
	case 4:
		return head + "\r\nSubject: added below\r\n\r\n" + body
	case 5:
		return "Subject: added above\r\n" + message
	case 6:
		return strings.Replace(message, "word", pick(g, "Word", "word ", " word"), 1)
	case 7:
		name := pick(g, "DKIM-SIGNATURE: ", "DKIM-Signature:", "DKIM-Signature:  ", "DKIM-Signature:\r\n ", "DKIM-Signature : ")
		if strings.Contains(name, " :") {
			g.note("space before a colon")
		}
		return strings.Replace(message, "DKIM-Signature: ", name, 1)
	case 8:
		return g.refold(message)
	case 9:
		return g.corrupt(message)
	}
	return message
}

// refold puts white space into b=, where it does not count.
func (g *peerCases) refold(message string) string {
	before, after, _ := strings.Cut(message, " b=")
	if len(after) < 30 {
		return message
	}
	return before + " b=" + after[:10] + pick(g, " ", "\r\n\t", "\r\n ", "  ") + after[10:]
}

// corrupt changes the octets of b=.
func (g *peerCases) corrupt(message string) string {
	before, after, _ := strings.Cut(message, " b=")
	value, rest, _ := strings.Cut(after, ";")
	raw, err := base64.StdEncoding.DecodeString(value)
	if err != nil || len(raw) == 0 {
		return message
	}
	raw[g.IntN(len(raw))] ^= 1
	return before + " b=" + base64.StdEncoding.EncodeToString(raw) + ";" + rest
}
