package store

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strconv"
)

// Free pages are kept for the next messages up to keepFree; above that the
// file shrinks by vacuumStep pages at a time, while nobody waits.
const (
	keepFree   = 4096
	vacuumStep = 2048
)

// idle gives disk space back: free pages, then the write-ahead log. Doing the
// latter under load would stall the writer.
func (e *sqliteEngine) idle(ctx context.Context) (again bool) {
	if e.writer == nil {
		return false
	}
	again, err := e.writer.vacuum(ctx)
	if err == nil {
		err = e.writer.truncateLog(ctx)
	}
	if err != nil {
		e.options.Logger.Warn("store: tidying up failed", "error", err)
		return false
	}
	return again
}

// vacuum frees one step of pages and tells whether there are more.
func (w *sqliteWriter) vacuum(ctx context.Context) (again bool, err error) {
	text, err := w.pragma(ctx, "freelist_count")
	if err != nil {
		return false, err
	}
	free, err := strconv.Atoi(text)
	if err != nil || free <= keepFree {
		return false, err
	}
	step := min(vacuumStep, free-keepFree)
	_, err = w.conn.(driver.ExecerContext).ExecContext(ctx, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", step), nil)
	return free-step > keepFree, sqliteError(err)
}

func (w *sqliteWriter) truncateLog(ctx context.Context) error {
	// A reader in the middle of its query must not make us wait.
	if _, err := w.pragma(ctx, "busy_timeout(0)"); err != nil {
		return err
	}
	_, err := w.pragma(ctx, "wal_checkpoint(TRUNCATE)")
	if _, restoreErr := w.pragma(ctx, fmt.Sprintf("busy_timeout(%d)", busyTimeout)); restoreErr != nil {
		return restoreErr
	}
	return err
}
