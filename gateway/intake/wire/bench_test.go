package wire_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/emersion/go-smtp"

	"gatepost/gateway/intake/wire"
)

// discard is a backend that reads messages and forgets them.
type discard struct{}

func (discard) NewSession(*smtp.Conn) (smtp.Session, error) { return discard{}, nil }
func (discard) Mail(string, *smtp.MailOptions) error        { return nil }
func (discard) Rcpt(string, *smtp.RcptOptions) error        { return nil }
func (discard) Reset()                                      {}
func (discard) Logout() error                               { return nil }
func (discard) Data(r io.Reader) error                      { _, err := io.Copy(io.Discard, r); return err }

// BenchmarkTransaction is a message through the wire and go-smtp over loopback
// TCP, its commands pipelined. cpu-µs/op is of server and client together.
func BenchmarkTransaction(b *testing.B) {
	line := strings.Repeat("x", 74) + "\r\n"
	for _, size := range []struct {
		name  string
		lines int
	}{{"5KB", 67}, {"1MB", 13800}} {
		body := "From: a@x.test\r\n\r\n" + strings.Repeat(line, size.lines) + ".\r\n"
		b.Run(size.name, func(b *testing.B) { benchmark(b, body) })
	}
}

func benchmark(b *testing.B, body string) {
	l := wire.NewListener(nil)
	server := smtp.NewServer(discard{})
	wire.Prepare(server)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(l) })
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	near, err := net.Dial("tcp", tcp.Addr().String())
	must(b, err)
	far, err := tcp.Accept()
	must(b, err)
	tcp.Close()
	wg.Go(func() { _ = l.Serve(b.Context(), far, baseSettings()) })
	b.Cleanup(func() { near.Close(); l.Close(); wg.Wait() })

	r := bufio.NewReader(near)
	send(b, near, r, "EHLO x\r\n", 7) // behind the greeting
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	start := cpu(b)
	for b.Loop() {
		send(b, near, r, "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n", 3)
		send(b, near, r, body, 1)
	}
	b.ReportMetric(float64(cpu(b)-start)/1000/float64(b.N), "cpu-µs/op")
}

func send(b *testing.B, w io.Writer, r *bufio.Reader, octets string, lines int) {
	if _, err := io.WriteString(w, octets); err != nil {
		b.Fatal(err)
	}
	for range lines {
		if line, err := r.ReadSlice('\n'); err != nil || line[0] > '3' && line[0] != '2' {
			b.Fatalf("%s %v", line, err)
		}
	}
}

// cpu is the processor time of the process in nanoseconds.
func cpu(b *testing.B) int64 {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return u.Utime.Nano() + u.Stime.Nano()
}
