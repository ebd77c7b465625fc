package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// FuzzCall: whatever is said on the socket, the answer is one JSON value with
// a status that fits it, and only what can be read reaches a function.
func FuzzCall(f *testing.F) {
	for _, s := range [][2]string{
		{"/v1/echo", `{"id":"0000000000000","n":5,"since":"2026-01-02T03:04:05Z","list":["a"]}`}, {"/v1/echo", `{`}, {"/v1/echo", `{"n":"x"}`}, {"/v1/echo", `null`},
		{"/v1/none", `{}`}, {"/v1/echo", ``}, {"/v1/echo", `{"n":1}{"n":2}`}, {"/v1/fail", `{}`}, {"/v1/echo", `"` + strings.Repeat("[", 10000)},
	} {
		f.Add(s[0], []byte(s[1]))
	}
	type question struct {
		ID    string    `json:"id"`
		N     int       `json:"n"`
		Since time.Time `json:"since"`
		List  []string  `json:"list"`
	}
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		if !strings.HasPrefix(path, "/v1/") || strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("?#%\\", r) }) {
			return
		}
		reached := false
		handler := Handler(map[string]Function{
			"echo": Answer(func(_ context.Context, q question) (question, error) { reached = true; return q, nil }),
			"fail": Answer(func(context.Context, question) (question, error) { return question{}, NotFound("no %q", "such") }),
		})
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(body))))
		if path != "/v1/echo" && path != "/v1/fail" {
			if w.Code == http.StatusOK {
				t.Fatalf("%q is answered", path)
			}
			return
		}
		if !json.Valid(w.Body.Bytes()) || reached != (w.Code == http.StatusOK) || w.Code != http.StatusOK && !strings.Contains(w.Body.String(), `"error":"`) {
			t.Fatalf("%q: %d %q", body, w.Code, w.Body)
		}
		var q question
		if reached && json.NewDecoder(strings.NewReader(string(body))).Decode(&q) != nil {
			t.Fatalf("%q reached a function", body)
		}
	})
}
