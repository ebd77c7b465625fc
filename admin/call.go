package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// maxRequest bounds the body of a call; a message to explain is the largest.
const maxRequest = 128 << 20

// Problem is an error that is meant for the administrator, with the HTTP
// status that it is answered with.
type Problem struct {
	Status  int    `json:"-"`
	Message string `json:"error"`
}

// Error is the text for the administrator.
func (p *Problem) Error() string { return p.Message }

// NotFound says that what the administrator named is not there.
func NotFound(format string, args ...any) error {
	return &Problem{http.StatusNotFound, fmt.Sprintf(format, args...)}
}

// Invalid says that what the administrator asked makes no sense.
func Invalid(format string, args ...any) error {
	return &Problem{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// Function is one call: a question and its answer.
type Function func(ctx context.Context, body []byte) (any, error)

// Answer makes a Function of one with types.
func Answer[Q, A any](f func(context.Context, Q) (A, error)) Function {
	return func(ctx context.Context, body []byte) (any, error) {
		var q Q
		if err := json.Unmarshal(body, &q); err != nil {
			return nil, Invalid("malformed request: %v", err)
		}
		return f(ctx, q)
	}
}

// Handler serves the functions by name under /v1/.
func Handler(functions map[string]Function) http.Handler {
	mux := http.NewServeMux()
	for name, f := range functions {
		mux.HandleFunc("POST /v1/"+name, func(w http.ResponseWriter, r *http.Request) { serve(w, r, f) })
	}
	return mux
}

func serve(w http.ResponseWriter, r *http.Request, f Function) {
	var raw json.RawMessage
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&raw); err != nil {
		reply(w, http.StatusBadRequest, &Problem{Message: "malformed request"})
		return
	}
	status, answer := outcome(f(r.Context(), raw))
	reply(w, status, answer)
}

// outcome is the HTTP status and body for what a function returned.
func outcome(answer any, err error) (int, any) {
	var p *Problem
	switch {
	case errors.As(err, &p):
		return p.Status, p
	case err != nil:
		return http.StatusInternalServerError, &Problem{Message: err.Error()}
	}
	return http.StatusOK, answer
}

func reply(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(b, '\n')) // an error here is the client's going away
}
