package dnsx

import (
	"container/list"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// cache keeps results until they expire. It is bounded in entries and in
// octets; what was not used for the longest time goes first.
type cache struct {
	mu         sync.Mutex
	maxEntries int
	maxBytes   int
	bytes      int
	order      *list.List // of *entry, most recently used first
	entries    map[question]*list.Element
}

type entry struct {
	question question
	result   result
	size     int
}

func newCache(maxEntries, maxBytes int) *cache {
	return &cache{maxEntries: maxEntries, maxBytes: maxBytes, order: list.New(), entries: map[question]*list.Element{}}
}

func (c *cache) get(q question, now time.Time) (result, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.entries[q]
	if !ok {
		return result{}, false
	}
	e := element.Value.(*entry)
	if !now.Before(e.result.expires) {
		c.remove(element)
		return result{}, false
	}
	c.order.MoveToFront(element)
	return e.result, true
}

func (c *cache) put(q question, res result) {
	size := sizeOf(q, res)
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.entries[q]; ok {
		c.remove(old)
	}
	if c.maxEntries < 0 || size > c.maxBytes {
		return
	}
	c.entries[q] = c.order.PushFront(&entry{q, res, size})
	c.bytes += size
	for c.order.Len() > c.maxEntries || c.bytes > c.maxBytes {
		c.remove(c.order.Back())
	}
}

func (c *cache) remove(element *list.Element) {
	e := c.order.Remove(element).(*entry)
	delete(c.entries, e.question)
	c.bytes -= e.size
}

// sizeOf estimates the memory of an entry.
func sizeOf(q question, res result) int {
	const overhead = 256 // map cell, list element, headers
	size := overhead + len(q.name)
	for _, name := range res.chain {
		size += len(name) + 16
	}
	for _, rr := range res.records {
		size += dns.Len(rr) + 64
	}
	return size
}
