package integration

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// startBareSink starts a sink that offers just these EHLO keywords and knows
// no commands beyond RFC 821. The library of other sinks offers more than a
// test of old servers may see.
func startBareSink(t testing.TB, keywords ...string) *sink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{Addr: l.Addr().String()}
	var wait sync.WaitGroup
	conns := make(chan net.Conn, 1000)
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns <- c
			wait.Go(func() { (&bareSession{sink: s, conn: c, keywords: keywords}).run() })
		}
	})
	t.Cleanup(func() {
		l.Close()
		for len(conns) > 0 {
			(<-conns).Close()
		}
		wait.Wait()
	})
	return s
}

type bareSession struct {
	sink     *sink
	conn     net.Conn
	keywords []string
	m        received
}

func (b *bareSession) run() {
	defer b.conn.Close()
	r := bufio.NewReader(b.conn)
	fmt.Fprint(b.conn, "220 bare.test\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		reply := b.command(strings.TrimRight(line, "\r\n"))
		fmt.Fprint(b.conn, reply)
		if strings.HasPrefix(reply, "354") && !b.data(r) || strings.HasPrefix(reply, "221") {
			return
		}
	}
}

func (b *bareSession) command(line string) string {
	verb, rest, _ := strings.Cut(strings.ToUpper(line), " ")
	path := ""
	if i, j := strings.IndexByte(line, '<'), strings.IndexByte(line, '>'); i >= 0 && j > i {
		path = line[i+1 : j]
	}
	switch {
	case verb == "EHLO" && len(b.keywords) > 0:
		return "250-bare.test\r\n250-" + strings.Join(b.keywords, "\r\n250-") + "\r\n250 HELP\r\n"
	case verb == "HELO" || verb == "NOOP":
		return "250 ok\r\n"
	case verb == "RSET":
		b.m = received{}
		return "250 ok\r\n"
	case verb == "MAIL" && strings.HasPrefix(rest, "FROM:"):
		if !strings.HasSuffix(line, ">") {
			return "555 parameters are not known here: " + line + "\r\n"
		}
		b.m = received{From: path}
		return "250 ok\r\n"
	case verb == "RCPT" && strings.HasPrefix(rest, "TO:") && strings.HasSuffix(line, ">"):
		b.m.To = append(b.m.To, path)
		return "250 ok\r\n"
	case verb == "DATA" && len(b.m.To) > 0:
		return "354 go on\r\n"
	case verb == "QUIT":
		return "221 bye\r\n"
	}
	return "500 not known here\r\n"
}

// data reads a message to its final dot, CRLF and nothing else.
func (b *bareSession) data(r *bufio.Reader) bool {
	var content []byte
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" && (len(content) == 0 || strings.HasSuffix(string(content[max(0, len(content)-2):]), "\r\n")) {
			break
		}
		content = append(content, strings.TrimPrefix(line, ".")...)
	}
	m := b.m
	m.Data = content
	b.sink.mu.Lock()
	b.sink.got = append(b.sink.got, &m)
	b.sink.mu.Unlock()
	b.m = received{}
	fmt.Fprint(b.conn, "250 kept\r\n")
	return true
}
