package queue

import (
	"context"
	"errors"
	"math"
	"time"

	"gatepost/mail"
	"gatepost/store"
)

const (
	// sendersAtOnce is how many senders one refill looks at, so that a
	// destination with very many does not keep the others waiting.
	sendersAtOnce = 256
	// wakeLease is how long a destination that was woken is left to the node
	// that woke it; probeLease is the same for one that is being probed.
	wakeLease  = time.Minute
	probeLease = 5 * time.Minute
	wakeBatch  = 200
	calmDown   = time.Second // before something is tried again that hunger would try at once
)

// walk is how far the reading of a destination's rows has come. It goes from
// sender to sender, so that one with many rows does not hide the others.
type walk struct {
	stamp  int64 // of the destination's row when the walk began
	sender int64 // the last one looked at
	next   int64 // the earliest not_before in the future that was seen
	left   bool  // rows that are due were left behind
}

// waiting is a row that is due.
type waiting struct {
	id     mail.ID
	sender int64
	row    row
}

// wakeDestinations takes up the destinations whose time has come.
func (q *Queue) wakeDestinations(ctx context.Context) error {
	if !q.holds(q.lease.incarnation.Load()) {
		return nil
	}
	room := q.vacancy()
	now := q.o.Now()
	var claims []store.Statement
	var found []woken
	err := q.o.Store.Select(ctx, func(scan func(...any) error) error {
		var dest string
		var fails, stamp int64
		if err := scan(&dest, &fails, &stamp); err != nil {
			return err
		}
		ours := wakeLease
		if fails > 0 {
			ours = probeLease
		}
		found = append(found, woken{dest, int(fails)})
		claims = append(claims, store.Statement{SQL: "UPDATE destination SET wake_at = ?, stamp = ? WHERE dest = ? AND stamp = ? AND suspended = 0",
			Args: []any{millis(now.Add(ours)), q.stamp(), dest, stamp}})
		return nil
	}, "SELECT dest, fails, stamp FROM destination WHERE suspended = 0 AND wake_at <= ? ORDER BY wake_at LIMIT ?", millis(now), room)
	if err != nil || len(claims) == 0 {
		return err
	}
	affected, err := q.o.Store.Submit(ctx, claims...)
	if err != nil {
		return err
	}
	for i, event := range found {
		if affected[i] > 0 {
			q.do(q.step(event))
		}
	}
	if len(found) == room {
		q.duties.wake.now()
	}
	return nil
}

// vacancy is how many destinations may be woken at once.
func (q *Queue) vacancy() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return min(q.scheduler.vacancy(), wakeBatch)
}

// refill reads and claims rows of a destination and hands them over.
func (q *Queue) refill(ctx context.Context, r refill) {
	result := loaded{refill: r, more: true}
	defer func() { q.do(q.step(result)) }()
	owner := q.lease.incarnation.Load()
	if !q.holds(owner) {
		q.mayDeliver()
		return
	}
	err := q.refillInto(ctx, r, owner, &result)
	if err != nil {
		q.trouble("read waiting mail", err)
		pauseFor(ctx, calmDown) // hunger would have it tried again at once
	}
}

// refillInto fills the result. The walk ends only when all that it found is
// ours: without its row a destination is not woken.
func (q *Queue) refillInto(ctx context.Context, r refill, owner int64, result *loaded) error {
	rows, end, err := q.readDue(ctx, r)
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		var lost int
		if lost, err = q.claim(ctx, q.group(ctx, r, rows, owner, result), result); err != nil {
			return err
		}
		if lost == len(rows) {
			pauseFor(ctx, calmDown/10) // others are busy with them
		}
		if lost > 0 {
			return nil
		}
	}
	if end != nil {
		result.more, err = q.endWalk(ctx, r, end)
	}
	return err
}

// readDue walks on and gives rows that are due. At the end of the walk it
// gives the walk too.
func (q *Queue) readDue(ctx context.Context, r refill) (rows []waiting, ended *walk, err error) {
	w, err := q.walkOf(ctx, r.dest)
	if err != nil {
		return nil, nil, err
	}
	for range sendersAtOnce {
		page, end, err := q.readSender(ctx, r, w, r.room-len(rows))
		if err != nil {
			delete(q.keeper.walks, r.dest)
			return nil, nil, err
		}
		rows = append(rows, page...)
		if end {
			delete(q.keeper.walks, r.dest)
			return rows, w, nil
		}
		if len(rows) >= r.room || r.probe && len(rows) > 0 {
			break
		}
	}
	return rows, nil, nil
}

// walkOf gives the walk through a destination, a new one where none is under
// way. When there are too many all begin anew: most are of destinations that
// nobody asks for any more.
func (q *Queue) walkOf(ctx context.Context, dest string) (w *walk, err error) {
	if w = q.keeper.walks[dest]; w != nil {
		return w, nil
	}
	if w, err = q.startWalk(ctx, dest); err != nil {
		return nil, err
	}
	if len(q.keeper.walks) >= destinationsKnown {
		clear(q.keeper.walks)
	}
	q.keeper.walks[dest] = w
	return w, nil
}

// startWalk begins with the destination's row. Where there is none the stamp
// is none either, and nothing is to be ended.
func (q *Queue) startWalk(ctx context.Context, dest string) (*walk, error) {
	w := &walk{sender: -1, next: math.MaxInt64}
	err := q.o.Store.Get(ctx, "SELECT stamp FROM destination WHERE dest = ?", []any{dest}, &w.stamp)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return w, err
}

const nextSender = "SELECT message, n, address, notify, original, sender_key, not_before, due, expires, attempts FROM recipient" +
	" WHERE state = 0 AND owner = 0 AND dest = ? AND sender_key = (SELECT MIN(sender_key) FROM recipient" +
	" WHERE state = 0 AND owner = 0 AND dest = ? AND sender_key > ?) ORDER BY not_before, message, n LIMIT ?"

// readSender looks at the next sender: one query tells which it is, what is
// due, and when the next row will be. end tells that there is no other sender.
func (q *Queue) readSender(ctx context.Context, r refill, w *walk, room int) (rows []waiting, end bool, err error) {
	now := millis(q.o.Now())
	share := min(room, r.share)
	if r.probe {
		share = min(share, q.o.Recipients)
	}
	end = true
	err = q.o.Store.Select(ctx, func(scan func(...any) error) error {
		end = false
		item, notBefore, err := scanWaiting(scan)
		if err != nil {
			return err
		}
		w.sender = item.sender
		switch {
		case notBefore > now:
			w.next = min(w.next, notBefore)
		case len(rows) == share || r.probe && len(rows) > 0 && rows[0].id != item.id:
			w.left = true
		default:
			rows = append(rows, item)
		}
		return nil
	}, nextSender, r.dest, r.dest, w.sender, share+1)
	return rows, end, err
}

func scanWaiting(scan func(...any) error) (w waiting, notBefore int64, err error) {
	var id, n, notify, due, expires, attempts int64
	var address, original []byte
	if err := scan(&id, &n, &address, &notify, &original, &w.sender, &notBefore, &due, &expires, &attempts); err != nil {
		return w, 0, err
	}
	w.id = mail.ID(id)
	w.row = row{Pending{N: int(n), Attempts: int(attempts), Expires: fromMillis(expires)}, fromMillis(due)}
	w.row.Recipient, _ = decodeRecipient(address, notify, original) // load tells when it cannot be read
	return w, notBefore, nil
}

// endWalk writes down when the destination is to be woken, unless somebody
// came since the walk began. A destination that nobody waits for loses its
// row. It tells whether rows may be left that are due.
func (q *Queue) endWalk(ctx context.Context, r refill, w *walk) (more bool, err error) {
	if w.left || w.stamp == 0 {
		return w.left, nil
	}
	end := store.Statement{SQL: "DELETE FROM destination WHERE dest = ? AND stamp = ? AND suspended = 0", Args: []any{r.dest, w.stamp}}
	if w.next != math.MaxInt64 {
		next := max(w.next, millis(q.o.Now().Add(calmDown)))
		end = store.Statement{SQL: "UPDATE destination SET wake_at = ? WHERE dest = ? AND stamp = ?", Args: []any{next, r.dest, w.stamp}}
	}
	affected, err := q.o.Store.Submit(ctx, end)
	if err != nil {
		return true, err
	}
	return affected[0] == 0, nil
}

// group makes parcels of rows. The first message tells, by the way of its
// recipient, what the destination takes at once.
func (q *Queue) group(ctx context.Context, r refill, rows []waiting, owner int64, result *loaded) []*parcel {
	limit := q.o.Recipients
	var first *mail.Message
	if m, _, err := q.load(ctx, rows[0].id); err == nil {
		first = m
		if route, err := q.route(ctx, m, rows[0].row.Address); err == nil && route.Dest == r.dest {
			result.window, limit = route.Window, route.Recipients
		}
	}
	byMessage := map[mail.ID]*parcel{}
	var parcels []*parcel
	for _, item := range rows {
		p := byMessage[item.id]
		if p == nil || len(p.rows) == limit {
			p = &parcel{id: item.id, dest: r.dest, sender: item.sender, owner: owner}
			if item.id == rows[0].id {
				p.message = first
			}
			byMessage[item.id] = p
			parcels = append(parcels, p)
		}
		p.rows = append(p.rows, item.row)
	}
	return parcels
}

// claim makes the rows ours that are still as they were read, and hands over
// the parcels with those. It counts the others. Where nobody knows whether
// they are ours, they are given back.
func (q *Queue) claim(ctx context.Context, parcels []*parcel, result *loaded) (lost int, err error) {
	var batch []store.Statement
	for _, p := range parcels {
		for _, r := range p.rows {
			batch = append(batch, store.Statement{
				SQL:  "UPDATE recipient SET owner = ? WHERE message = ? AND n = ? AND owner = 0 AND state = 0 AND wish = '' AND dest = ? AND due = ?",
				Args: []any{p.owner, int64(p.id), r.N, p.dest, millis(r.due)}})
		}
	}
	affected, err := q.o.Store.Submit(ctx, batch...)
	if err != nil {
		q.keeper.add(nil, parcels)
		return 0, err
	}
	i := 0
	for _, p := range parcels {
		var rows []row
		for _, r := range p.rows {
			if affected[i] > 0 {
				rows = append(rows, r)
			} else {
				lost++
			}
			i++
		}
		if p.rows = rows; len(rows) > 0 {
			result.parcels = append(result.parcels, p)
		}
	}
	return lost, nil
}
