package signing

import (
	"container/list"
	"context"
	"sync"
	"time"

	"gatepost/mail"
)

// defaultCached signatures are about two megabytes.
const defaultCached = 4096

// cacheKey names a signature; form and selectors stand in it because each
// makes it another one.
type cacheKey struct {
	id   mail.ID
	form string
	keys string
}

// cache keeps the signatures made last, and lets one message be signed once
// when many deliveries want it at the same time.
type cache struct {
	limit int

	mu      sync.Mutex
	order   *list.List // of *cached, the last used first
	entries map[cacheKey]*list.Element
	running map[cacheKey]chan struct{} // closed when the work is done
}

type cached struct {
	key  cacheKey
	made signatures
}

func newCache(limit int) *cache {
	if limit <= 0 {
		limit = defaultCached
	}
	return &cache{limit: limit, order: list.New(), entries: map[cacheKey]*list.Element{}, running: map[cacheKey]chan struct{}{}}
}

// get gives what is kept or does the work. While someone else does it, it
// waits; where that fails, it tries itself.
func (c *cache) get(ctx context.Context, key cacheKey, now time.Time, work func() (signatures, error)) (signatures, error) {
	for {
		made, ok, wait := c.look(key, now)
		switch {
		case ok:
			return made, nil
		case wait == nil:
			made, err := work()
			c.finish(key, made, err)
			return made, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return signatures{}, ctx.Err()
		}
	}
}

// look finds what is kept. Without it, wait is the channel of whoever works on
// it; nil: the caller does now.
func (c *cache) look(key cacheKey, now time.Time) (made signatures, ok bool, wait chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil {
		made = e.Value.(*cached).made
		if made.until.IsZero() || now.Before(made.until) {
			c.order.MoveToFront(e)
			return made, true, nil
		}
		c.drop(e)
	}
	if wait = c.running[key]; wait == nil {
		c.running[key] = make(chan struct{})
	}
	return made, false, wait
}

func (c *cache) finish(key cacheKey, made signatures, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.running[key])
	delete(c.running, key)
	if err != nil {
		return
	}
	c.entries[key] = c.order.PushFront(&cached{key, made})
	if c.order.Len() > c.limit {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(e *list.Element) {
	c.order.Remove(e)
	delete(c.entries, e.Value.(*cached).key)
}
