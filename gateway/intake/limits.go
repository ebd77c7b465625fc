package intake

import (
	"net/netip"
	"sync"
	"time"
)

// connections counts the connections of one listener, in all and per client.
type connections struct {
	mu      sync.Mutex
	total   int
	clients map[netip.Prefix]int
}

// enter counts a connection in, if fewer than limit are there.
func (c *connections) enter(limit int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total >= limit {
		return false
	}
	c.total++
	return true
}

// leave counts it out.
func (c *connections) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
}

// enterClient counts a connection of one client in.
func (c *connections) enterClient(client netip.Prefix, limit int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clients[client] >= limit {
		return false
	}
	if c.clients == nil {
		c.clients = map[netip.Prefix]int{}
	}
	c.clients[client]++
	return true
}

// leaveClient counts it out.
func (c *connections) leaveClient(client netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clients[client]--; c.clients[client] <= 0 {
		delete(c.clients, client)
	}
}

// clientPrefix is what counts as one client: an IPv4 address, or an IPv6
// network of the given length, for one subscriber holds all of it.
func clientPrefix(addr netip.Addr, v6bits int) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = v6bits
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.PrefixFrom(addr, addr.BitLen())
	}
	return p
}

const (
	failureWindow  = time.Hour
	failureClients = 10_000
)

// failures counts failed authentications per client and hour, over all
// sessions and listeners. What it holds is bounded.
type failures struct {
	now func() time.Time

	mu      sync.Mutex
	clients map[netip.Prefix]failureCount
}

type failureCount struct {
	n     int
	since time.Time
}

func newFailures(now func() time.Time) *failures {
	return &failures{now: now, clients: map[netip.Prefix]failureCount{}}
}

// count gives the failures of the client in its current hour.
func (f *failures) count(client netip.Prefix) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.clients[client]
	if f.now().Sub(c.since) >= failureWindow {
		return 0
	}
	return c.n
}

// add counts one more.
func (f *failures) add(client netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	c, ok := f.clients[client]
	if !ok && len(f.clients) >= failureClients {
		f.makeRoom(now)
	}
	if now.Sub(c.since) >= failureWindow {
		c = failureCount{since: now}
	}
	c.n++
	f.clients[client] = c
}

// makeRoom forgets the clients whose hour is over; where there are none, the
// one with the fewest failures, for it is not the one that guesses.
func (f *failures) makeRoom(now time.Time) {
	var fewest netip.Prefix
	least := -1
	for client, c := range f.clients {
		switch {
		case now.Sub(c.since) >= failureWindow:
			delete(f.clients, client)
		case least < 0 || c.n < least:
			fewest, least = client, c.n
		}
	}
	if len(f.clients) >= failureClients {
		delete(f.clients, fewest)
	}
}
