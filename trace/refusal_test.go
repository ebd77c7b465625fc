package trace_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/mail"
	"gatepost/store"
	"gatepost/store/storetest"
	"gatepost/trace"
)

func refusal(i int) trace.Refusal {
	return trace.Refusal{At: noon, Stage: "rcpt", From: fmt.Sprintf("s%d@example.com", i), To: []string{"bob@example.org"},
		Status: mail.Status{Code: 550, Enhanced: mail.Enhanced{5, 1, 1}, Text: "no such user"}, Rule: "recipients", Reason: "unknown"}
}

func TestRefusedMailIsKept(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		log := trace.New(open(trace.Schema), nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- log.Run(ctx) }()
		for i := range 300 {
			log.Refused(mail.ID(i+1), refusal(i))
		}
		cancel() // what is in the buffer is written at the end
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		life, err := log.Life(t.Context(), 300)
		if err != nil || life.Refusal == nil {
			t.Fatalf("%+v, %v", life, err)
		}
		if r := life.Refusal; r.From != "s299@example.com" || r.Rule != "recipients" || r.Status.String() != "550 5.1.1 no such user" || !r.At.Equal(noon) {
			t.Errorf("%+v", r)
		}
		if a, err := log.Account(t.Context()); err != nil || a.Refused != 300 {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// countingStore notes when it was written to.
type countingStore struct {
	trace.Store
	batches []int
	err     error
}

func (s *countingStore) Submit(_ context.Context, statements ...store.Statement) ([]int64, error) {
	s.batches = append(s.batches, len(statements))
	return nil, s.err
}

func TestFloodOfRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &countingStore{}
		var out strings.Builder
		log := trace.New(s, slog.New(slog.NewTextHandler(&out, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- log.Run(ctx) }()
		for i := range 10_000 {
			log.Refused(mail.ID(i+1), refusal(i)) // must not block
		}
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		written := 0
		for _, n := range s.batches {
			written += n
		}
		if written != 512 {
			t.Errorf("%d refusals written in one second, want a buffer of 512", written)
		}
		if !strings.Contains(out.String(), "count=9488") {
			t.Errorf("not told how many were dropped: %s", out.String())
		}
		s.err = store.ErrUnavailable
		log.Refused(1, refusal(1))
		time.Sleep(time.Second)
		synctest.Wait()
		if !strings.Contains(out.String(), "refusals lost") {
			t.Errorf("the loss is not logged: %s", out.String())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
