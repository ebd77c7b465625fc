package gateway

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"gatepost/config"
)

// logFlush is how long a line may wait in memory. What must survive a crash
// stands in the trace, not in the log.
const logFlush = 100 * time.Millisecond

// logWriter gathers lines, so that many messages cost one write.
type logWriter struct {
	mu  sync.Mutex
	buf *bufio.Writer
}

func newLogWriter(w io.Writer) *logWriter {
	return &logWriter{buf: bufio.NewWriterSize(w, 64<<10)}
}

// Write implements io.Writer.
func (w *logWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(b)
}

func (w *logWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Flush() // there is nowhere to say that the log cannot be written
}

// run flushes until ctx ends, and once more then.
func (w *logWriter) run(ctx context.Context) {
	tick := time.NewTicker(logFlush)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.flush()
		case <-ctx.Done():
			w.flush()
			return
		}
	}
}

// NewLogger makes the log that the configuration asks for.
func NewLogger(c config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo // config has checked the word
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}
