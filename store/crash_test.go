package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"gatepost/store"
)

// TestPowerCut replays what a process wrote, drops what was not synced, and
// looks for every operation that had been acknowledged until then.
func TestPowerCut(t *testing.T) {
	dir := t.TempDir()
	log := record(t, dir, "FULL")
	if losses := cutPower(t, dir, log, 10); len(losses) > 0 {
		t.Errorf("%d power cuts lose mail: %.2000v", len(losses), losses)
	}
}

// The same without syncing must lose mail, else the test above shows nothing.
func TestPowerCutWithoutSync(t *testing.T) {
	dir := t.TempDir()
	log := record(t, dir, "OFF")
	if losses := cutPower(t, dir, log, 20); len(losses) == 0 {
		t.Error("synchronous=OFF loses nothing in this test")
	}
}

// A sync that fails must not be acknowledged, and must not spoil what follows.
func TestPowerCutAfterFailedSync(t *testing.T) {
	dir := t.TempDir()
	log := record(t, dir, "FULL", "-e", "inject=fsync,fdatasync:error=EIO:when=20+17")
	failed := 0
	err := readCalls(log, func(c sysCall) error {
		if c.name == "write" && c.begun && strings.HasPrefix(unhexString(c.args[1]), "failed ") {
			failed++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if failed == 0 {
		t.Error("syncs failed, and every operation was acknowledged")
	}
	if losses := cutPower(t, dir, log, 10); len(losses) > 0 {
		t.Errorf("%d power cuts lose mail: %.2000v", len(losses), losses)
	}
}

// promise is what was said about a message until now.
type promise string

// cutPower cuts the power at every nth acknowledgement and at the end, and
// gives what was lost.
func cutPower(t *testing.T, dir, log string, nth int) []error {
	t.Helper()
	d := newDisk(dir)
	chance := rand.New(rand.NewPCG(1, 2))
	promises := map[int64]promise{}
	var losses []error
	acknowledged, cuts := 0, 0
	look := func() {
		cuts++
		for _, luck := range []*rand.Rand{nil, chance} {
			if err := checkPromises(t, d.after(t, luck), promises); err != nil {
				losses = append(losses, fmt.Errorf("after %d acknowledgements: %w", acknowledged, err))
			}
		}
	}
	err := readCalls(log, func(c sysCall) error {
		d.see(c)
		if c.name != "write" || !c.begun || !takePromise(promises, unhexString(c.args[1])) {
			return nil
		}
		if acknowledged++; acknowledged%nth == 0 {
			look()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	look()
	if acknowledged < 100 {
		t.Fatalf("only %d acknowledgements in the log", acknowledged)
	}
	t.Logf("%d acknowledgements, power cut %d times", acknowledged, cuts)
	return losses
}

// takePromise reads a line of the child and tells whether it acknowledges.
func takePromise(promises map[int64]promise, line string) bool {
	var said promise
	var id int64
	if n, _ := fmt.Sscanf(line, "%s %d\n", &said, &id); n != 2 {
		return false
	}
	switch said {
	case "put", "taking", "gone":
		promises[id] = said
		return said != "taking"
	}
	return false
}

// checkPromises opens the database and looks whether all is as it was said.
func checkPromises(t *testing.T, dir string, promises map[int64]promise) error {
	defer os.RemoveAll(dir)
	s, err := store.Open(t.Context(), store.Options{URL: "sqlite", Dir: dir, Schemas: []store.Schema{crashThings()}})
	if err != nil {
		return err
	}
	defer s.Close()
	state, err := s.ReaderPragma(t.Context(), "integrity_check")
	if err != nil || state != "ok" {
		return fmt.Errorf("integrity: %s, %w", state, err)
	}
	messages, err := ids(t, s, "SELECT id FROM message WHERE length(octets) = 30000")
	if err != nil {
		return err
	}
	recipients, err := ids(t, s, "SELECT message FROM recipient")
	if err != nil {
		return err
	}
	var errs []error
	for id, said := range promises {
		if said == "put" && (!messages[id] || !recipients[id]) {
			errs = append(errs, fmt.Errorf("message %d was acknowledged and is lost", id))
		}
		if said == "gone" && (messages[id] || recipients[id]) {
			errs = append(errs, fmt.Errorf("message %d was removed and is back", id))
		}
	}
	for id := range messages {
		if !recipients[id] {
			errs = append(errs, fmt.Errorf("message %d is there by half", id))
		}
	}
	if len(recipients) > len(messages) {
		errs = append(errs, fmt.Errorf("%d recipients of %d messages", len(recipients), len(messages)))
	}
	return errors.Join(errs...)
}

func ids(t *testing.T, s *store.Store, query string) (map[int64]bool, error) {
	found := map[int64]bool{}
	err := s.Select(t.Context(), func(scan func(...any) error) error {
		var id int64
		err := scan(&id)
		found[id] = true
		return err
	}, query)
	return found, err
}
