package admin

import (
	"context"
	"net/http"
)

// Health serves /healthz, which answers as long as the process lives, and
// /readyz, which says 503 and why while the gateway cannot store mail or is
// shutting down. A dead next hop or DNS does not make it unready: the queue
// exists for bad days.
func Health(ready func(context.Context) error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Write([]byte("ok\n"))
	})
	return mux
}
