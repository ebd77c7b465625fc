package delivery

import (
	"context"
	"sync"
	"time"

	"gatepost/gateway/delivery/smtpc"
)

// link is one connection to a target.
type link struct {
	*smtpc.Conn
	target   *target
	born     time.Time
	idle     time.Time // since when it is kept
	messages int       // transactions begun
}

// reused tells whether the connection had carried another message before the
// last one.
func (l *link) reused() bool { return l.messages > 1 }

// key tells which connections can stand for each other: those to the same
// address under the same rules, checked against the same name.
type key struct{ hop, host, address string }

func (t *target) key() key { return key{t.hop.name, t.host, t.address} }

// pool bounds the number of connections and keeps idle ones for the next
// message. A connection, idle or not, holds one slot.
type pool struct {
	slots    chan struct{}
	idleTime time.Duration
	now      func() time.Time
	quits    sync.WaitGroup

	mu      sync.Mutex
	idle    map[key][]*link // the longest idle first
	waiting int             // callers that wait for a slot
	closed  bool
}

func newPool(size int, idleTime time.Duration, now func() time.Time) *pool {
	return &pool{slots: make(chan struct{}, size), idleTime: idleTime, now: now, idle: map[key][]*link{}}
}

// reserve waits for the right to open a connection. An idle connection to
// elsewhere makes room.
func (p *pool) reserve(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	default:
	}
	p.mu.Lock()
	p.waiting++
	oldest := p.oldest()
	p.mu.Unlock()
	if oldest != nil {
		p.quit(oldest)
	}
	defer func() {
		p.mu.Lock()
		p.waiting--
		p.mu.Unlock()
	}()
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// free gives a slot back.
func (p *pool) free() { <-p.slots }

// oldest takes out the connection that is idle for the longest time.
func (p *pool) oldest() *link {
	var found *link
	for _, links := range p.idle {
		if found == nil || links[0].idle.Before(found.idle) {
			found = links[0]
		}
	}
	if found != nil {
		p.remove(found.target.key(), 0)
	}
	return found
}

func (p *pool) remove(k key, i int) {
	links := append(p.idle[k][:i], p.idle[k][i+1:]...)
	if p.idle[k] = links; len(links) == 0 {
		delete(p.idle, k)
	}
}

// has tells whether a connection to the target is kept.
func (p *pool) has(k key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle[k]) > 0
}

// take gives the connection that was used last, for the others may be
// forgotten by the server soon.
func (p *pool) take(k key) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := len(p.idle[k]); n > 0; n = len(p.idle[k]) {
		l := p.idle[k][n-1]
		p.remove(k, n-1)
		if !p.tooOld(l) {
			return l
		}
		p.quit(l)
	}
	return nil
}

func (p *pool) tooOld(l *link) bool {
	now := p.now()
	return now.Sub(l.born) >= l.target.hop.maxAge || now.Sub(l.idle) >= p.idleTime
}

// put keeps a connection, or ends it when it is too old or its slot is wanted.
func (p *pool) put(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.idle = p.now()
	if p.closed || p.waiting > 0 || p.tooOld(l) {
		p.quit(l)
		return
	}
	k := l.target.key()
	p.idle[k] = append(p.idle[k], l)
}

// quit says goodbye in the background and gives the slot back.
func (p *pool) quit(l *link) {
	p.quits.Go(func() {
		l.Quit()
		p.free()
	})
}

// drop ends a connection at once.
func (p *pool) drop(l *link) {
	_ = l.Close() // nothing is left to lose
	p.free()
}

// expire ends what was kept long enough.
func (p *pool) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, links := range p.idle {
		kept := links[:0]
		for _, l := range links {
			if p.tooOld(l) {
				p.quit(l)
				continue
			}
			kept = append(kept, l)
		}
		if p.idle[k] = kept; len(kept) == 0 {
			delete(p.idle, k)
		}
	}
}

// flush ends what is kept to a target: one of them was found dead.
func (p *pool) flush(k key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.idle[k] {
		p.quit(l)
	}
	delete(p.idle, k)
}

// close ends all that is kept and waits until every goodbye is said.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for k, links := range p.idle {
		for _, l := range links {
			p.quit(l)
		}
		delete(p.idle, k)
	}
	p.mu.Unlock()
	p.quits.Wait()
}
