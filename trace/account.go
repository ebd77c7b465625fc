package trace

import (
	"context"
	"fmt"
	"math"

	"gatepost/mail"
)

// Account is what became of the recipients of all messages in the trace.
type Account struct {
	// Ended counts the messages whose end is recorded, Recipients theirs.
	Ended      int64 `json:"ended"`
	Recipients int64 `json:"recipients"`
	// Ends counts the recipients by how they ended, also those of messages
	// that are still under way for others.
	Ends    map[Kind]int64 `json:"ends"`
	Refused int64          `json:"refused"`
	// Faults are messages whose record contradicts itself.
	Faults []string `json:"faults,omitempty"`
}

// tally is what the rows said of one message so far.
type tally struct {
	want  int // recipients; 0 until the end is recorded
	ended map[int]Kind
}

// Account reads the whole trace and checks the promise of the gateway: every
// recipient of an ended message ended exactly once. With the queue's own count
// of what it holds, accepted = the sum of Ends + queued + held.
func (l *Log) Account(ctx context.Context) (Account, error) {
	account := Account{Ends: map[Kind]int64{}}
	tallies := map[mail.ID]*tally{}
	err := l.scan(ctx, "SELECT n, message, record FROM trace WHERE at >= ? AND n > ? ORDER BY n LIMIT ?", math.MinInt64,
		func(r Record) error {
			account.add(r, tallies)
			return nil
		})
	for id, t := range tallies {
		if t.want > 0 && len(t.ended) != t.want {
			account.fault("%s: %d recipients, %d ended", id, t.want, len(t.ended))
		}
	}
	return account, err
}

func (a *Account) add(r Record, tallies map[mail.ID]*tally) {
	if r.Refusal != nil {
		a.Refused++
		return
	}
	t := tallies[r.ID]
	if t == nil {
		t = &tally{ended: map[int]Kind{}}
		tallies[r.ID] = t
	}
	if r.Accepted != nil {
		if t.want > 0 {
			a.fault("%s: two ends", r.ID)
		}
		t.want = len(r.Accepted.Recipients)
		a.Ended++
		a.Recipients += int64(t.want)
	}
	for _, e := range r.Events {
		if !e.Kind.Ends() {
			continue
		}
		if before, twice := t.ended[e.N]; twice {
			a.fault("%s: recipient %d is %s and %s", r.ID, e.N, before, e.Kind)
		}
		t.ended[e.N] = e.Kind
		a.Ends[e.Kind]++
	}
}

func (a *Account) fault(format string, args ...any) {
	a.Faults = append(a.Faults, fmt.Sprintf(format, args...))
}
