package intake

import "sync"

// messages counts the messages being received. go-smtp runs Data beside its
// connection and does not wait for it, so that this does.
type messages struct {
	mu     sync.Mutex
	n      int
	closed bool
	idle   chan struct{} // closed when closed and n is zero
}

func newMessages() *messages { return &messages{idle: make(chan struct{})} }

// enter counts one in, unless close was called.
func (m *messages) enter() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.n++
	return true
}

// leave counts it out.
func (m *messages) leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n--
	if m.closed && m.n == 0 {
		close(m.idle)
	}
}

// close lets no more in, and waits for those that are there.
func (m *messages) close() {
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		if m.n == 0 {
			close(m.idle)
		}
	}
	m.mu.Unlock()
	<-m.idle
}
