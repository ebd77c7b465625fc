package zone

import (
	"fmt"
	"net"
	"sync"

	"github.com/miekg/dns"
)

// Server serves DNS over UDP and TCP on one address.
type Server struct {
	address string
	servers []*dns.Server
	wait    sync.WaitGroup
}

// NewServer serves zones on an address such as "127.0.0.1:0".
func NewServer(address string, zones ...*Zone) (*Server, error) {
	return Listen(address, Zones(zones))
}

// Listen serves a handler on an address over UDP and TCP.
func Listen(address string, handler dns.Handler) (*Server, error) {
	packets, listener, err := listenBoth(address)
	if err != nil {
		return nil, fmt.Errorf("serving DNS: %w", err)
	}
	s := &Server{address: listener.Addr().String()}
	var started sync.WaitGroup
	for _, server := range []*dns.Server{{PacketConn: packets}, {Listener: listener}} {
		started.Add(1)
		server.Handler = handler
		server.NotifyStartedFunc = started.Done
		s.servers = append(s.servers, server)
		s.wait.Go(func() { _ = server.ActivateAndServe() }) // ends with nil at Close
	}
	started.Wait()
	return s, nil
}

// listenBoth opens the same port for UDP and TCP; a port of the system's
// choice may be taken on the other side, so it tries some.
func listenBoth(address string) (net.PacketConn, net.Listener, error) {
	const tries = 10
	var last error
	for range tries {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return nil, nil, err
		}
		packets, err := net.ListenPacket("udp", listener.Addr().String())
		if err == nil {
			return packets, listener, nil
		}
		last = err
		listener.Close()
	}
	return nil, nil, last
}

// Addr is the address served, with the port that the system chose.
func (s *Server) Addr() string { return s.address }

// Close stops serving and waits for answers under way.
func (s *Server) Close() error {
	var first error
	for _, server := range s.servers {
		if err := server.Shutdown(); err != nil && first == nil {
			first = err
		}
	}
	s.wait.Wait()
	return first
}

// ServeDNS makes Zones a handler.
func (zs Zones) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	Send(w, query, zs.Answer(query))
}

// Send writes a reply, truncated to what the asker can take (RFC 6891 section 6.2.3).
func Send(w dns.ResponseWriter, query, reply *dns.Msg) {
	size := dns.MaxMsgSize
	if OverUDP(w) {
		size = dns.MinMsgSize
		if opt := query.IsEdns0(); opt != nil {
			size = max(size, int(opt.UDPSize()))
		}
	}
	if opt := query.IsEdns0(); opt != nil {
		reply.SetEdns0(uint16(dns.DefaultMsgSize), opt.Do())
	}
	reply.Compress = true
	reply.Truncate(size)
	_ = w.WriteMsg(reply) // the asker is gone: nobody to tell
}

// OverUDP tells how a query arrived.
func OverUDP(w dns.ResponseWriter) bool { return w.LocalAddr().Network() == "udp" }
