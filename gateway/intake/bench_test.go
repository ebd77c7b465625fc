package intake

import (
	"bufio"
	"context"
	"net"
	"strings"
	"syscall"
	"testing"

	"gatepost/mail"
)

// noQueue accepts everything and keeps nothing.
type noQueue struct{}

func (noQueue) Accept(context.Context, *mail.Message, string) error { return nil }

// BenchmarkMessage takes one message of 5 KiB, pipelined, over loopback. The
// CPU time is that of both ends, the client's writes and reads included.
func BenchmarkMessage(b *testing.B) {
	for name, relay := range map[string]bool{"mx": false, "relay": true} {
		b.Run(name, func(b *testing.B) { benchmarkMessage(b, relay) })
	}
}

func benchmarkMessage(b *testing.B, relay bool) {
	r := newRig(b, Listener{Limits: Limits{SessionTimeout: 1 << 40}})
	r.options.Acceptor, r.options.Observer = noQueue{}, silence{}
	if relay {
		r.options.Listeners[0].RelayClients = []string{"c"}
		r.policy.clients["c"] = prefixes([]string{"127.0.0.0/8"})
	}
	r.start(b)
	conn, err := net.Dial("tcp", r.addr())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	if _, err := conn.Write([]byte("EHLO client.example\r\n")); err != nil {
		b.Fatal(err)
	}
	skip(b, in, 2)
	head := "From: <a@client.example>\r\nTo: <u@local.test>\r\nSubject: benchmark\r\nDate: Sat, 21 Nov 2026 20:00:00 +0000\r\nMessage-ID: <1@client.example>\r\n\r\n"
	body := head + strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", (5120-len(head))/72) + ".\r\n"
	envelope := []byte("MAIL FROM:<a@client.example> SIZE=5120\r\nRCPT TO:<u@local.test>\r\nDATA\r\n")
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		if _, err := conn.Write(envelope); err != nil {
			b.Fatal(err)
		}
		skip(b, in, 3)
		if _, err := conn.Write([]byte(body)); err != nil {
			b.Fatal(err)
		}
		skip(b, in, 1)
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
}

// skip reads n replies.
func skip(b *testing.B, in *bufio.Reader, n int) {
	for n > 0 {
		line, err := in.ReadSlice('\n')
		if err != nil || line[0] > '3' {
			b.Fatalf("%q %v", line, err)
		}
		if line[3] != '-' {
			n--
		}
	}
}

// cpu is the processor time of this process.
func cpu(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
