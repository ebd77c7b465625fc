package store_test

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// change is one write to a file, or, without data, its new length.
type change struct {
	at   int
	data []byte
}

// diskFile is what a disk promises of a file: the octets that were synced,
// and the changes that a power cut may undo.
type diskFile struct {
	durable []byte
	pending []change
	syncing int // pending changes that a sync under way covers
}

func (f *diskFile) apply(changes []change) {
	for _, c := range changes {
		if c.data == nil {
			f.durable = append(f.durable, make([]byte, max(0, c.at-len(f.durable)))...)[:c.at]
			continue
		}
		if grow := c.at + len(c.data) - len(f.durable); grow > 0 {
			f.durable = append(f.durable, make([]byte, grow)...)
		}
		copy(f.durable[c.at:], c.data)
	}
}

// disk replays a log. A name is durable once its directory was synced after
// the change.
type disk struct {
	dir     string
	live    map[string]*diskFile
	durable map[string]*diskFile
}

func newDisk(dir string) *disk {
	return &disk{dir: dir, live: map[string]*diskFile{}, durable: map[string]*diskFile{}}
}

// see takes the next call of the log.
func (d *disk) see(c sysCall) {
	switch c.name {
	case "open", "openat":
		if path := d.pathOf(c); c.ended && !c.failed && path != "" && d.live[path] == nil {
			d.live[path] = &diskFile{}
		}
	case "unlink", "unlinkat":
		if path := d.pathOf(c); c.ended && !c.failed {
			delete(d.live, path)
		}
	case "pwrite64", "write":
		if f := d.live[c.fd]; f != nil && c.begun {
			f.pending = append(f.pending, change{number(c.args[len(c.args)-1]), octets(c.args[1])})
		}
	case "ftruncate":
		if f := d.live[c.fd]; f != nil && c.begun {
			f.pending = append(f.pending, change{at: number(c.args[1])})
		}
	case "fsync", "fdatasync":
		d.sync(c)
	}
}

// sync makes durable what was written before it began. After a sync that
// failed the kernel may have forgotten what it could not write, and the next
// sync says nothing about it.
func (d *disk) sync(c sysCall) {
	if c.fd == d.dir && c.ended && !c.failed {
		d.durable = maps.Clone(d.live)
		return
	}
	f := d.live[c.fd]
	if f == nil {
		return
	}
	if c.begun {
		f.syncing = len(f.pending)
	}
	if c.ended {
		if !c.failed {
			f.apply(f.pending[:f.syncing])
		}
		f.pending = slices.Clone(f.pending[f.syncing:])
		f.syncing = 0
	}
}

// pathOf gives the path argument when it is a database file in dir. The
// shared memory is made anew after a crash.
func (d *disk) pathOf(c sysCall) string {
	for _, arg := range c.args[:min(2, len(c.args))] {
		path := unhexString(arg)
		if filepath.Dir(path) == d.dir && !strings.HasSuffix(path, "-shm") && !strings.HasSuffix(path, ".lock") {
			return path
		}
	}
	return ""
}

// after writes what is left after a power cut now to a new directory. With
// chance, some of the changes that were not synced got through.
func (d *disk) after(t *testing.T, chance *rand.Rand) string {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "disk")
	if err != nil {
		t.Fatal(err)
	}
	for path, f := range d.durable {
		left := diskFile{durable: slices.Clone(f.durable)}
		for _, c := range f.pending {
			if chance != nil && chance.IntN(2) == 0 {
				left.apply([]change{c})
			}
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), left.durable, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
