package forensic

import (
	"sync"
	"time"

	"gatepost/auth/dmarc"
	"gatepost/mail"
)

// maxKnown bounds the domains and likenesses that are remembered. Beyond it
// nothing new is reported until the hour or day is over.
const maxKnown = 10_000

// limits counts what is reported. What a restart forgets, the list of
// addresses still knows.
type limits struct {
	mu      sync.Mutex
	hour    time.Time
	sent    int            // in the hour
	seen    map[string]int // likenesses of the hour, and how often
	carried map[string]int // those of the hour before that were not told
	day     time.Time
	domains map[string]int // reports of the day, by organization
}

func newLimits() *limits {
	return &limits{seen: map[string]int{}, domains: map[string]int{}}
}

// admit tells whether a failure may be reported, and how many like it the
// report is about; else result says why not.
func (l *limits) admit(domain mail.Domain, likeness string, now time.Time, s Settings) (incidents int, result string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn(now.UTC())
	org := dmarc.Registered(domain.String()) // names below cost nothing
	if n, known := l.seen[likeness]; known {
		l.seen[likeness] = n + 1
		return 0, Repeated
	}
	if l.sent >= s.PerHour || l.domains[org] >= s.PerDomain || len(l.seen) >= maxKnown || len(l.domains) >= maxKnown {
		return 0, Limited
	}
	l.sent++
	l.domains[org]++
	l.seen[likeness] = 0
	return 1 + l.carried[likeness], ""
}

// turn begins a new hour or day.
func (l *limits) turn(now time.Time) {
	if hour := now.Truncate(time.Hour); !hour.Equal(l.hour) {
		l.hour, l.sent, l.carried, l.seen = hour, 0, l.seen, map[string]int{}
	}
	if day := now.Truncate(24 * time.Hour); !day.Equal(l.day) {
		l.day, l.domains = day, map[string]int{}
	}
}
