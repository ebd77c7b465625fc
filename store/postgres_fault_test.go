package store_test

import (
	"bytes"
	"errors"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"gatepost/store"
	"gatepost/store/storetest"
)

// proxy stands between a store and PostgreSQL and breaks what passes.
type proxy struct {
	listener net.Listener
	server   string
	pumps    sync.WaitGroup

	mu       sync.Mutex
	open     map[net.Conn]bool
	down     bool
	toServer []byte // cut the connection instead of sending what holds this
	toClient []byte
}

// startProxy gives the proxy and the URL of an empty schema behind it.
func startProxy(t *testing.T) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(storetest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, server: u.Host, open: map[net.Conn]bool{}}
	p.pumps.Go(p.serve)
	t.Cleanup(func() {
		l.Close()
		p.setDown(true)
		p.pumps.Wait()
	})
	u.Host = l.Addr().String()
	return p, u.String()
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil || !p.admit(client, server) {
			client.Close()
			continue
		}
		p.pumps.Go(func() { p.pump(client, server, func() []byte { return p.toServer }) })
		p.pumps.Go(func() { p.pump(server, client, func() []byte { return p.toClient }) })
	}
}

func (p *proxy) admit(client, server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		server.Close()
		return false
	}
	p.open[client], p.open[server] = true, true
	return true
}

// pump copies until it sees what it is to cut at.
func (p *proxy) pump(from, to net.Conn, cut func() []byte) {
	defer from.Close()
	defer to.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		mark := cut()
		p.mu.Unlock()
		if mark != nil && bytes.Contains(buffer[:n], mark) {
			return
		}
		if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

// setDown closes all connections and refuses new ones, or ends that.
func (p *proxy) setDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	if down {
		for conn := range p.open {
			conn.Close()
		}
		clear(p.open)
	}
}

func (p *proxy) cutAt(toServer, toClient string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.toServer, p.toClient = nil, nil
	if toServer != "" {
		p.toServer = []byte(toServer)
	}
	if toClient != "" {
		p.toClient = []byte(toClient)
	}
}

// commitAnswer is CommandComplete of COMMIT (PostgreSQL documentation, 55.7).
const commitAnswer = "C\x00\x00\x00\x0bCOMMIT\x00"

func TestLostCommitIsUnknown(t *testing.T) {
	must := store.Statement{SQL: "UPDATE thing SET number = 7 WHERE id = 1", Must: true}
	for name, operation := range map[string][]store.Statement{
		"one round trip":  {insert(2, "lost")},
		"two round trips": {must, insert(2, "lost")},
	} {
		t.Run(name, func(t *testing.T) {
			p, u := startProxy(t)
			s := storetest.Open(t, store.Options{URL: u, Schemas: []store.Schema{things()}})
			if _, err := s.Submit(t.Context(), insert(1, "one")); err != nil {
				t.Fatal(err)
			}
			p.cutAt("", commitAnswer)
			_, err := s.Submit(t.Context(), operation...)
			if !errors.Is(err, store.ErrUnknown) {
				t.Errorf("answer cut off: %v", err)
			}
			p.cutAt("", "")
			if count(t, s, "id = 2") != 1 {
				t.Error("the commit did happen, its row is not there")
			}
			if _, err := s.Submit(t.Context(), insert(3, "three")); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestConnectionLostBeforeCommit(t *testing.T) {
	for name, c := range map[string]struct {
		must bool
		want error
	}{
		"COMMIT not sent yet":     {true, store.ErrUnavailable},
		"COMMIT perhaps got away": {false, store.ErrUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			p, u := startProxy(t)
			s := storetest.Open(t, store.Options{URL: u, Schemas: []store.Schema{things()}})
			first := insert(1, "one")
			first.Must = c.must
			if _, err := s.Submit(t.Context(), first); err != nil {
				t.Fatal(err)
			}
			p.cutAt("marked", "")
			second := insert(2, "marked")
			second.Must = c.must
			if _, err := s.Submit(t.Context(), second); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			p.cutAt("", "")
			if count(t, s, "id = 2") != 0 {
				t.Error("there is a row that was never sent")
			}
		})
	}
}

func TestPostgresGoneAndBack(t *testing.T) {
	p, u := startProxy(t)
	clock := newClock()
	s := storetest.Open(t, store.Options{URL: u, Schemas: []store.Schema{things()}, Now: clock.now})
	if err := s.Usable(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.setDown(true)
	clock.advance(10 * time.Second)
	if err := s.Usable(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("idle, server gone: %v", err)
	}
	if _, err := s.Submit(t.Context(), insert(1, "one")); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("submit: %v", err)
	}
	if err := s.Get(t.Context(), "SELECT count(*) FROM thing", nil, new(int64)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("get: %v", err)
	}
	if _, err := s.Now(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("now: %v", err)
	}
	p.setDown(false)
	if err := s.Usable(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("within the second after the failure: %v", err)
	}
	clock.advance(2 * time.Second)
	if err := s.Usable(t.Context()); err != nil {
		t.Errorf("server is back: %v", err)
	}
	if _, err := s.Submit(t.Context(), insert(1, "one")); err != nil {
		t.Errorf("server is back, submit: %v", err)
	}
}

// Two writers that take the same rows in opposite order: one of them is shot
// by the server and must be tried again, so that both succeed.
func TestDeadlockIsTriedAgain(t *testing.T) {
	s := storetest.Open(t, store.Options{URL: storetest.Postgres(t), Writers: 2, Schemas: []store.Schema{things()}})
	if _, err := s.Submit(t.Context(), insert(1, "one"), insert(2, "two")); err != nil {
		t.Fatal(err)
	}
	add := func(id int) store.Statement {
		return store.Statement{SQL: "UPDATE thing SET number = number + 1 WHERE id = ?", Args: []any{id}}
	}
	slow := store.Statement{SQL: "UPDATE thing SET number = number WHERE id = 0 AND pg_sleep(0.2) IS NULL OR id = 3 AND pg_sleep(0.2) IS NULL"}
	if _, err := s.Submit(t.Context(), insert(3, "three")); err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	for _, order := range [][2]int{{1, 2}, {2, 1}} {
		both.Go(func() {
			if _, err := s.Submit(t.Context(), add(order[0]), slow, add(order[1])); err != nil {
				t.Errorf("%v: %v", order, err)
			}
		})
	}
	both.Wait()
	if count(t, s, "id = 1 AND number = 12 OR id = 2 AND number = 22") != 2 {
		t.Error("an update is missing")
	}
}

// raise makes the server fail with a code of appendix A of its documentation.
func raise(code string) store.Statement {
	return store.Statement{SQL: "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '" + code + "'; END $$"}
}

func TestWhatTheServerSays(t *testing.T) {
	s := storetest.Open(t, store.Options{URL: storetest.Postgres(t), Writers: 1, Schemas: []store.Schema{things()}})
	kill := store.Statement{SQL: "UPDATE thing SET number = 0 WHERE pg_terminate_backend(pg_backend_pid())"}
	for name, c := range map[string]struct {
		faulty store.Statement
		all    bool // the whole batch fails
		want   error
	}{
		"disk full":             {raise("53100"), false, store.ErrFull},
		"became a standby":      {raise("25006"), true, store.ErrUnavailable},
		"out of memory":         {raise("53200"), true, store.ErrUnavailable},
		"shut down":             {raise("57P01"), true, store.ErrUnavailable},
		"connection terminated": {kill, true, store.ErrUnavailable},
		"unique":                {raise("23505"), false, store.ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			errs, err := s.CommitBatch(t.Context(), []store.Statement{{SQL: "DELETE FROM thing"}, insert(1, "one")},
				[]store.Statement{insert(2, "two"), c.faulty})
			if !errors.Is(errs[1], c.want) {
				t.Errorf("faulty: %v, want %v", errs[1], c.want)
			}
			if c.all != (errs[0] != nil) || c.all && err == nil {
				t.Errorf("the other: %v, the batch: %v", errs[0], err)
			}
			if count(t, s, "id = 2") != 0 {
				t.Error("not undone")
			}
			if _, err := s.Submit(t.Context(), insert(time.Now().UnixNano(), name)); err != nil {
				t.Errorf("the next one: %v", err)
			}
		})
	}
}

func TestPasswordIsNotInErrors(t *testing.T) {
	for _, u := range []string{
		"postgres://me:hush-hush@127.0.0.1:1/db?connect_timeout=1",
		"postgres://me:hush-hush@127.0.0.1:1/db?sslmode=nonsense",
		"postgres://me:hush-hush@%zz/",
	} {
		_, err := store.Open(t.Context(), store.Options{URL: u})
		if err == nil || bytes.Contains([]byte(err.Error()), []byte("hush-hush")) {
			t.Errorf("%v", err)
		}
	}
}
