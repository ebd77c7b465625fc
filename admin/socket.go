package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Listen makes the socket with mode 0600, in place of one that a dead gateway
// left. Whoever closes it removes the file.
func Listen(socket string) (net.Listener, error) {
	if c, err := Dial(socket); err == nil {
		c.Close()
		return nil, fmt.Errorf("another gateway listens on %s", socket)
	}
	// Made in a directory of its own and then moved, so that nobody can open it
	// before it has its mode.
	dir, err := os.MkdirTemp(filepath.Dir(socket), "sock-")
	if err != nil {
		return nil, fmt.Errorf("make the socket of the command line: %w", err)
	}
	defer os.Remove(dir)
	made := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for the command line: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, socket)); err != nil {
		return nil, errors.Join(fmt.Errorf("protect the socket of the command line: %w", err), l.Close(), os.Remove(made))
	}
	return l, nil
}

// Serve answers on l until ctx ends, then lets running calls finish briefly.
func Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if s.Shutdown(grace) != nil {
		s.Close()
	}
	<-done
	return nil
}
