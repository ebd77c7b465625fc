package queue

import "time"

// scheduler decides what is delivered next. It does no input or output and
// reads no clock: step takes the time and an event and gives the actions that
// the queue carries out. It is not safe for concurrent use.
//
// Destinations that could start an attempt stand in the line ready; those that
// could take up more rows from the store stand in the line hungry.
type scheduler struct {
	limits  limits
	jitter  func(time.Duration) time.Duration
	dests   map[string]*destination
	ready   fifo[*destination]
	hungry  fifo[*destination]
	failing fifo[*destination] // remembered ones, the longest known first
	running int
	rows    int // in memory: waiting, running or promised
	paused  bool
}

// limits bound what the scheduler takes up.
type limits struct {
	running int // attempts at once
	rows    int // in memory
	perDest int // rows of one destination in memory
	window  int // attempts at once at a destination that gave none
	dests   int // destinations in memory
	known   int // of them failing ones that are only remembered
	losses  int // lost sessions in a row that count as a failure of the site
	retry   []time.Duration
	maxSite time.Duration // the longest back-off of a destination
}

func newScheduler(l limits, jitter func(time.Duration) time.Duration) *scheduler {
	return &scheduler{limits: l, jitter: jitter, dests: map[string]*destination{}, paused: true}
}

// step is the whole scheduler: what is to be done now that event happened.
func (s *scheduler) step(now time.Time, event any) actions {
	var a actions
	switch e := event.(type) {
	case offered:
		a.admitted = s.offer(e)
		return a
	case declined:
		d := s.dests[e.dest]
		s.count(d, -e.rows)
		s.line(d)
	case fresh:
		s.enqueue(s.dests[e.parcel.dest], e.parcel, &a)
	case stored:
		s.store(e)
	case woken:
		s.wake(e)
	case loaded:
		s.load(e, &a)
	case judged:
		s.judge(now, e, &a)
	case finished:
		s.finish(e.parcel)
	case suspend:
		s.suspend(e, &a)
	case withdraw:
		s.withdraw(e, &a)
	case pause:
		s.paused = e.on
	}
	s.dispatch(&a)
	s.feed(&a)
	return a
}

// dispatch starts what may start: destinations in turn, in each the senders in
// turn.
func (s *scheduler) dispatch(a *actions) {
	for s.running < s.limits.running && !s.paused {
		d, ok := s.ready.pop()
		if !ok {
			return
		}
		d.inReady = false
		if !d.mayStart() {
			s.line(d)
			continue
		}
		p := d.next()
		p.turn, p.probe = d.turn, d.fails > 0
		d.running++
		s.running++
		a.start = append(a.start, p)
		s.line(d)
	}
}

// feed asks for rows of hungry destinations while memory has room.
func (s *scheduler) feed(a *actions) {
	for !s.paused && s.rows < s.limits.rows {
		d, ok := s.hungry.pop()
		if !ok {
			return
		}
		d.inHungry = false
		if !d.wants(s.limits.perDest) {
			s.line(d)
			continue
		}
		room := min(s.limits.perDest/2, s.limits.rows-s.rows)
		d.refilling, d.granted, d.promised = true, false, room
		s.count(d, room)
		a.refill = append(a.refill, refill{d.name, room, max(1, room/2), d.fails > 0})
	}
}

// share is how many rows of one sender may wait at a destination.
func (s *scheduler) share() int { return s.limits.perDest / 2 }

// vacancy is how many more destinations may come into memory.
func (s *scheduler) vacancy() int { return max(0, s.limits.dests-len(s.dests)) }

func (s *scheduler) destination(name string) *destination {
	d := s.dests[name]
	if d == nil {
		d = &destination{name: name, window: s.limits.window, bySender: map[int64]*sender{}}
		s.dests[name] = d
	}
	return d
}

func (s *scheduler) count(d *destination, rows int) {
	d.rows += rows
	s.rows += rows
}

// enqueue takes a fresh parcel, whose destination may have failed since the
// offer.
func (s *scheduler) enqueue(d *destination, p *parcel, a *actions) {
	if d.suspended || d.fails > 0 {
		s.count(d, -len(p.rows))
		a.release = append(a.release, p)
	} else {
		d.add(p)
	}
	s.line(d)
}

// line puts d into the lines where it belongs now, or forgets it.
func (s *scheduler) line(d *destination) {
	if d.mayStart() && !d.inReady {
		d.inReady = true
		s.ready.push(d)
	}
	if d.wants(s.limits.perDest) && !d.inHungry {
		d.inHungry = true
		s.hungry.push(d)
	}
	if d.forgettable() {
		delete(s.dests, d.name)
	}
}

// offer admits fresh mail to a healthy destination with room.
func (s *scheduler) offer(e offered) bool {
	if s.paused || s.rows+e.rows > s.limits.rows {
		return false
	}
	d := s.dests[e.dest]
	if d != nil {
		if d.suspended || d.fails > 0 || !s.hasRoom(d, e.rows) {
			return false
		}
		if line := d.bySender[e.sender]; line != nil && line.rows+e.rows > s.share() {
			return false
		}
	}
	d = s.destination(e.dest)
	if e.window > 0 {
		d.window = e.window
	}
	s.count(d, e.rows)
	return true
}

// hasRoom leaves room for what waits in the store: fresh mail alone must not
// keep a destination from being hungry.
func (s *scheduler) hasRoom(d *destination, rows int) bool {
	present := d.rows - d.promised
	if d.more && present > 0 && present+rows > s.limits.perDest/4 {
		return false
	}
	return d.rows == 0 || d.rows+rows <= s.limits.perDest
}

func (s *scheduler) store(e stored) {
	if s.dests[e.dest] == nil && s.vacancy() == 0 {
		return // its row in the store will wake it
	}
	d := s.destination(e.dest)
	if d.fails == 0 {
		d.more = true
	}
	s.line(d)
}

func (s *scheduler) wake(e woken) {
	d := s.destination(e.dest)
	d.more = true
	if (e.fails == 0) != (d.fails == 0) {
		d.fails = e.fails
		d.turn++
	}
	if d.fails > 0 {
		s.remember(d)
	}
	d.granted = d.fails > 0
	s.line(d)
}

func (s *scheduler) load(e loaded, a *actions) {
	d := s.dests[e.refill.dest]
	s.count(d, -e.refill.room)
	d.refilling, d.more, d.promised = false, e.more, 0
	if e.window > 0 {
		d.window = e.window
	}
	if !e.more && len(e.parcels) == 0 && d.running == 0 {
		d.fails = 0 // nothing waits for it any more
	}
	if e.more && len(e.parcels) == 0 && d.fails > 0 && e.refill.probe {
		d.granted = true // a walk that ended behind the row that waits has not been the probe
	}
	unwanted := d.suspended || d.fails > 0 && !e.refill.probe
	for _, p := range e.parcels {
		if unwanted {
			a.release = append(a.release, p)
			d.more = true
			continue
		}
		s.count(d, len(p.rows))
		d.add(p)
	}
	s.line(d)
}

func (s *scheduler) finish(p *parcel) {
	d := s.dests[p.dest]
	d.running--
	s.running--
	s.count(d, -len(p.rows))
	s.line(d)
}

func (s *scheduler) suspend(e suspend, a *actions) {
	d := s.destination(e.dest)
	if d.suspended == e.on {
		s.line(d)
		return
	}
	d.suspended = e.on
	if e.on {
		s.empty(d, a)
	} else {
		d.more, d.granted = true, d.fails > 0
	}
	s.line(d)
}

// withdraw also takes parcels of destinations that are not in any line.
func (s *scheduler) withdraw(e withdraw, a *actions) {
	for _, d := range s.dests {
		taken := d.remove(e.take)
		for _, p := range taken {
			s.count(d, -len(p.rows))
		}
		a.release = append(a.release, taken...)
		if len(taken) > 0 {
			s.line(d)
		}
	}
}

// empty releases what waits for d.
func (s *scheduler) empty(d *destination, a *actions) {
	taken := d.remove(func(*parcel) bool { return true })
	for _, p := range taken {
		s.count(d, -len(p.rows))
	}
	a.release = append(a.release, taken...)
	d.more = d.more || len(taken) > 0
}
