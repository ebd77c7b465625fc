package dnsx

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// packed makes the seed of a reply: zone lines as the answer to a question.
func packed(f *testing.F, rcode int, lines ...string) []byte {
	f.Helper()
	m := new(dns.Msg).SetRcode(fuzzQuery(), rcode)
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			f.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	b, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	return b
}

func fuzzQuery() *dns.Msg {
	q := newQuery(question{"a.example.", dns.TypeTXT})
	q.Id = 0x1234
	return q
}

// FuzzReply: a reply that is taken answers our question, and what is read out
// of it belongs to the name at the end of a bounded chain.
func FuzzReply(f *testing.F) {
	whole := packed(f, dns.RcodeSuccess, `a.example. 60 IN TXT "v=spf1" " -all"`, `other.example. 60 IN TXT "not ours"`)
	f.Add(whole)
	f.Add(whole[:20])
	f.Add(packed(f, dns.RcodeNameError))
	f.Add(packed(f, dns.RcodeSuccess, "a.example. 60 IN CNAME b.example.", `b.example. 4294967295 IN TXT "x"`))
	f.Add(packed(f, dns.RcodeSuccess, "a.example. 60 IN CNAME b.example.", "b.example. 60 IN CNAME a.example."))
	f.Add(packed(f, dns.RcodeSuccess, `A.EXAMPLE. 60 IN TXT "case"`, `a.example. 60 CH TXT "class"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		query := fuzzQuery()
		reply, err := readReply(b, query)
		if err != nil {
			return
		}
		if reply.Id != query.Id || !strings.EqualFold(reply.Question[0].Name, "a.example.") || reply.Question[0].Qtype != dns.TypeTXT {
			t.Fatalf("taken: %v", reply)
		}
		w := walk{name: "a.example.", qtype: dns.TypeTXT, ttl: 1 << 40}
		_, res := w.read(reply)
		if len(res.records) > maxRecords || len(w.chain) > maxChain+1 || res.kind != "" && len(res.records) > 0 {
			t.Fatalf("%d records behind %d aliases, %s", len(res.records), len(w.chain), res.kind)
		}
		for _, rr := range res.records {
			if h := rr.Header(); h.Rrtype != dns.TypeTXT || h.Class != dns.ClassINET || !strings.EqualFold(h.Name, w.name) || res.ttl > seconds(h.Ttl) {
				t.Fatalf("%v counts for %s, kept %s", rr, w.name, res.ttl)
			}
		}
	})
}

// FuzzText: octets of a text record come out as they went onto the wire, in
// whatever strings they were cut.
func FuzzText(f *testing.F) {
	for _, s := range []string{"v=spf1 -all", `a"b\c`, "\x00\xff\t", `\065`, "ü", strings.Repeat("x", 300)} {
		f.Add([]byte(s), 7)
	}
	f.Fuzz(func(t *testing.T, octets []byte, size int) {
		size = min(max(size, 1), 255)
		if len(octets) == 0 || len(octets) > 8<<10 {
			return
		}
		var wire []byte // RFC 1035 section 3.3.14
		for part := octets; len(part) > 0; {
			n := min(size, len(part))
			wire = append(append(wire, byte(n)), part[:n]...)
			part = part[n:]
		}
		header := &dns.RFC3597{Hdr: dns.RR_Header{Name: "a.example.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}}
		record := make([]byte, 32+len(wire))
		n, err := dns.PackRR(header, record, 0, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		record = append(record[:n], wire...)
		record[n-2], record[n-1] = byte(len(wire)>>8), byte(len(wire))
		rr, _, err := dns.UnpackRR(record, 0)
		if err != nil {
			t.Fatalf("%x: %v", record, err)
		}
		if got := unescapeStrings(rr.(*dns.TXT).Txt); !bytes.Equal([]byte(got), octets) {
			t.Fatalf("%q comes out as %q", octets, got)
		}
	})
}

// FuzzName: a name has one spelling, which is its own spelling and that of a
// reply about it.
func FuzzName(f *testing.F) {
	for _, s := range []string{"Example.COM.", "bücher.example", `a\.b.example`, "a b.example", "a..b", ".", "\xff.example", strings.Repeat("x", 64) + ".example", "_dmarc.a.example", `"();@\$`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		wire, ok := wireName(name)
		if !ok {
			return
		}
		if again, ok := canonical(wire); !ok || again != wire {
			t.Fatalf("%q is %q, then %q", name, wire, again)
		}
		m := new(dns.Msg)
		m.SetQuestion(wire, dns.TypeA)
		b, err := m.Pack()
		if err != nil || len(b) > 12+255+4 {
			t.Fatalf("%q is %q, which cannot be asked: %d octets, %v", name, wire, len(b), err)
		}
		var back dns.Msg
		if err := back.Unpack(b); err != nil || !sameName(back.Question[0].Name, wire) {
			t.Fatalf("%q is %q, asked as %q, %v", name, wire, back.Question[0].Name, err)
		}
	})
}

// tcp is a connection on which the server has said all that it will say.
type tcp struct {
	net.Conn
	in *bytes.Reader
}

func (c tcp) Read(p []byte) (int, error)  { return c.in.Read(p) }
func (c tcp) Write(p []byte) (int, error) { return len(p), nil }

// FuzzTCP: of a stream the one message counts whose length stands before it,
// if it answers the question and is whole (RFC 1035 section 4.2.2).
func FuzzTCP(f *testing.F) {
	whole := packed(f, dns.RcodeSuccess, `a.example. 60 IN TXT "v=spf1 -all"`)
	framed := func(length int, b []byte) []byte { return append([]byte{byte(length >> 8), byte(length)}, b...) }
	f.Add(framed(len(whole), whole))
	f.Add(framed(len(whole)+1, whole))
	f.Add(framed(len(whole)-1, whole))
	f.Add(framed(0, whole))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, said []byte) {
		query := fuzzQuery()
		reply, err := converseTCP(tcp{in: bytes.NewReader(said)}, []byte("question"), query)
		if err != nil {
			return
		}
		length := int(said[0])<<8 | int(said[1])
		want, err := readReply(said[2:2+length], query)
		if err != nil || reply.Truncated || reply.String() != want.String() {
			t.Fatalf("%x: %v, want %v, %v", said, reply, want, err)
		}
	})
}
