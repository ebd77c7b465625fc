package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatepost/mail"
	"gatepost/store"
	"gatepost/trace"
)

// How long Accept goes on with a message whose commit was lost on the wire.
const (
	commitTries = 5
	commitWait  = time.Second
)

// AcceptOptions say what is special about a message.
type AcceptOptions struct {
	// Hold keeps the message back for this reason: quarantine. It is deleted
	// after Keep (default: Options.Keep) unless somebody releases it.
	Hold string
	Keep time.Duration
	// With is committed with the message: all or nothing. Where a statement
	// marked Must changes no row, nothing is accepted and the error is
	// store.ErrConflict.
	With []store.Statement
}

// Accept makes m durable. It returns nil only when the whole message and its
// recipients are committed; any other answer is an *Error. The content is read
// before Accept returns and not later.
func (q *Queue) Accept(ctx context.Context, m *mail.Message, options ...AcceptOptions) error {
	var o AcceptOptions
	for _, given := range options {
		o = given
	}
	if err := q.checkMessage(m); err != nil {
		return &Error{ReasonInvalid, err}
	}
	if err := q.accept(ctx, m, o); err != nil {
		return err
	}
	q.observe(Event{Kind: trace.KindAccepted, At: m.Received, Message: m})
	if o.Hold != "" {
		q.observe(Event{Kind: trace.KindHeld, At: m.Received, Message: m, Reason: o.Hold})
	}
	return nil
}

func (q *Queue) checkMessage(m *mail.Message) error {
	if m.ID <= 0 || m.Content == nil || len(m.Envelope.Recipients) == 0 {
		return errors.New("a message needs an id, content and recipients")
	}
	if age := q.o.Now().Sub(m.ID.Time()); age > orphanAge/2 {
		return fmt.Errorf("the id of the message is %s old", age)
	}
	return nil
}

func (q *Queue) accept(ctx context.Context, m *mail.Message, o AcceptOptions) error {
	e := &entry{queue: q, message: m, options: o}
	if err := e.prepare(ctx); err != nil {
		return err
	}
	if m.Content.Size() > chunkSize {
		q.arriving(m.ID, true)
		defer q.arriving(m.ID, false)
		if err := e.writeChunks(ctx); err != nil {
			q.orphaned(m.ID)
			return err
		}
	}
	err := q.enter(ctx, e)
	var failure *Error
	if errors.As(err, &failure) && failure.Reason != ReasonUnknown && m.Content.Size() > chunkSize {
		q.orphaned(m.ID)
	}
	return err
}

// enter commits what makes an entry a message, and hands it over. No shutdown
// comes between.
func (q *Queue) enter(ctx context.Context, e *entry) error {
	q.entering.RLock()
	defer q.entering.RUnlock()
	e.admit()
	statements, err := e.statements(ctx)
	if err != nil {
		e.abandon()
		return &Error{ReasonInvalid, err}
	}
	failure := q.commit(ctx, e.message.ID, statements)
	switch {
	case failure == nil:
		e.entered()
		return nil
	case failure.Reason == ReasonUnknown:
		e.release()
	default:
		e.abandon()
	}
	return failure
}

// commit does the statements that make id a message. Where the answer is lost
// it does them again: the id is there before, so that the store refuses the
// second time when the first has happened, and a first time that comes late.
func (q *Queue) commit(ctx context.Context, id mail.ID, statements []store.Statement) *Error {
	_, err := q.o.Store.Submit(ctx, statements...)
	if err == nil {
		return nil
	}
	failure := acceptError(err)
	calm := context.WithoutCancel(ctx)
	for range commitTries {
		if failure.Reason != ReasonUnknown {
			return failure
		}
		switch _, err = q.o.Store.Submit(calm, statements...); {
		case err == nil:
			return nil
		case errors.Is(err, store.ErrConflict):
			found, err := q.has(calm, id)
			if found {
				return nil
			}
			if err == nil {
				return &Error{ReasonUnavailable, failure.Err}
			}
		}
		pauseFor(calm, commitWait)
	}
	return failure
}

// has tells whether a message is in the store.
func (q *Queue) has(ctx context.Context, id mail.ID) (bool, error) {
	var one int64
	err := q.o.Store.Get(ctx, "SELECT 1 FROM message WHERE id = ?", []any{int64(id)}, &one)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// entry is a message on its way into the queue.
type entry struct {
	queue   *Queue
	message *mail.Message
	options AcceptOptions
	inline  bool // content of any size belongs into the commit
	meta    []byte
	groups  []group
	parcels []*parcel // admitted: owned from the beginning
	stored  []string  // destinations with rows that nobody owns
}

// group is the recipients that go to one destination.
type group struct {
	route Route
	rows  []row
	owned bool
}

// prepare finds the ways of the recipients.
func (e *entry) prepare(ctx context.Context) error {
	q, m := e.queue, e.message
	var err error
	if e.meta, err = encodeMeta(m); err != nil {
		return &Error{ReasonInvalid, err}
	}
	now := q.o.Now()
	index := map[string]int{}
	for n, r := range m.Envelope.Recipients {
		route, err := q.route(ctx, m, r.Address)
		if err != nil {
			return &Error{ReasonRoute, err}
		}
		i, ok := index[route.Dest]
		if !ok {
			i = len(e.groups)
			index[route.Dest] = i
			e.groups = append(e.groups, group{route: route})
		}
		due := q.firstDue(m, r, now)
		if e.options.Hold != "" {
			due = now.Add(e.keep())
		}
		e.groups[i].rows = append(e.groups[i].rows, row{Pending{n, r, 0, now.Add(q.o.Expire)}, due})
	}
	return nil
}

func (e *entry) keep() time.Duration {
	if e.options.Keep > 0 {
		return e.options.Keep
	}
	return e.queue.o.Keep
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// admit offers the groups to the scheduler.
func (e *entry) admit() {
	if e.options.Hold != "" {
		return
	}
	owner := e.queue.lease.incarnation.Load()
	epoch := e.queue.epoch.Load()
	sender := senderKey(e.message)
	for i := range e.groups {
		g := &e.groups[i]
		g.owned = e.queue.step(offered{g.route.Dest, sender, g.route.Window, len(g.rows)}).admitted
		if !g.owned {
			e.stored = append(e.stored, g.route.Dest)
			continue
		}
		for rest := g.rows; len(rest) > 0; {
			n := min(len(rest), g.route.Recipients)
			e.parcels = append(e.parcels, &parcel{id: e.message.ID, dest: g.route.Dest, sender: sender,
				owner: owner, rows: rest[:n:n], routes: epoch, whole: n == len(e.message.Envelope.Recipients)})
			rest = rest[n:]
		}
	}
}

// abandon takes the offers back.
func (e *entry) abandon() {
	for _, p := range e.parcels {
		e.queue.unload(p)
		e.queue.do(e.queue.step(declined{p.dest, len(p.rows)}))
	}
}

// release is abandon where the rows may be in the store all the same: the
// keeper makes them nobody's, so that they are found.
func (e *entry) release() {
	e.abandon()
	e.queue.keeper.add(nil, e.parcels)
}

// entered hands over what is committed.
func (e *entry) entered() {
	e.queue.tally.accepted.Add(int64(len(e.message.Envelope.Recipients)))
	for _, p := range e.parcels {
		e.queue.do(e.queue.step(fresh{p}))
	}
	for _, dest := range e.stored {
		e.queue.do(e.queue.step(stored{dest}))
	}
}
