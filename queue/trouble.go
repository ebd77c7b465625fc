package queue

import (
	"sync"
	"time"
)

// sayAgain is how often the log repeats what goes on failing. In an outage
// hundreds of attempts fail at once, and go on doing so.
const sayAgain = 30 * time.Second

// quiet remembers what the log said.
type quiet struct {
	mu     sync.Mutex
	said   map[string]time.Time
	unsaid map[string]int
}

// trouble logs what failed and will be tried again.
func (q *Queue) trouble(what string, err error) {
	now := q.o.Now()
	q.quiet.mu.Lock()
	if q.quiet.said == nil {
		q.quiet.said, q.quiet.unsaid = map[string]time.Time{}, map[string]int{}
	}
	if last, ok := q.quiet.said[what]; ok && now.Sub(last) < sayAgain {
		q.quiet.unsaid[what]++
		q.quiet.mu.Unlock()
		return
	}
	unsaid := q.quiet.unsaid[what]
	q.quiet.said[what], q.quiet.unsaid[what] = now, 0
	q.quiet.mu.Unlock()
	q.o.Logger.Warn("queue: failed, will try again", "what", what, "error", err, "repeated", unsaid)
}
