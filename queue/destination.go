package queue

import "time"

// destination is a destination with mail in memory, or a failing one that the
// scheduler remembers.
type destination struct {
	name    string
	window  int // attempts at once
	running int
	rows    int // in memory, promised ones too
	waiting int // parcels in the senders' lines

	ring     fifo[*sender] // senders with waiting parcels, the next one first
	bySender map[int64]*sender

	fails     int       // failures of the site in a row; over 0: in back-off, or probed
	turn      int       // grows when fails changes: older attempts say nothing new
	losses    int       // lost sessions in a row
	wakeAt    time.Time // end of the back-off that we began
	granted   bool      // the back-off is over and the probe is ours
	suspended bool

	more      bool // the store may hold rows that are due
	refilling bool
	promised  int // rows to the refill
	inReady   bool
	inHungry  bool
	inFailing bool
}

// sender is the line of one sender at a destination.
type sender struct {
	key     int64
	parcels fifo[*parcel]
	rows    int
}

// mayStart tells whether an attempt may begin now; a failing destination is
// probed by one at a time.
func (d *destination) mayStart() bool {
	window := d.window
	if d.fails > 0 {
		window = 1
	}
	return d.waiting > 0 && d.running < window && !d.suspended
}

// wants tells whether rows should be read from the store.
func (d *destination) wants(perDest int) bool {
	if !d.more || d.refilling || d.suspended {
		return false
	}
	if d.fails > 0 {
		return d.granted && d.rows == 0
	}
	return d.rows <= perDest/4
}

// forgettable tells whether d is of no more use in memory. One in trouble is
// kept while it is remembered, and one that stands in a line until it is taken
// out there.
func (d *destination) forgettable() bool {
	if d.rows > 0 || d.running > 0 || d.refilling || d.suspended || d.inReady || d.inHungry {
		return false
	}
	if d.fails > 0 || d.losses > 0 {
		return !d.inFailing
	}
	return !d.more
}

func (d *destination) add(p *parcel) {
	line := d.bySender[p.sender]
	if line == nil {
		line = &sender{key: p.sender}
		d.bySender[p.sender] = line
		d.ring.push(line)
	}
	line.parcels.push(p)
	line.rows += len(p.rows)
	d.waiting++
}

// next takes the first parcel of the sender whose turn it is.
func (d *destination) next() *parcel {
	line, _ := d.ring.pop()
	p, _ := line.parcels.pop()
	line.rows -= len(p.rows)
	d.waiting--
	if line.parcels.len() > 0 {
		d.ring.push(line)
	} else {
		delete(d.bySender, line.key)
	}
	return p
}

// remove takes out the waiting parcels that take wants.
func (d *destination) remove(take func(*parcel) bool) []*parcel {
	var kept, taken []*parcel
	for d.waiting > 0 {
		if p := d.next(); take(p) {
			taken = append(taken, p)
		} else {
			kept = append(kept, p)
		}
	}
	for _, p := range kept {
		d.add(p)
	}
	return taken
}

// judge draws the conclusion from an attempt. Only attempts that began since
// the last failure count, so that ten connections that fail together are one
// failure.
func (s *scheduler) judge(now time.Time, e judged, a *actions) {
	d := s.dests[e.parcel.dest]
	switch current := e.parcel.turn == d.turn; {
	case e.verdict == siteAnswered:
		d.losses = 0
		if d.fails > 0 {
			d.fails = 0
			d.turn++
			d.more = true
			a.recovered = true
			s.line(d)
		}
	case e.verdict == siteFailed && current:
		s.fail(now, d, e.hint, a)
	case e.verdict == sessionLost && current:
		d.losses++
		s.remember(d)
		if d.losses >= s.limits.losses || d.fails > 0 {
			s.fail(now, d, e.hint, a)
		}
	}
	a.waits = d.fails > 0
	if a.waits && d.wakeAt.After(now) {
		a.backoff = &backoff{d.name, d.fails, d.wakeAt}
	}
}

// fail puts d into back-off and releases what waits for it.
func (s *scheduler) fail(now time.Time, d *destination, hint time.Duration, a *actions) {
	wait := hint
	if wait <= 0 {
		wait = s.limits.retry[min(d.fails, len(s.limits.retry)-1)]
	}
	wait = s.jitter(min(wait, s.limits.maxSite))
	d.fails++
	d.turn++
	d.losses = 0
	d.granted = false
	s.remember(d)
	s.empty(d, a)
	d.more = true
	d.wakeAt = now.Add(wait)
}

// remember keeps a failing destination in memory, and forgets the oldest one
// when there are too many: an attempt would find out again that it is down.
func (s *scheduler) remember(d *destination) {
	if d.inFailing {
		return
	}
	d.inFailing = true
	s.failing.push(d)
	for s.failing.len() > s.limits.known {
		oldest, _ := s.failing.pop()
		oldest.inFailing = false
		if s.dests[oldest.name] == oldest && oldest.forgettable() {
			delete(s.dests, oldest.name)
		}
	}
}
