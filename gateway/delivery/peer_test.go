package delivery

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-smtp"

	"gatepost/gateway/delivery/smtptest"
	"gatepost/mail"
)

// mailbox is a server of another make that takes everything.
type mailbox struct {
	mu       sync.Mutex
	messages []string
	senders  []string
}

func (b *mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &visitor{b}, nil }

type visitor struct{ b *mailbox }

func (v *visitor) Mail(from string, _ *smtp.MailOptions) error {
	v.b.mu.Lock()
	defer v.b.mu.Unlock()
	v.b.senders = append(v.b.senders, from)
	return nil
}
func (v *visitor) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (v *visitor) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	v.b.mu.Lock()
	defer v.b.mu.Unlock()
	v.b.messages = append(v.b.messages, string(content))
	return err
}
func (v *visitor) Reset()        {}
func (v *visitor) Logout() error { return nil }

// listen starts a go-smtp server.
func listen(t *testing.T, b smtp.Backend, config *tls.Config, lmtp bool) string {
	t.Helper()
	server := smtp.NewServer(b)
	server.Domain, server.TLSConfig, server.LMTP = "peer.example", config, lmtp
	server.EnableSMTPUTF8, server.EnableDSN = true, true
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		server.Close()
		running.Wait()
	})
	return l.Addr().String()
}

func TestPeerOfAnotherMake(t *testing.T) {
	authority := smtptest.NewAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{authority.Certificate("peer.example")}}
	content := "Subject: é\r\n\r\n.\r\n..\r\nlast line without end, " + strings.Repeat("long ", 300)
	for _, scheme := range []string{"smtp", "lmtp"} {
		b := &mailbox{}
		d := start(t, Options{NextHops: []NextHop{{URLs: []string{scheme + "://" + listen(t, b, config, scheme == "lmtp")}}}})
		m := message(t, content)
		m.Envelope.UTF8, m.Envelope.From = true, address(t, "é@a.example")
		for range 3 {
			for _, r := range d.Deliver(t.Context(), job(t, m, "b@b.example", "ö@b.example")) {
				if r.Code != 250 || r.LackedDSN || !strings.HasPrefix(r.TLS, "TLS 1.3") {
					t.Errorf("%s: got %+v", scheme, r)
				}
			}
		}
		if len(b.messages) != 3 || b.messages[2] != content+"\r\n" || b.senders[0] != "é@a.example" {
			t.Errorf("%s: %d messages, from %q", scheme, len(b.messages), b.senders)
		}
	}
}

// bigBody is a body that is not in memory.
type bigBody struct{ size int64 }

func (b bigBody) Size() int64 { return b.size }

func (b bigBody) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(lines{}, b.size)), nil
}

// lines is an endless text of 64 octets a line.
type lines struct{}

const line = ".23456789012345678901234567890123456789012345678901234567890ab\r\n"

func (lines) Read(p []byte) (int, error) {
	n := 0
	for len(p)-n >= len(line) {
		n += copy(p[n:], line)
	}
	if n == 0 {
		return 0, fmt.Errorf("buffer of %d octets", len(p))
	}
	return n, nil
}

// drain is a server that counts octets and keeps nothing.
func drain(t testing.TB) (addr string, octets *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	octets = &atomic.Int64{}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { swallow(conn, octets) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return l.Addr().String(), octets
}

// swallow answers without memory of its own.
func swallow(conn net.Conn, octets *atomic.Int64) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 64<<10)
	fmt.Fprint(conn, "220 drain\r\n")
	data := false
	for {
		text, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		octets.Add(int64(len(text)))
		switch {
		case data && string(text) == ".\r\n":
			data = false
			fmt.Fprint(conn, "250 2.0.0 Ok\r\n")
		case data:
		case text[0] == 'E':
			fmt.Fprint(conn, "250-drain\r\n250-SIZE\r\n250-8BITMIME\r\n250 PIPELINING\r\n")
		case text[0] == 'D':
			data = true
			fmt.Fprint(conn, "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 go\r\n")
		case text[0] == 'Q':
			return
		}
	}
}

func TestBigMessageIsStreamed(t *testing.T) {
	addr, octets := drain(t)
	const size = 50 << 20
	d := start(t, Options{NextHops: []NextHop{{URLs: []string{"smtp://" + addr}}}})
	m := &mail.Message{Content: bigBody{size}, Envelope: mail.Envelope{From: address(t, "a@a.example")}}
	total := allocated(t, func() {
		want(t, d.Deliver(t.Context(), job(t, m, "b@b.example"))[0], "250 2.0.0 Ok")
	})
	if total > 2<<20 {
		t.Errorf("%d KiB of heap for a message of %d KiB", total>>10, size>>10)
	}
	if octets.Load() < size+size/64 {
		t.Errorf("the server got %d octets", octets.Load())
	}
}

// allocated gives what was allocated while do ran. It counts all, also what
// was freed again, so that it cannot miss a peak.
func allocated(t *testing.T, do func()) uint64 {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// BenchmarkDeliver carries 5 KB over a kept connection; the server's share
// is part of the figure.
func BenchmarkDeliver(b *testing.B) {
	addr, _ := drain(b)
	d := start(b, Options{Messages: 1 << 30, NextHops: []NextHop{{URLs: []string{"smtp://" + addr}}}})
	m := &mail.Message{Content: mail.MemoryBody([]byte("Subject: x\r\n\r\n" + strings.Repeat(line, 80))), Envelope: mail.Envelope{From: address(b, "a@a.example")}}
	m.Prefix = []byte("Received: from x by y\r\n")
	j := job(b, m, "b@b.example")
	b.ReportAllocs()
	for b.Loop() {
		if r := d.Deliver(b.Context(), j)[0]; r.Code != 250 {
			b.Fatal(r.Status)
		}
	}
}
