package memo

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoIsBounded(t *testing.T) {
	c := New[int, string](3)
	work := func() (string, time.Time, error) { return "", time.Time{}, nil }
	for id := range 10 {
		for _, wanted := range []int{id, 0} { // the first is used all the time
			if _, err := c.Get(t.Context(), wanted, time.Time{}, work); err != nil {
				t.Fatal(err)
			}
			if id > 0 && c.entries[0] == nil {
				t.Fatal("what is in use was dropped")
			}
		}
	}
	if len(c.entries) != 3 || c.order.Len() != 3 || c.entries[9] == nil || len(c.running) != 0 {
		t.Errorf("%d entries, %d in order, %d running", len(c.entries), c.order.Len(), len(c.running))
	}
}

func TestManyWantItAndItIsMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[int, string](10)
		var calls atomic.Int32
		release := make(chan struct{})
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				made, err := c.Get(t.Context(), 1, time.Time{}, func() (string, time.Time, error) {
					calls.Add(1)
					<-release
					return "x", time.Time{}, nil
				})
				if err != nil || made != "x" {
					t.Errorf("got %q, %v", made, err)
				}
			})
		}
		synctest.Wait()
		close(release)
		group.Wait()
		if calls.Load() != 1 {
			t.Errorf("made %d times", calls.Load())
		}
	})
}

func TestAFailureIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[int, string](10)
		failed := errors.New("failed")
		begun := make(chan struct{})
		release := make(chan struct{})
		go func() {
			_, err := c.Get(t.Context(), 1, time.Time{}, func() (string, time.Time, error) {
				close(begun)
				<-release
				return "", time.Time{}, failed
			})
			if !errors.Is(err, failed) {
				t.Errorf("got %v", err)
			}
		}()
		<-begun
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Get(ended, 1, time.Time{}, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("waited without context: %v", err)
		}
		close(release)
		made, err := c.Get(t.Context(), 1, time.Time{}, func() (string, time.Time, error) { return "x", time.Time{}, nil })
		if err != nil || made != "x" {
			t.Errorf("got %q, %v", made, err)
		}
	})
}

func TestWhatIsOldIsMadeAfresh(t *testing.T) {
	m, at := New[string, int](2), time.Unix(1000, 0)
	made := 0
	get := func(now time.Time) int {
		got, err := m.Get(t.Context(), "x", now, func() (int, time.Time, error) {
			made++
			return made, at.Add(time.Minute), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if get(at) != 1 || get(at.Add(59*time.Second)) != 1 || get(at.Add(time.Minute)) != 2 {
		t.Errorf("made %d times", made)
	}
}
