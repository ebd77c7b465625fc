package delivery

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"gatepost/dnsx"
	"gatepost/mail"
)

// maxTargets is how many addresses one attempt goes to.
const maxTargets = 10

// Prefixes of a destination.
const (
	destHop = "hop:"
	destMX  = "mx:"
)

// target is one address that a message can be handed to.
type target struct {
	hop     *hop
	host    string     // name for TLS and for people
	addr    netip.Addr // zero for a local socket
	address string     // for the dialer
	tls     bool       // from the first octet
	lmtp    bool
	rank    int // targets of one rank are as good as each other
}

// network is the dialer's name for the way there.
func (t *target) network() string {
	if !t.addr.IsValid() {
		return "unix"
	}
	return "tcp"
}

// remote names the target in a Status.
func (t *target) remote() string {
	if !t.addr.IsValid() {
		return t.address
	}
	_, port, _ := strings.Cut(t.address[strings.LastIndexByte(t.address, ']')+1:], ":")
	return t.host + "[" + t.addr.String() + "]:" + port
}

// targets finds the addresses of a destination, best first.
func (d *Deliverer) targets(ctx context.Context, job *Job) ([]*target, *failure) {
	s := search{d: d, ctx: ctx, origin: job.Message.Origin.Addr.Unmap()}
	if name, ok := strings.CutPrefix(job.Dest, destHop); ok {
		h := d.hops[name]
		if h == nil {
			return nil, &failure{cause: causeUnknownHop, detail: name}
		}
		s.nextHop(h)
	} else if domain, ok := strings.CutPrefix(job.Dest, destMX); ok {
		s.rank = -1
		s.exchangers(d.mx, domain)
	} else {
		return nil, &failure{cause: causeUnknownHop, detail: job.Dest}
	}
	if len(s.found) == 0 {
		return nil, s.verdict()
	}
	if !job.Probe {
		d.preferKept(s.found)
	}
	return s.found[:min(len(s.found), maxTargets)], nil
}

// preferKept puts targets with a kept connection before others of their rank.
func (d *Deliverer) preferKept(found []*target) {
	kept := make(map[*target]bool, len(found))
	for _, t := range found {
		kept[t] = d.pool.has(t.key())
	}
	slices.SortStableFunc(found, func(a, b *target) int {
		switch {
		case a.rank != b.rank:
			return a.rank - b.rank
		case kept[a] == kept[b]:
			return 0
		case kept[a]:
			return -1
		}
		return 1
	})
}

// search collects the targets of one destination.
type search struct {
	d        *Deliverer
	ctx      context.Context
	origin   netip.Addr // of the client that gave us the message
	rank     int
	found    []*target
	failures []*failure
}

// verdict is why there are no targets: a temporary reason if there is one.
func (s *search) verdict() *failure {
	var chosen *failure
	for _, f := range s.failures {
		if chosen == nil || f.temporary() && !chosen.temporary() {
			chosen = f
		}
	}
	if chosen == nil {
		return &failure{cause: causeNoHost}
	}
	return chosen
}

func (s *search) fail(c cause, detail string, err error) {
	s.failures = append(s.failures, &failure{cause: c, detail: detail, err: err})
}

// nextHop goes through the urls of a configured next hop.
func (s *search) nextHop(h *hop) {
	urls := slices.Clone(h.urls)
	if h.random {
		s.d.options.Shuffle(len(urls), func(i, j int) { urls[i], urls[j] = urls[j], urls[i] })
	}
	for _, u := range urls {
		switch {
		case u.isSocket():
			s.found = append(s.found, &target{hop: h, host: "localhost", address: u.host, lmtp: true, rank: s.rank})
		case u.scheme == schemeMX:
			s.exchangers(h, u.host)
		default:
			s.host(h, u)
		}
		if !h.random {
			s.rank++
		}
	}
}

// host adds the addresses of a host that is named in a url.
func (s *search) host(h *hop, u hopURL) {
	addrs, err := s.addresses(u.host)
	if err != nil {
		// The name stands in our own configuration: that it does not resolve
		// is trouble of this site, never a reason to bounce.
		s.fail(causeHopDNS, u.host, err)
		return
	}
	s.add(target{hop: h, host: u.host, tls: u.scheme == schemeSMTPS, lmtp: u.scheme == schemeLMTP, rank: s.rank}, addrs, u.port)
}

// addresses looks a host up. An address stands for itself, and "localhost" is
// never asked of the DNS (RFC 6761 section 6.3).
func (s *search) addresses(host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap()}, nil
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
	}
	answer, err := s.d.options.Resolver.Addrs(s.ctx, host)
	return answer.Records, err
}

// add makes targets of the addresses that mail may go to: not back to the
// host that the message came from. On the loopback network an address tells
// nothing about the host: a content filter gives mail back to where it came
// from, and a local client is not the local server.
func (s *search) add(t target, addrs []netip.Addr, port uint16) {
	for _, addr := range addrs {
		addr = addr.Unmap()
		switch {
		case addr.IsUnspecified() || addr.IsMulticast():
			s.fail(causeNoHost, t.host, nil)
			continue
		case addr == s.origin && !addr.IsLoopback():
			s.fail(causeOrigin, t.host, nil)
			continue
		case !s.d.hasSource(addr):
			s.fail(causeNoSource, t.host, nil)
			continue
		}
		one := t
		one.addr, one.address = addr, joinPort(addr.String(), port)
		s.found = append(s.found, &one)
	}
}

// exchangers adds the hosts of a domain by RFC 5321 section 5.1.
func (s *search) exchangers(h *hop, domain string) {
	if addr, ok := parseLiteral(domain); ok {
		host := addr.String()
		s.group(h, []string{host}, map[string][]netip.Addr{host: {addr}})
		return
	}
	answer, err := s.d.options.Resolver.MX(s.ctx, domain)
	switch {
	case dnsx.IsNXDomain(err):
		s.fail(causeNoDomain, domain, nil)
	case dnsx.IsNotFound(err): // the domain itself is the host
		s.groups(h, []dnsx.MX{{Host: domain}})
	case err != nil:
		s.fail(causeDNS, domain, err)
	case len(answer.Records) == 1 && answer.Records[0].IsNull(): // RFC 7505 section 3
		s.fail(causeNullMX, domain, nil)
	default:
		s.groups(h, answer.Records)
	}
}

// groups goes through hosts of equal preference together, and stops where one
// of them is this gateway: what is not better than us would only send the
// message back (RFC 5321 section 5.1).
func (s *search) groups(h *hop, records []dnsx.MX) {
	slices.SortStableFunc(records, func(a, b dnsx.MX) int { return int(a.Preference) - int(b.Preference) })
	for len(records) > 0 && len(s.found) < maxTargets {
		n := 1
		for n < len(records) && records[n].Preference == records[0].Preference {
			n++
		}
		var hosts []string
		for _, r := range records[:n] {
			if host := strings.ToLower(strings.TrimSuffix(r.Host, ".")); host != "" {
				hosts = append(hosts, host)
			}
		}
		if !s.group(h, hosts, s.resolve(hosts)) {
			return
		}
		records = records[n:]
	}
}

// resolve finds the addresses of hosts.
func (s *search) resolve(hosts []string) map[string][]netip.Addr {
	addrs := map[string][]netip.Addr{}
	for _, host := range hosts[:min(len(hosts), maxTargets)] {
		answer, err := s.d.options.Resolver.Addrs(s.ctx, host)
		switch {
		case dnsx.IsNotFound(err):
			s.fail(causeNoHost, host, nil)
		case err != nil:
			s.fail(causeDNS, host, err)
		}
		addrs[host] = answer.Records
	}
	return addrs
}

// group adds hosts of equal preference in random order, unless one of them is us.
func (s *search) group(h *hop, hosts []string, addrs map[string][]netip.Addr) bool {
	for _, host := range hosts {
		if s.d.isOwn(host, addrs[host]) {
			s.fail(causeLoop, host, nil)
			return false
		}
	}
	s.d.options.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	s.rank++
	for _, host := range hosts {
		s.add(target{hop: h, host: host, rank: s.rank}, addrs[host], s.d.options.MXPort)
	}
	return true
}

// isOwn tells whether a host is this gateway.
func (d *Deliverer) isOwn(host string, addrs []netip.Addr) bool {
	if d.ownNames[host] {
		return true
	}
	return slices.ContainsFunc(addrs, func(a netip.Addr) bool { return d.own[a.Unmap()] })
}

// parseLiteral reads the address of a destination such as "[192.0.2.1]".
func parseLiteral(s string) (netip.Addr, bool) {
	var d mail.Domain
	if err := d.UnmarshalText([]byte(s)); err != nil || !d.IsLiteral() {
		return netip.Addr{}, false
	}
	inner := strings.TrimPrefix(strings.Trim(d.String(), "[]"), "IPv6:")
	addr, err := netip.ParseAddr(inner)
	return addr, err == nil
}
