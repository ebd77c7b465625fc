package queue

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/queue/dsn"
	"gatepost/store"
	"gatepost/store/storetest"
	"gatepost/trace"
)

// BenchmarkAcceptAndDeliver takes messages of 5 KB from 50 sessions to a
// deliverer that does nothing.
func BenchmarkAcceptAndDeliver(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { benchAcceptAndDeliver(b, store.Options{URL: "sqlite", Dir: b.TempDir()}) })
	b.Run("postgres", func(b *testing.B) {
		benchAcceptAndDeliver(b, store.Options{URL: storetest.Postgres(b), Dir: b.TempDir()})
	})
}

func benchAcceptAndDeliver(b *testing.B, options store.Options) {
	options.Schemas = []store.Schema{Schema, trace.Schema}
	s := storetest.Open(b, options)
	ids, err := mail.NewIDSource(time.Now, rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	delivered := make(chan struct{}, 1<<20)
	q, err := New(Options{
		Store: s, Router: &fakeRouter{}, IDs: ids,
		Deliverer: deliverFunc(func(context.Context, Job) []Result { return []Result{ok()} }),
		Observer: observeFunc(func(e Event) {
			if e.Kind == trace.KindDelivered {
				delivered <- struct{}{}
			}
		}),
		Notices: dsn.Options{Hostname: "mx.example", Postmaster: address("postmaster@example.com")},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var own sync.WaitGroup
	own.Go(func() { q.Run(ctx) })
	content := mail.MemoryBody(make([]byte, 5000))
	work := make(chan int)
	for range 50 {
		own.Go(func() {
			for i := range work {
				m := &mail.Message{ID: ids.Next(), Received: time.Now(), Content: content, Prefix: make([]byte, 500), Facts: []byte(`{"spf":"pass"}`),
					Envelope: mail.Envelope{From: address("alice@example.com"),
						Recipients: []mail.Recipient{{Address: address(fmt.Sprintf("bob@there%d.example", i%100))}}},
					Origin: mail.Origin{Role: mail.RoleRelay, Confirmed: true}}
				if err := q.Accept(ctx, m); err != nil {
					b.Error(err)
				}
			}
		})
	}
	start := cpu()
	b.ResetTimer()
	for i := range b.N {
		work <- i
	}
	for range b.N {
		<-delivered
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64((cpu()-start).Microseconds())/float64(b.N), "cpu-µs/message")
	close(work)
	cancel()
	own.Wait()
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
