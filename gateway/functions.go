package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"syscall"

	"gatepost/admin"
	"gatepost/config"
)

// OpenOffline makes a gateway that never runs, for the command line to ask
// when none is running.
func OpenOffline(ctx context.Context, c *config.Loaded) (*Gateway, error) {
	if err := sameOwner(c.DataDir); err != nil {
		return nil, err
	}
	return New(ctx, c, Options{Logger: slog.New(slog.DiscardHandler)})
}

// sameOwner keeps root from making files in the data directory of another
// user, who could not open them afterwards.
func sameOwner(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return nil // it will be made, or opening says what is wrong
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 && st.Uid != 0 {
		return fmt.Errorf("data_dir %s belongs to uid %d, and files made by root would be closed to it; use: sudo -u '#%d' gatepost …", dir, st.Uid, st.Uid)
	}
	return nil
}

// Close closes a gateway that was not run.
func (g *Gateway) Close() { g.closeAll() }

// Warn logs what the check of the configuration warned of.
func (g *Gateway) Warn(warnings config.Errors) {
	for _, w := range warnings {
		g.log.Warn("configuration: "+w.Msg, "file", w.File, "line", w.Line, "key", w.Path)
	}
}

// nothing is the question or answer of a call that has none.
type nothing struct{}

// ReloadAnswer is what became of a reload.
type ReloadAnswer struct {
	NeedRestart []string `json:"need_restart,omitempty"`
}

// Functions are the calls that the command line can make, by name.
func (g *Gateway) Functions() map[string]admin.Function {
	all := map[string]admin.Function{
		"ready": admin.Answer(func(ctx context.Context, _ nothing) (nothing, error) { return nothing{}, g.Ready(ctx) }),
		"reload": admin.Answer(func(ctx context.Context, _ nothing) (ReloadAnswer, error) {
			restart, err := g.Reload(ctx)
			return ReloadAnswer{restart}, err
		}),
		"trace/show":   admin.Answer(g.traceShow),
		"trace/search": admin.Answer(g.traceSearch),
		"explain":      admin.Answer(g.explain),
		"replay":       admin.Answer(g.replay),
	}
	for _, group := range []map[string]admin.Function{g.keyFunctions(), g.queueFunctions(), g.reportFunctions(), g.reportOutFunctions()} {
		for name, f := range group {
			all[name] = f
		}
	}
	return all
}

// logged notes who changed what, for the log.
func (g *Gateway) logged(what string, attrs ...any) {
	g.log.Info("administrator: "+what, attrs...)
}
