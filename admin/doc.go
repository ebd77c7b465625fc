// Package admin is how people and machines ask a running gateway: HTTP with
// JSON over a unix socket in the data directory for the command line, and
// /healthz, /readyz and /metrics for whoever watches. Who may open the socket
// is decided by its file mode; nothing here listens on a network but health
// and metrics.
//
// Every call is POST /v1/NAME with one JSON object and answers with one. What
// goes wrong is {"error": "…"} in words for the administrator.
package admin
