package intake

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"gatepost/mail"
)

// stream is a connection that says what it was given and hears nothing.
type stream struct {
	net.Conn
	in *bytes.Reader
}

func (s stream) Read(p []byte) (int, error) { return s.in.Read(p) }

func (stream) SetReadDeadline(time.Time) error { return nil }

func (stream) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("10.0.0.1:1000"))
}

func (stream) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("10.0.0.2:25"))
}

// textHeader is the header of version 1, by the letter of the protocol.
var textHeader = regexp.MustCompile(`^PROXY TCP([46]) (\S+) (\S+) (\d{1,5}) (\d{1,5})\r\n`)

// FuzzProxy: who is taken for the client stands in the header, no octet behind
// it is lost, and a balancer that does not name a client is never one.
func FuzzProxy(f *testing.F) {
	two := append([]byte(nil), proxyproto.SIGV2...)
	for _, s := range []string{
		"PROXY TCP4 192.0.2.1 198.51.100.1 4711 25\r\nEHLO x\r\n", "PROXY TCP6 2001:db8::1 2001:db8::2 4711 25\r\n", "PROXY UNKNOWN\r\nEHLO x\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.1 4711 25\nEHLO x\r\n", "PROXY TCP4 ::ffff:192.0.2.1 198.51.100.1 4711 25\r\n", "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "EHLO x\r\n", "",
		string(two) + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x01\x12\x67\x00\x19EHLO x\r\n", string(two) + "\x20\x00\x00\x00EHLO x\r\n", string(two) + "\x21\x11\xff\xff",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		nc, p, err := identify(stream{in: bytes.NewReader(said)}, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
		if err != nil {
			if !errors.Is(err, errNoProxyHeader) && !errors.Is(err, errProbe) || errors.Is(err, errProbe) != (len(said) == 0) {
				t.Fatalf("%q: %v", said, err)
			}
			return
		}
		rest, err := io.ReadAll(nc)
		if err != nil || !bytes.HasSuffix(said, rest) || len(rest) == len(said) {
			t.Fatalf("%q leaves %q, %v", said, rest, err)
		}
		if p.proxy.Addr().String() != "10.0.0.1" || p.anonymous && p.mayRelay() || !p.addr.IsValid() || p.addr.Addr().Is4In6() {
			t.Fatalf("%q: %+v", said, p)
		}
		if unnamed := bytes.HasPrefix(said, []byte("PROXY UNKNOWN")) || said[0] == '\r' && said[12]&15 == 0; unnamed && !p.anonymous {
			t.Fatalf("%q: %+v", said, p)
		}
		if words := textHeader.FindSubmatch(said); words != nil && !p.anonymous {
			want, err := netip.ParseAddr(string(words[2]))
			if err != nil || want.Unmap().WithZone("") != p.addr.Addr() || fmt.Sprint(p.addr.Port()) != strings.TrimLeft(string(words[4]), "0") && p.addr.Port() != 0 {
				t.Fatalf("%q: %+v", said, p)
			}
		}
	})
}

// FuzzUnproxied: a client that is no balancer is heard as it speaks, in
// whatever pieces, or not at all where it begins with a PROXY header.
func FuzzUnproxied(f *testing.F) {
	f.Add([]byte("EHLO x\r\n"), 3)
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.1 4711 25\r\n"), 1)
	f.Add([]byte("PROXYX"), 4)
	f.Add(append(append([]byte(nil), proxyproto.SIGV2...), "x"...), 5)
	f.Add([]byte("\r\n\r\nx"), 1)
	f.Fuzz(func(t *testing.T, said []byte, size int) {
		nc, _, err := identify(stream{in: bytes.NewReader(said)}, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")})
		if err != nil {
			t.Fatal(err)
		}
		heard, buffer := []byte(nil), make([]byte, min(max(size, 1), 64))
		for err == nil {
			var n int
			n, err = nc.Read(buffer)
			heard = append(heard, buffer[:n]...)
		}
		forged := bytes.HasPrefix(said, []byte("PROXY ")) || bytes.HasPrefix(said, proxyproto.SIGV2)
		if forged != errors.Is(err, errProxyHeader) || !forged && !bytes.Equal(heard, said) || forged && len(heard) >= len(proxyproto.SIGV2) {
			t.Fatalf("%q in pieces of %d is heard as %q, %v", said, len(buffer), heard, err)
		}
	})
}

// FuzzCuts: what is taken out of a header are whole fields, in order and
// apart; what is left holds no field in our name, and no field that was to go.
func FuzzCuts(f *testing.F) {
	for _, s := range []string{"Authentication-Results: mx.example.com; x\r\nSubject: y\r\n", "authentication-results:\r\n (c) mx.example.com\r\nX-Spam-Flag: YES\r\n", "X-Spam: a\r\nX-Spam: b\r\n\r\n", "A: b\r\n"} {
		f.Add([]byte(s))
	}
	s := newScrubber("mx.example.com", "node.example.com", []string{"X-Spam*", "X-Ours"})
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := mail.ParseHeader(in)
		if err != nil {
			return
		}
		var left []byte
		end := int64(0)
		for _, c := range s.cuts(h) {
			if c.Offset < end || c.Length <= 0 || c.Offset+c.Length > h.Size {
				t.Fatalf("%q: cut %+v behind %d", in, c, end)
			}
			left = append(left, in[end:c.Offset]...)
			end = c.Offset + c.Length
		}
		left = append(left, in[end:h.Size]...)
		again, err := mail.ParseHeader(left)
		if err != nil || len(s.cuts(again)) > 0 {
			t.Fatalf("%q leaves %q, of which %v must go, %v", in, left, s.cuts(again), err)
		}
		if want := len(h.Fields) - len(s.cuts(h)); len(again.Fields) != want {
			t.Fatalf("%q leaves %d fields, want %d", in, len(again.Fields), want)
		}
	})
}
