package store

import "errors"

var (
	// ErrConflict tells that a statement marked Must changed no row, or that a
	// row with the same key is already there. Nothing of the operation remains.
	ErrConflict = errors.New("store: conflict")
	// ErrNotFound tells that Get found no row.
	ErrNotFound = errors.New("store: not found")
	// ErrFull tells that the disk is full, or nearer to it than Options.MinFree.
	ErrFull = errors.New("store: disk full")
	// ErrUnavailable tells that the database cannot be reached or written now.
	ErrUnavailable = errors.New("store: unavailable")
	// ErrUnknown tells that the connection was lost while the commit was on its
	// way: the operation is wholly done or wholly not. Look before answering.
	ErrUnknown = errors.New("store: outcome of the commit unknown")
	// ErrLocked tells that another process uses the data directory.
	ErrLocked = errors.New("store: data directory in use")
	// ErrNewer tells that the database was written by a newer program.
	ErrNewer = errors.New("store: database is newer than this program")
	// ErrSettings tells that the database does not promise durability.
	ErrSettings = errors.New("store: database settings are not safe")
)
