package store_test

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatepost/store"
	"gatepost/store/storetest"
)

// messages has the shape of a queue: what one message costs the store.
func messages() store.Schema {
	return store.Schema{Name: "messages", Steps: []string{`
		CREATE TABLE message (id {{key}}, meta {{bytes}});
		CREATE TABLE body (message {{int}}, chunk {{int}}, bytes {{bytes}}, PRIMARY KEY (message, chunk)) {{rowless}};
		CREATE TABLE recipient (message {{int}}, n {{int}}, dest {{text}}, owner {{int}}, PRIMARY KEY (message, n)) {{rowless}};
		CREATE INDEX recipient_dest ON recipient (dest) WHERE owner = 0;
		CREATE TABLE trace (n {{serial}}, message {{int}}, record {{bytes}});
		CREATE INDEX trace_message ON trace (message)`}}
}

func acceptance(id int64, body []byte) []store.Statement {
	return []store.Statement{
		{SQL: "INSERT INTO message (id, meta) VALUES (?, ?)", Args: []any{id, body[:400]}},
		{SQL: "INSERT INTO body (message, chunk, bytes) VALUES (?, 0, ?)", Args: []any{id, body}},
		{SQL: "INSERT INTO recipient (message, n, dest, owner) VALUES (?, 0, ?, 1)", Args: []any{id, "mx:example.com"}},
	}
}

func outcome(id int64, record []byte) []store.Statement {
	return []store.Statement{
		{SQL: "DELETE FROM recipient WHERE message = ? AND n = 0 AND owner = 1", Args: []any{id}, Must: true},
		{SQL: "DELETE FROM message WHERE id = ?", Args: []any{id}},
		{SQL: "DELETE FROM body WHERE message = ?", Args: []any{id}},
		{SQL: "INSERT INTO trace (message, record) VALUES (?, ?)", Args: []any{id, record}},
	}
}

// BenchmarkSubmit is one 5 KB message accepted and, in a second operation,
// delivered, by 20 producers.
func BenchmarkSubmit(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) {
		submitMessages(b, store.Options{URL: "sqlite", Dir: b.TempDir()}, 5_000)
	})
	b.Run("postgres", func(b *testing.B) {
		submitMessages(b, store.Options{URL: storetest.Postgres(b), Dir: b.TempDir()}, 5_000)
	})
}

func submitMessages(b *testing.B, options store.Options, size int) {
	var commits atomic.Int64
	options.Schemas = []store.Schema{messages()}
	options.Observe = func(store.Commit) { commits.Add(1) }
	s := storetest.Open(b, options)
	body := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
	var id atomic.Int64
	var producers sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	start, cpu := time.Now(), cpuTime()
	for range 20 {
		producers.Go(func() {
			for n := id.Add(1); n <= int64(b.N); n = id.Add(1) {
				for _, operation := range [][]store.Statement{acceptance(n, body), outcome(n, body[:800])} {
					if _, err := s.Submit(context.WithoutCancel(b.Context()), operation...); err != nil {
						b.Error(err)
						return
					}
				}
			}
		})
	}
	producers.Wait()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "messages/s")
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-us/message")
	b.ReportMetric(float64(2*b.N)/float64(commits.Load()), "operations/commit")
}

// cpuTime is what this process used, user and system.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkBody is the content of a 50 MiB message in chunks.
func BenchmarkBody(b *testing.B) {
	s := storetest.Open(b, store.Options{URL: "sqlite", Dir: b.TempDir(), Schemas: []store.Schema{messages()}})
	chunk := make([]byte, 256<<10)
	b.SetBytes(200 * int64(len(chunk)))
	b.ReportAllocs()
	for n := range b.N {
		for i := range 200 {
			_, err := s.Submit(b.Context(), store.Statement{
				SQL: "INSERT INTO body (message, chunk, bytes) VALUES (?, ?, ?)", Args: []any{n, i, chunk}})
			if err != nil {
				b.Fatal(err)
			}
		}
		if _, err := s.Submit(b.Context(), store.Statement{SQL: "DELETE FROM body WHERE message = ?", Args: []any{n}}); err != nil {
			b.Fatal(err)
		}
	}
}
