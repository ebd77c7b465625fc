package policy

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"gatepost/mail"
)

// recheck is how often a recipient list looks whether its file has changed.
const recheck = 2 * time.Second

// recipients tells which recipients of one domain exist.
//
// The file has one address per line; "@example.com" accepts every recipient of
// that domain; empty lines and what follows a # at the start of a line or
// behind white space are left out. Local parts are compared without regard to
// case. A changed file is read again; while the new one is broken or gone, the
// old list stays.
type recipients struct {
	all     bool
	spoofed Action
	path    string
	now     func() time.Time
	logger  *slog.Logger

	mu      sync.Mutex
	checked time.Time
	info    os.FileInfo
	known   map[string]bool // folded addresses, and "@domain"
	trouble string          // last error, logged once
}

// isPostmaster tells whether a is the mailbox that every domain has (RFC 5321
// section 4.5.1).
func isPostmaster(a mail.Address) bool { return strings.EqualFold(a.Local(), "postmaster") }

func (r *recipients) has(a mail.Address) bool {
	anyone := !routed(a)
	if r.all {
		return anyone
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refresh()
	return anyone && r.known["@"+a.Domain().String()] || r.known[fold(a)]
}

// routed tells whether the local part can be read as a way to another host:
// "user%host", "host!user", "user@host". Mailbox servers that still do so, as
// Postfix does by default, trust us and would relay. Such an address exists
// only where a list names it (RFC 5321 appendix F.2).
func routed(a mail.Address) bool { return strings.ContainsAny(a.Local(), "%!@") }

func fold(a mail.Address) string { return strings.ToLower(a.Local()) + "@" + a.Domain().String() }

func (r *recipients) load() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checked = r.now()
	return r.read()
}

// refresh reads the file again when it has changed.
func (r *recipients) refresh() {
	now := r.now()
	if now.Sub(r.checked) < recheck {
		return
	}
	r.checked = now
	info, err := os.Stat(r.path)
	if err == nil && r.info != nil && info.ModTime().Equal(r.info.ModTime()) && info.Size() == r.info.Size() && os.SameFile(info, r.info) {
		return
	}
	switch err := r.read(); {
	case err == nil:
		r.trouble = ""
		r.logger.Info("recipient list read again", "file", r.path, "entries", len(r.known))
	case err.Error() != r.trouble:
		r.trouble = err.Error()
		r.logger.Error("recipient list is broken, the old one stays", "file", r.path, "error", err)
	}
}

func (r *recipients) read() error {
	f, err := os.Open(r.path)
	if err != nil {
		return fmt.Errorf("read recipient list: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read recipient list: %w", err)
	}
	known := map[string]bool{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		entry, err := r.entry(lines.Text())
		if err != nil {
			return fmt.Errorf("recipient list %s, line %d: %w", r.path, n, err)
		}
		if entry != "" {
			known[entry] = true
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read recipient list %s: %w", r.path, err)
	}
	r.known, r.info = known, info
	return nil
}

// entry reads one line; a line without an entry gives "".
func (r *recipients) entry(line string) (string, error) {
	line = strings.TrimSpace(strings.TrimPrefix(line, "\uFEFF"))
	if strings.HasPrefix(line, "#") {
		return "", nil
	}
	if i := strings.IndexAny(line, " \t"); i > 0 && strings.HasPrefix(strings.TrimSpace(line[i:]), "#") {
		line = line[:i]
	}
	if line == "" {
		return "", nil
	}
	if name, ok := strings.CutPrefix(line, "@"); ok {
		d, err := mail.ParseDomain(name)
		return "@" + d.String(), err
	}
	a, err := mail.ParseAddress(line, true)
	return fold(a), err
}
