package wire

import (
	"fmt"
	"time"
)

// rateGrace is how long a client may wait before MinRate counts.
const rateGrace = 30 * time.Second

// pace watches how fast a message comes in. Only time spent waiting for the
// client counts, not what the gateway itself takes.
type pace struct {
	until  time.Time // Settings.Data
	waited time.Duration
	octets int64
}

// read waits for more octets of a message.
func (c *Conn) read(p *pace) error {
	k := c.link
	start := time.Now()
	earned := time.Duration(float64(p.octets) / float64(k.MinRate) * float64(time.Second))
	slow := start.Add(rateGrace + earned - p.waited)
	by := earliest(start.Add(k.Command), p.until, slow)
	before := len(k.in.unread())
	err := k.fill(by, false)
	p.waited += time.Since(start)
	p.octets += int64(len(k.in.unread()) - before)
	if err != nil {
		return fmt.Errorf("message cut off after %d octets: %w", p.octets, err)
	}
	return nil
}

func earliest(times ...time.Time) time.Time {
	first := times[0]
	for _, t := range times[1:] {
		if t.Before(first) {
			first = t
		}
	}
	return first
}
