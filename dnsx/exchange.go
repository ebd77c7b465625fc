package dnsx

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/miekg/dns"
)

const (
	// udpSize is offered by EDNS0: no fragments on any usual path (RFC 9715 section 3).
	udpSize = 1232
	// maxStrays is how many datagrams that do not answer the question are
	// passed over in one exchange: either a broken server or somebody who guesses.
	maxStrays = 50
)

// newQuery makes a question with a random id. AD asks a validating server to
// say what it proved without sending signatures (RFC 6840 section 5.7).
func newQuery(q question) *dns.Msg {
	m := new(dns.Msg)
	m.Id = dns.Id()
	m.RecursionDesired = true
	m.AuthenticatedData = true
	m.Question = []dns.Question{{Name: q.name, Qtype: q.qtype, Qclass: dns.ClassINET}}
	return m.SetEdns0(udpSize, false)
}

// exchange sends a query over a socket of its own, so that the system chooses
// a random port (RFC 5452 section 4.5), and waits for the reply to it.
func exchange(ctx context.Context, network, address string, query *dns.Msg) (*dns.Msg, error) {
	packed, err := query.Pack()
	if err != nil {
		return nil, fmt.Errorf("packing the question: %w", err)
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	converse := converseUDP
	if network == "tcp" {
		converse = converseTCP
	}
	reply, err := converse(conn, packed, query)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return reply, err
}

// converseUDP reads until the datagram that answers the query: others may be
// late, or forged.
func converseUDP(conn net.Conn, packed []byte, query *dns.Msg) (*dns.Msg, error) {
	if _, err := conn.Write(packed); err != nil {
		return nil, fmt.Errorf("asking over UDP: %w", err)
	}
	buffer := make([]byte, 4096)
	for range maxStrays {
		n, err := conn.Read(buffer)
		if err != nil {
			return nil, fmt.Errorf("waiting for an answer over UDP: %w", err)
		}
		if reply, err := readReply(buffer[:n], query); err == nil {
			return reply, nil
		}
	}
	return nil, fmt.Errorf("%d datagrams that do not answer the question", maxStrays)
}

// converseTCP exchanges messages with their length before them (RFC 1035 section 4.2.2).
func converseTCP(conn net.Conn, packed []byte, query *dns.Msg) (*dns.Msg, error) {
	framed := binary.BigEndian.AppendUint16(nil, uint16(len(packed)))
	if _, err := conn.Write(append(framed, packed...)); err != nil {
		return nil, fmt.Errorf("asking over TCP: %w", err)
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, fmt.Errorf("waiting for an answer over TCP: %w", err)
	}
	buffer := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, buffer); err != nil {
		return nil, fmt.Errorf("reading an answer over TCP: %w", err)
	}
	reply, err := readReply(buffer, query)
	if err == nil && reply.Truncated {
		err = errors.New("answer over TCP is truncated")
	}
	return reply, err
}

// readReply unpacks a reply and checks that it belongs to the query (RFC 5452
// section 9.1). A truncated one need not be whole.
func readReply(packed []byte, query *dns.Msg) (*dns.Msg, error) {
	reply := new(dns.Msg)
	if err := reply.Unpack(packed); err != nil && !reply.Truncated {
		return nil, fmt.Errorf("unreadable answer: %w", err)
	}
	if reply.Id != query.Id || !reply.Response || reply.Opcode != dns.OpcodeQuery || len(reply.Question) != 1 {
		return nil, errors.New("not the answer to our question")
	}
	asked, got := query.Question[0], reply.Question[0]
	if asked.Qtype != got.Qtype || asked.Qclass != got.Qclass || !sameName(asked.Name, got.Name) {
		return nil, errors.New("answer to another question")
	}
	return reply, nil
}
