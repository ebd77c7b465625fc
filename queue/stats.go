package queue

import (
	"context"
	"fmt"
	"time"

	"gatepost/mail"
)

// Stats is the state of the queue.
type Stats struct {
	Queued       int64         `json:"queued"` // recipients
	Held         int64         `json:"held"`
	Oldest       time.Time     `json:"oldest,omitzero"` // arrival of the oldest queued message
	Running      int           `json:"running"`         // attempts of this node
	Memory       int           `json:"memory"`          // recipients in memory of this node
	Delivering   bool          `json:"delivering"`      // this node has its lease
	Destinations []Destination `json:"destinations"`    // those with most mail first
}

// Destination is a destination that mail waits for.
type Destination struct {
	Dest      string    `json:"dest"`
	Queued    int64     `json:"queued"`
	Oldest    time.Time `json:"oldest,omitzero"`
	Fails     int       `json:"fails"` // failures of the site in a row
	Wake      time.Time `json:"wake,omitzero"`
	Suspended bool      `json:"suspended"`
}

// destinationsShown bounds Stats.Destinations.
const destinationsShown = 1000

// Stats reads the whole queue: not for every second.
func (q *Queue) Stats(ctx context.Context) (Stats, error) {
	s := q.memoryStats()
	err := q.o.Store.Select(ctx, func(scan func(...any) error) error {
		var state, n, oldest int64
		err := scan(&state, &n, &oldest)
		if state == stateQueued {
			s.Queued, s.Oldest = n, mail.ID(oldest).Time()
		} else {
			s.Held = n
		}
		return err
	}, "SELECT state, COUNT(*), MIN(message) FROM recipient WHERE state < 2 GROUP BY state")
	if err != nil {
		return s, fmt.Errorf("count the queue: %w", err)
	}
	err = q.o.Store.Select(ctx, func(scan func(...any) error) error {
		var d Destination
		var oldest, fails, wake, suspended int64
		err := scan(&d.Dest, &d.Queued, &oldest, &fails, &wake, &suspended)
		d.Oldest, d.Fails, d.Suspended = mail.ID(oldest).Time(), int(fails), suspended != 0
		if wake > 0 {
			d.Wake = fromMillis(wake)
		}
		s.Destinations = append(s.Destinations, d)
		return err
	}, "SELECT r.dest, r.queued, r.oldest, COALESCE(d.fails, 0), COALESCE(d.wake_at, 0), COALESCE(d.suspended, 0) FROM"+
		" (SELECT dest, COUNT(*) AS queued, MIN(message) AS oldest FROM recipient WHERE state = 0 GROUP BY dest ORDER BY queued DESC LIMIT ?) r"+
		" LEFT JOIN destination d ON d.dest = r.dest ORDER BY r.queued DESC, r.dest", destinationsShown)
	if err != nil {
		return s, fmt.Errorf("count destinations: %w", err)
	}
	return s, nil
}

func (q *Queue) memoryStats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Stats{Running: q.scheduler.running, Memory: q.scheduler.rows, Delivering: !q.scheduler.paused}
}
