package delivery

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestConnectionsAreBounded(t *testing.T) {
	release := make(chan struct{})
	held := make(chan struct{})
	s := serve(t, hello+transfer+quit, hello+transfer+quit)
	d := start(t, Options{Connections: 1, Messages: 1}, s)
	first := job(t, message(t, small), "b@b.example")
	first.Lease = func(context.Context) error {
		select {
		case held <- struct{}{}: // at MAIL: the connection is open
			<-release
		case <-release:
		}
		return nil
	}
	var done sync.WaitGroup
	done.Go(func() { want(t, d.Deliver(t.Context(), first)[0], ok) })
	<-held
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	want(t, d.Deliver(short, job(t, message(t, small), "b@b.example"))[0], "session 451 4.3.2 Delivery was interrupted")
	close(release)
	want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], ok)
	done.Wait()
}

func TestIdleConnectionMakesRoom(t *testing.T) {
	one, two := serve(t, hello+transfer+quit), serve(t, hello+transfer+quit)
	d := start(t, Options{Connections: 1, NextHops: []NextHop{{}, {Name: "other", URLs: []string{"smtp://" + two.Addr()}}}}, one)
	j := job(t, message(t, small), "b@b.example")
	want(t, d.Deliver(t.Context(), j)[0], ok)
	j.Dest = "hop:other"
	want(t, d.Deliver(t.Context(), j)[0], ok)
}

func TestWaitingDeliveryGetsTheSlotOfAFinishedOne(t *testing.T) {
	// The first connection would be kept, but somebody waits for its slot.
	one, two := serve(t, hello+transfer+quit), serve(t, hello+transfer+quit)
	d := start(t, Options{Connections: 1, IdleTime: time.Hour, NextHops: []NextHop{{}, {Name: "other", URLs: []string{"smtp://" + two.Addr()}}}}, one)
	waiting := make(chan struct{})
	var done sync.WaitGroup
	first := job(t, message(t, small), "b@b.example")
	asked := false
	first.Lease = func(ctx context.Context) error {
		if asked {
			return nil
		}
		asked = true
		done.Go(func() {
			second := job(t, message(t, small), "b@b.example")
			second.Dest = "hop:other"
			patient, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			want(t, d.Deliver(patient, second)[0], ok)
		})
		for {
			d.pool.mu.Lock()
			n := d.pool.waiting
			d.pool.mu.Unlock()
			if n > 0 {
				close(waiting)
				return nil
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			runtime.Gosched()
		}
	}
	want(t, d.Deliver(t.Context(), first)[0], ok)
	<-waiting
	done.Wait()
}

func TestReaperEndsIdleConnections(t *testing.T) {
	s := serve(t, hello+transfer+quit)
	d := start(t, Options{IdleTime: 40 * time.Millisecond}, s)
	want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], ok)
	// The slot comes back without Close.
	deadline := time.After(10 * time.Second)
	for len(d.pool.slots) > 0 {
		select {
		case <-deadline:
			t.Fatal("the connection is still open")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestCloseEndsIdleConnections(t *testing.T) {
	s := serve(t, hello+transfer+quit)
	o := Options{Hostname: "gw.example", Resolver: fakeDNS{}, NextHops: []NextHop{{Name: "test", URLs: []string{"smtp://" + s.Addr()}}}}
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], ok)
	d.Close()
	if len(d.pool.slots) != 0 || len(d.pool.idle) != 0 {
		t.Errorf("%d slots taken, %d kept", len(d.pool.slots), len(d.pool.idle))
	}
}

func TestDeliveryAfterCloseKeepsNothing(t *testing.T) {
	s := serve(t, hello+transfer+quit)
	d, err := New(Options{Hostname: "gw.example", Resolver: fakeDNS{}, NextHops: []NextHop{{Name: "test", URLs: []string{"smtp://" + s.Addr()}}}})
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], ok)
	d.pool.quits.Wait()
	if len(d.pool.slots) != 0 {
		t.Error("the connection was kept")
	}
}

func TestObserverIsTold(t *testing.T) {
	seen := &observer{}
	d := start(t, Options{Observer: seen}, serve(t, "S: 554 no\nW:"), serve(t, hello+transfer+quit))
	d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))
	if got := strings.Join(seen.results, " "); got != "reply ok" || seen.reused != 0 {
		t.Errorf("connected %q, reused %d", got, seen.reused)
	}
}
