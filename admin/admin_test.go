package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type question struct{ Name string }
type answer struct{ Greeting string }

func functions() map[string]Function {
	return map[string]Function{
		"greet": Answer(func(_ context.Context, q question) (answer, error) {
			switch q.Name {
			case "nobody":
				return answer{}, NotFound("there is no %s", q.Name)
			case "trouble":
				return answer{}, fmt.Errorf("disk full")
			}
			return answer{"hello " + q.Name}, nil
		}),
	}
}

func TestCallsOverSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	if _, err := Dial(socket); !errors.Is(err, ErrNotRunning) {
		t.Fatalf("Dial without a gateway: %v", err)
	}
	if err := os.WriteFile(socket, nil, 0o600); err != nil { // left by a dead gateway
		t.Fatal(err)
	}
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(socket); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket mode %v, %v", st.Mode(), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- Serve(ctx, l, Handler(functions()), slog.New(slog.DiscardHandler)) }()
	if _, err := Listen(socket); err == nil {
		t.Error("a second gateway took the socket")
	}
	c, err := Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	testCalls(t, c)
	c.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCallsInProcess(t *testing.T) { testCalls(t, Local(functions())) }

func testCalls(t *testing.T, c *Client) {
	t.Helper()
	var a answer
	if err := c.Ask(t.Context(), "greet", question{"Ann"}, &a); err != nil || a.Greeting != "hello Ann" {
		t.Errorf("answer %+v, %v", a, err)
	}
	for name, want := range map[string]string{"nobody": "there is no nobody", "trouble": "disk full"} {
		if err := c.Ask(t.Context(), "greet", question{name}, &a); err == nil || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.Ask(t.Context(), "nosuch", question{}, nil); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Errorf("unknown call: %v", err)
	}
	if err := c.Ask(t.Context(), "greet", []int{1}, nil); err == nil || !strings.Contains(err.Error(), "malformed") {
		t.Errorf("malformed question: %v", err)
	}
}

func TestHealth(t *testing.T) {
	var trouble error
	h := Health(func(context.Context) error { return trouble })
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	if code, _ := get("/readyz"); code != 200 {
		t.Errorf("ready = %d", code)
	}
	trouble = errors.New("disk full")
	if code, body := get("/readyz"); code != 503 || !strings.Contains(body, "disk full") {
		t.Errorf("unready = %d %q", code, body)
	}
	if code, _ := get("/healthz"); code != 200 {
		t.Errorf("alive = %d", code)
	}
}
