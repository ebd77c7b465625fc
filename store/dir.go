package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockFile is held by the gateway that uses the data directory.
const lockFile = "gatepost.lock"

// lockDir makes the data directory when it is absent and takes its lock. The
// kernel drops the lock with the process, however that ends.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: make the data directory: %w", ErrUnavailable, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s belongs to another running gateway", ErrLocked, dir)
		}
		return nil, fmt.Errorf("%w: lock %s: %w", ErrUnavailable, f.Name(), err)
	}
	return f, nil
}

func unlock(f *os.File) {
	if f != nil {
		f.Close()
	}
}

// syncDir makes the names of new files durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("%w: sync %s: %w", ErrUnavailable, dir, err)
	}
	return nil
}

// checkFree fails with ErrFull when dir has less than want octets for us.
func checkFree(dir string, want int64) error {
	if want <= 0 || dir == "" {
		return nil
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("%w: free space of %s: %w", ErrUnavailable, dir, err)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < want {
		return fmt.Errorf("%w: %s has %d octets free, min_free is %d", ErrFull, dir, free, want)
	}
	return nil
}
