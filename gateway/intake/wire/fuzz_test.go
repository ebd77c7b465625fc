package wire_test

import (
	"bytes"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatepost/gateway/intake/wire"
	"gatepost/gateway/intake/wire/wiretest"
)

const (
	fuzzLines = 100
	fuzzSize  = 5000
)

// reader is a strict reader of RFC 5321 and RFC 3030, written for clearness:
// it has the whole stream of the client, and cuts it up by plain searching. It
// tells which messages are accepted.
type reader struct {
	rest      string
	normalize bool
	accepted  []string

	rcpt    bool   // a transaction with a recipient
	inChunk bool   // BDAT was used in it
	chunks  string // by BDAT so far
}

// read returns false when the stream holds a command that it does not know
// well enough to tell what go-smtp makes of it.
func (r *reader) read() (sure bool) {
	for {
		line, rest, found := strings.Cut(r.rest, "\r\n")
		if !found {
			return true
		}
		r.rest = rest
		if strings.ContainsAny(line, "\r\n\x00") || len(line) > 510 {
			continue // refused
		}
		switch line = strings.TrimRight(line, " \t"); {
		case line == "MAIL FROM:<a@x.test>", line == "NOOP", line == "VRFY x":
		case line == "RSET", line == "EHLO x":
			r.reset()
		case line == "RCPT TO:<b@x.test>":
			return false // only the beginning has one
		case strings.EqualFold(line, "DATA"):
			if r.rcpt && !r.inChunk && !r.data() {
				return true
			}
		case strings.EqualFold(line, "QUIT"):
			return true
		case len(line) >= 4 && strings.EqualFold(line[:4], "BDAT") && (len(line) == 4 || line[4] == ' '):
			if !r.bdat(line[4:]) {
				return true
			}
		default:
			return false
		}
	}
}

func (r *reader) reset() { r.rcpt, r.inChunk, r.chunks = false, false, "" }

// data reads a message up to CRLF "." CRLF; the CRLF of DATA counts.
func (r *reader) data() (whole bool) {
	content, rest, found := strings.Cut("\r\n"+r.rest, "\r\n.\r\n")
	if !found {
		return false
	}
	r.rest = rest
	content = strings.ReplaceAll(content+"\r\n", "\r\n.", "\r\n")
	r.accept(content[2:])
	r.reset()
	return true
}

func (r *reader) bdat(arg string) (goesOn bool) {
	fields := strings.Fields(arg)
	last := len(fields) == 2 && strings.EqualFold(fields[1], "LAST")
	if len(fields) == 0 || len(fields) > 2 || len(fields) == 2 && !last || strings.Trim(fields[0], "0123456789") != "" {
		return false
	}
	size, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil || size > int64(len(r.rest)) {
		return false
	}
	octets := r.rest[:size]
	r.rest = r.rest[size:]
	if !r.rcpt {
		return true
	}
	r.inChunk = true
	r.chunks += octets
	// A CR at the end may still become a CRLF.
	if !last && !r.fine(strings.TrimSuffix(r.chunks, "\r")) {
		r.reset()
	}
	if last {
		r.accept(r.chunks)
		r.reset()
	}
	return true
}

var newline = regexp.MustCompile(`\r*\n|\r+`)

// clean is what becomes of a message by the newline policy.
func (r *reader) clean(content string) string {
	if r.normalize {
		return newline.ReplaceAllString(content, "\r\n")
	}
	return content
}

func (r *reader) fine(content string) bool {
	content = r.clean(content)
	if strings.Contains(content, "\x00") || len(content) > fuzzSize {
		return false
	}
	if strings.ContainsAny(strings.ReplaceAll(content, "\r\n", ""), "\r\n") {
		return false
	}
	for line := range strings.SplitAfterSeq(content, "\r\n") {
		if len(line) > fuzzLines {
			return false
		}
	}
	return true
}

func (r *reader) accept(content string) {
	if r.fine(content) {
		r.accepted = append(r.accepted, r.clean(content))
	}
}

// FuzzWire sends what the fuzzer makes, cut up as it likes, behind the
// beginning of a transaction. What go-smtp accepts must be what the strict
// reader accepts, and nothing may hang or panic.
func FuzzWire(f *testing.F) {
	for _, row := range wiretest.Cases() {
		if len(row.Sent) > 2*fuzzSize {
			continue
		}
		for i, form := range row.Forms {
			octets := "DATA\r\n" + row.Sent
			if form == wiretest.BDAT {
				octets = fmt.Sprintf("BDAT %d LAST\r\n%s", len(row.Sent), row.Sent)
			}
			f.Add([]byte(octets), []byte{byte(i), 1, 7, 200}, i == 0)
		}
	}
	f.Add([]byte("BDAT 3\r\na\r\nBDAT 1\r\n\rBDAT 2 LAST\r\n\nb"), []byte{1}, true)
	f.Add([]byte("BDAT 3\r\na\rbRSET\r\nDATA\r\n\n.\n\r\n.\r\n"), []byte{}, false)
	f.Add([]byte("NOOP\nDATA\r\nDATA\r\n..\r\n.\r\nBDAT 4 LAST\r\nQUIT"), []byte{2, 3}, false)
	f.Fuzz(func(t *testing.T, octets, cuts []byte, normalize bool) {
		if len(octets) > 4*fuzzSize {
			return
		}
		want := &reader{rest: string(octets), normalize: normalize, rcpt: true}
		if !want.read() {
			return
		}
		got := received(t, octets, cuts, normalize)
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want.accepted) {
			t.Errorf("go-smtp got %q\nthe strict reader %q", got, want.accepted)
		}
	})
}

// received is what go-smtp accepts.
func received(t *testing.T, octets, cuts []byte, normalize bool) []string {
	s := baseSettings()
	s.DataNewline, s.BDATNewline = wire.Reject, wire.Reject
	if normalize {
		s.DataNewline, s.BDATNewline = wire.Normalize, wire.Normalize
	}
	s.LineLimit, s.MessageSize = fuzzLines, fuzzSize
	g := newGateway(t, s)
	near, far := net.Pipe()
	g.serve(far)
	defer near.Close()
	must(t, near.SetDeadline(time.Now().Add(10*time.Second)))
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = bytes.NewBuffer(nil).ReadFrom(near)
	}()
	stream := append([]byte("EHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\n"), octets...)
	for i := 0; len(stream) > 0; i++ {
		n := len(stream)
		if len(cuts) > 0 {
			n = min(n, int(cuts[i%len(cuts)])+1)
		}
		if _, err := near.Write(stream[:n]); err != nil {
			break // the server has closed
		}
		stream = stream[n:]
	}
	near.Close()
	<-g.ended
	<-drained
	var out []string
	for _, m := range g.got() {
		out = append(out, m.content)
	}
	return out
}
