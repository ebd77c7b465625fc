// Package telemetry is what the gateway shows of itself while it runs: the
// metrics, all declared here with base units and bounded labels (never an
// address or a message id), the keys of the structured log, and the type of a
// secret that prints as "[redacted]".
package telemetry

// Keys of the structured log. The same few stand in every line.
const (
	KeySession  = "session"
	KeyID       = "id"
	KeyFrom     = "from"
	KeyTo       = "to"
	KeyClient   = "client"
	KeyListener = "listener"
	KeyNextHop  = "next_hop"
	KeyStatus   = "status"
	KeyError    = "error"
)
