// Package memo keeps what was made last, so that the signature of a message is
// made once, however many deliveries want it and at whatever time.
package memo

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// Memo keeps values by key and lets one be made once when many want it at the
// same time. It is safe for concurrent use.
type Memo[K comparable, V any] struct {
	limit int

	mu      sync.Mutex
	order   *list.List // of *kept, the last used first
	entries map[K]*list.Element
	running map[K]chan struct{} // closed when the work is done
}

type kept[K comparable, V any] struct {
	key   K
	made  V
	until time.Time
}

// New makes a Memo of at most limit values.
func New[K comparable, V any](limit int) *Memo[K, V] {
	return &Memo[K, V]{limit: limit, order: list.New(), entries: map[K]*list.Element{}, running: map[K]chan struct{}{}}
}

// Work makes a value and says when to make it afresh; the zero time: never.
type Work[V any] = func() (made V, until time.Time, err error)

// Get gives what is kept or does the work. While someone else does it, it
// waits; where that fails, it tries itself.
func (m *Memo[K, V]) Get(ctx context.Context, key K, now time.Time, work Work[V]) (V, error) {
	for {
		made, ok, wait := m.look(key, now)
		switch {
		case ok:
			return made, nil
		case wait == nil:
			made, until, err := work()
			m.finish(kept[K, V]{key, made, until}, err)
			return made, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return made, ctx.Err()
		}
	}
}

// look finds what is kept. Without it, wait is the channel of whoever works on
// it; nil: the caller does now.
func (m *Memo[K, V]) look(key K, now time.Time) (made V, ok bool, wait chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.entries[key]; e != nil {
		k := e.Value.(kept[K, V])
		if k.until.IsZero() || now.Before(k.until) {
			m.order.MoveToFront(e)
			return k.made, true, nil
		}
		m.drop(e)
	}
	if wait = m.running[key]; wait == nil {
		m.running[key] = make(chan struct{})
	}
	return made, false, wait
}

func (m *Memo[K, V]) finish(k kept[K, V], err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.running[k.key])
	delete(m.running, k.key)
	if err != nil {
		return
	}
	m.entries[k.key] = m.order.PushFront(k)
	if m.order.Len() > m.limit {
		m.drop(m.order.Back())
	}
}

func (m *Memo[K, V]) drop(e *list.Element) {
	m.order.Remove(e)
	delete(m.entries, e.Value.(kept[K, V]).key)
}
