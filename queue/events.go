package queue

import "time"

// The events that the scheduler hears of.
type (
	// offered asks whether fresh rows may be inserted as owned.
	offered struct {
		dest   string
		sender int64
		window int
		rows   int
	}
	// declined takes an admitted offer back.
	declined struct {
		dest string
		rows int
	}
	// fresh hands over an admitted parcel that is now in the store.
	fresh struct{ parcel *parcel }
	// stored tells of rows in the store that nobody owns.
	stored struct{ dest string }
	// woken tells that a destination's time has come.
	woken struct {
		dest  string
		fails int
	}
	// loaded ends a refill.
	loaded struct {
		refill  refill
		window  int // 0: not known
		parcels []*parcel
		more    bool
	}
	// judged tells what an attempt said about its destination.
	judged struct {
		parcel  *parcel
		verdict verdict
		hint    time.Duration // wait asked for by the destination
	}
	// finished ends an attempt: its outcome is on disk.
	finished struct{ parcel *parcel }
	// suspend stops a destination or lets it go on.
	suspend struct {
		dest string
		on   bool
	}
	// withdraw takes waiting parcels out of memory; they come back in release.
	withdraw struct{ take func(*parcel) bool }
	// pause stops all starting, or lets it go on.
	pause struct{ on bool }
)

// verdict is what an attempt said about its destination.
type verdict int

const (
	saysNothing verdict = iota
	siteAnswered
	sessionLost
	siteFailed
)

// actions are what the queue has to do. The zero value is nothing.
type actions struct {
	admitted  bool      // answer to offered
	start     []*parcel // attempts to begin
	refill    []refill  // destinations to read rows of
	release   []*parcel // rows to give back to the store, unpenalized
	backoff   *backoff  // a destination's row to write
	recovered bool      // answer to judged: the destination is back
	waits     bool      // answer to judged: the destination is in back-off
}

// refill asks for rows of a destination that are due and that nobody owns.
type refill struct {
	dest  string
	room  int  // at most so many
	share int  // of one sender
	probe bool // one message only
}

// backoff is the new state of a failing destination.
type backoff struct {
	dest  string
	fails int
	until time.Time
}
