package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/store"
	"gatepost/trace"
)

// What goes in comes out, also by way of the store.
func TestMessageComesBackAsItWent(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		m := r.message("bob@there.example", "käse@there.example", `"odd one"@there.example`)
		m.Received = clock().UTC().Truncate(time.Millisecond)
		m.Envelope.Return, m.Envelope.EnvID, m.Envelope.Body, m.Envelope.UTF8 = "HDRS", "id+1", "8BITMIME", true
		m.Envelope.Recipients[0].Notify = mail.NotifySuccess | mail.NotifyFailure
		m.Envelope.Recipients[0].OriginalType, m.Envelope.Recipients[0].Original = "rfc822", "Bob;1@there.example"
		m.Cuts = []mail.Span{{Offset: 0, Length: 25}}
		m.Shape = mail.Shape{HeaderSize: 78, EightBitBody: true}
		before, err := io.ReadAll(open(t, m))
		if err != nil {
			t.Fatal(err)
		}
		q := r.make()
		r.accept(q, m) // before Run: by way of the store
		r.run(q)
		pass(time.Second)
		if r.deliverer.count() != 1 {
			t.Fatalf("%d attempts", r.deliverer.count())
		}
		job := r.deliverer.last()
		got := *job.Message
		got.Content, m.Content = nil, nil
		if !reflect.DeepEqual(&got, m) {
			t.Errorf("came back\n%+v, went\n%+v", got, *m)
		}
		for i, p := range job.Recipients {
			if p.N != i || p.Recipient != m.Envelope.Recipients[i] {
				t.Errorf("recipient %d: %+v", i, p)
			}
		}
		if !bytes.HasPrefix(before, []byte("Received: from somewhere\r\nSubject: Hello")) {
			t.Fatalf("the test's own message: %q", before)
		}
	})
}

func open(t *testing.T, m *mail.Message) io.Reader {
	t.Helper()
	body, err := m.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestContentOfEverySizeIsReadBack(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 3*chunkSize + 17, 5 * chunkSize} {
			q := r.make()
			content := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
			m := r.message("bob@there.example")
			m.Content = mail.MemoryBody(content)
			id := r.accept(q, m)
			back, err := q.Message(context.Background(), id)
			if err != nil {
				t.Fatal(err)
			}
			body, err := back.Content.Open(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			if err != nil || !bytes.Equal(got, content) || back.Content.Size() != int64(size) {
				t.Errorf("size %d: %d octets came back, %v", size, len(got), err)
			}
			var copied bytes.Buffer
			body, _ = back.Content.Open(context.Background())
			if n, err := io.Copy(&copied, body); err != nil || n != int64(size) || !bytes.Equal(copied.Bytes(), content) {
				t.Errorf("size %d: copied %d, %v", size, n, err)
			}
		}
	})
}

func TestStoreTroubleIsATemporaryRefusal(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.start()
		for _, c := range []struct {
			err  error
			want Reason
		}{
			{store.ErrFull, ReasonFull},
			{store.ErrUnavailable, ReasonUnavailable},
			{errors.New("something else"), ReasonUnavailable},
		} {
			r.faults.fail(fmt.Errorf("test: %w", c.err))
			for _, size := range []int{100, 3 * chunkSize} {
				m := r.message("bob@there.example")
				m.Content = mail.MemoryBody(make([]byte, size))
				var failure *Error
				if err := q.Accept(t.Context(), m); !errors.As(err, &failure) || failure.Reason != c.want || !failure.Temporary() || !errors.Is(err, c.err) {
					t.Errorf("store says %v: Accept says %v", c.err, err)
				}
			}
			r.faults.fail(nil)
		}
		settle()
		r.empty()
		if s, err := q.Stats(t.Context()); err != nil || s.Memory != 0 {
			t.Errorf("rows in memory after refusals: %+v %v", s, err)
		}
		r.accept(q, r.message("bob@there.example"))
		settle()
		if r.deliverer.count() != 1 {
			t.Error("no delivery after the trouble is over")
		}
		r.balance(q)
	})
}

// The connection breaks while the commit is on its way: Accept looks before it
// answers.
func TestLostCommit(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.start()
		lost := func(int, []store.Statement) error { return fmt.Errorf("test: %w", store.ErrUnknown) }
		r.faults.setAfter(lost)
		m := r.message("bob@there.example")
		err := q.Accept(t.Context(), m)
		r.faults.setAfter(nil)
		if err != nil {
			t.Fatalf("the commit has happened, Accept says %v", err)
		}
		settle()
		pass(10 * time.Second)
		if got := r.kinds(m.ID); got != "delivered" {
			t.Errorf("trace: %s", got)
		}
		r.faults.setBefore(func(int, []store.Statement) error {
			r.faults.setBefore(nil)
			return lost(0, nil)
		})
		m = r.message("bob@there.example")
		if err := q.Accept(t.Context(), m); err != nil {
			t.Errorf("the commit has not happened and is made up for, Accept says %v", err)
		}
		pass(10 * time.Second)
		if got := r.kinds(m.ID); got != "delivered" {
			t.Errorf("trace: %s", got)
		}
		r.balance(q)
	})
}

func TestCommitThatNobodyKnowsOf(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start()
		r.faults.setBefore(func(int, []store.Statement) error {
			r.faults.kill()
			return fmt.Errorf("test: %w", store.ErrUnknown)
		})
		var failure *Error
		err := q.Accept(t.Context(), r.message("bob@there.example"))
		if !errors.As(err, &failure) || failure.Reason != ReasonUnknown {
			t.Errorf("Accept says %v", err)
		}
		r.faults.setBefore(nil)
		r.faults.revive()
	})
}

func TestNotAMessage(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.make()
		nobody := r.message()
		noContent := r.message("bob@there.example")
		noContent.Content = nil
		noID := r.message("bob@there.example")
		noID.ID = 0
		old := r.message("bob@there.example")
		time.Sleep(13 * time.Hour)
		for name, m := range map[string]*mail.Message{"no recipient": nobody, "no content": noContent, "no id": noID, "old id": old} {
			var failure *Error
			if err := q.Accept(t.Context(), m); !errors.As(err, &failure) || failure.Reason != ReasonInvalid || failure.Temporary() {
				t.Errorf("%s: %v", name, err)
			}
		}
		r.router.err = errors.New("no way")
		var failure *Error
		if err := q.Accept(t.Context(), r.message("bob@there.example")); !errors.As(err, &failure) || failure.Reason != ReasonRoute || !failure.Temporary() {
			t.Errorf("no way: %v", err)
		}
		r.empty()
	})
}

// brokenBody breaks off after n octets.
type brokenBody struct{ size, n int64 }

func (b brokenBody) Size() int64 { return b.size }
func (b brokenBody) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(strings.NewReader(strings.Repeat("x", int(b.size))), b.n)), nil
}

func TestHalfABodyIsNoMessageAndIsSwept(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.start()
		m := r.message("bob@there.example")
		m.Content = brokenBody{4 * chunkSize, 3*chunkSize + 5}
		if err := q.Accept(t.Context(), m); err == nil {
			t.Fatal("half a body was accepted")
		}
		settle()
		r.empty()
	})
}

// A node died while a body came in. Its chunks are swept when it starts again;
// those that may be on their way in at another node are left alone for a day.
func TestOrphansOfACrash(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for _, alone := range []bool{true, false} {
			id := r.ids.Next()
			for chunk := range 3 {
				r.exec(insertBody, int64(id), chunk, []byte("x"))
			}
			time.Sleep(time.Minute)
			q := r.start(slowly, func(o *Options) { o.Alone = alone })
			settle()
			if n := r.count("SELECT COUNT(*) FROM body"); (n == 0) != alone {
				t.Errorf("alone %t: %d chunks left", alone, n)
			}
			q.Shutdown(t.Context())
		}
		time.Sleep(26 * time.Hour)
		r.start(func(o *Options) { o.Alone = false })
		r.empty()
	})
}

// The sweep must not take a body away whose message is just being committed.
func TestBodyOnItsWayInIsNotSwept(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start(slowly, func(o *Options) { o.Alone = true })
		r.faults.setBefore(func(_ int, statements []store.Statement) error {
			if statements[0].SQL == insertMessage {
				time.Sleep(3 * time.Hour) // the sweep comes by
			}
			return nil
		})
		m := r.message("bob@there.example")
		m.Content = mail.MemoryBody(make([]byte, 3*chunkSize))
		if err := q.Accept(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		settle()
		if got := r.kinds(m.ID); got != "delivered" {
			t.Errorf("trace: %s", got)
		}
	})
}

func TestMessageWhoseBodyWasTakenAwayIsNotAccepted(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.make()
		for _, chunk := range []int{0, 2} {
			m := r.message("bob@there.example")
			r.faults.setBefore(func(_ int, statements []store.Statement) error {
				if statements[0].SQL == insertMessage {
					r.exec("DELETE FROM body WHERE message = ? AND chunk = ?", int64(m.ID), chunk)
				}
				return nil
			})
			m.Content = mail.MemoryBody(make([]byte, 3*chunkSize))
			if err := q.Accept(t.Context(), m); err == nil {
				t.Errorf("accepted without chunk %d", chunk)
			}
			if n := r.count("SELECT COUNT(*) FROM message"); n != 0 {
				t.Error("a message without a whole body")
			}
		}
	})
}

func TestOwnedMailTakesOneCommit(t *testing.T) {
	onSQLite(t, func(t *testing.T, r *rig) {
		q := r.start()
		before := r.faults.count()
		r.accept(q, r.message("bob@there.example"))
		settle()
		if n := r.faults.count() - before; n != 2 {
			t.Errorf("%d commits to accept and deliver a message, want 2", n)
		}
		if len(r.observer.of(trace.KindAccepted)) != 1 {
			t.Error("acceptance not observed")
		}
		if n := r.count("SELECT COUNT(*) FROM destination"); n != 0 {
			t.Errorf("%d destination rows for mail that never waited", n)
		}
	})
}

// What is to be committed with a message is, or nothing is.
func TestAcceptWithStatements(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		q := r.make()
		rows := func(table, column string, value any) (n int64) {
			t.Helper()
			if err := r.store.Get(context.Background(), "SELECT COUNT(*) FROM "+table+" WHERE "+column+" = ?", []any{value}, &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		insert := store.Statement{SQL: "INSERT INTO destination (dest, wake_at, fails, suspended, stamp) VALUES ('with', 0, 0, 0, 0) ON CONFLICT (dest) DO NOTHING", Must: true}
		for i, want := range []error{nil, store.ErrConflict} {
			m := r.message("bob@there.example")
			if i == 1 {
				m.Content = mail.MemoryBody(bytes.Repeat([]byte("long line\r\n"), 60_000)) // more than a chunk
			}
			err := q.Accept(context.Background(), m, AcceptOptions{With: []store.Statement{insert}})
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("%d: %v, want %v", i, err, want)
			}
			if n := rows("message", "id", int64(m.ID)); n != int64(1-i) {
				t.Errorf("%d: %d messages", i, n)
			}
			if n := rows("destination", "dest", "with"); n != 1 {
				t.Errorf("%d: %d rows", i, n)
			}
		}
	})
}
