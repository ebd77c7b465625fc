package peertest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Rspamd is a running rspamd, which looks names up at a server of the test's.
// Only its modules for SPF, DKIM, ARC and DMARC run; it has no Redis, so that
// nothing is remembered between messages.
type Rspamd struct{ address string }

// Mail is a message as it came by SMTP.
type Mail struct{ Client, Helo, From, Message string }

// Verdict holds the symbols that rspamd gave, with their options.
type Verdict map[string][]string

// StartRspamd runs the rspamd that integration/scripts/deps.sh unpacked below
// GATEPOST_PEERS. The test is skipped where there is none.
func StartRspamd(t testing.TB, nameserver string) *Rspamd {
	t.Helper()
	root, err := filepath.Abs(filepath.Join(os.Getenv("GATEPOST_PEERS"), "rspamd"))
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(root, "usr/bin/rspamd")
	environment := append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(root, "usr/lib/rspamd"))
	version := exec.Command(program, "--version")
	version.Env = environment
	if out, err := version.CombinedOutput(); err != nil || os.Getenv("GATEPOST_PEERS") == "" {
		t.Skipf("SKIPPED: rspamd is not at %s; 'make deps' unpacks it, GATEPOST_PEERS says where: %v %s", program, err, out)
	}
	r := &Rspamd{address: freePort(t)}
	cmd := exec.Command(program, r.configure(t, root, nameserver)...)
	cmd.Env = environment
	r.run(t, cmd)
	return r
}

// configure writes the configuration and gives the arguments.
func (r *Rspamd) configure(t testing.TB, root, nameserver string) []string {
	t.Helper()
	dir, share := t.TempDir(), filepath.Join(root, "usr/share/rspamd")
	write(t, filepath.Join(dir, "rspamd.conf"), fmt.Sprintf(rspamdConf, dir, nameserver, r.address, root))
	write(t, filepath.Join(dir, "init.lua"), dkimReasons)
	write(t, filepath.Join(dir, "suffixes"), "com\nexample\ntest\n")
	return []string{"--no-fork", "--insecure", "--config", filepath.Join(dir, "rspamd.conf"), "--var=LUALIBDIR=" + filepath.Join(share, "lualib"), "--var=SHAREDIR=" + share}
}

// run keeps the daemon until the test ends.
func (r *Rspamd) run(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its workers are of its group
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("rspamd: …%s", log.String()[max(0, log.Len()-800):])
		}
	})
	r.await(t)
}

const rspamdConf = `
options {
  filters = "dkim"; url_tld = "%[1]s/suffixes"; pidfile = "%[1]s/pid"; control_socket = "%[1]s/control mode=0600"; cache_file = "%[1]s/cache";
  history_file = "%[1]s/history"; hs_cache_dir = "%[1]s"; tempdir = "%[1]s"; local_addrs = []; check_local = true; check_authed = true;
  allow_raw_input = true; task_timeout = 20s; dns { nameserver = ["%[2]s"]; timeout = 2s; retransmits = 3; sockets = 4; }
}
logging { type = "console"; level = "notice"; }
worker "normal" { bind_socket = "%[3]s"; count = 1; }
spf { spf_cache_size = 0; }
dkim { dkim_cache_size = 0; max_sigs = 50; }
dmarc { }
arc { }
group "test" { symbols { "DMARC_BAD_POLICY" { weight = 0.0; } "DMARC_DNSFAIL" { weight = 0.0; } } }
group "test" { symbols { "DKIM_REASONS" { weight = 0.0; } } }
group "policies" { .include "%[4]s/etc/rspamd/scores.d/policies_group.conf" }
modules { path = "%[4]s/usr/share/rspamd/plugins/spf.lua"; path = "%[4]s/usr/share/rspamd/plugins/dmarc.lua"; path = "%[4]s/usr/share/rspamd/plugins/arc.lua"; }
lua = "%[1]s/init.lua";
`

// dkimReasons makes a symbol of what rspamd knows about each signature: the
// beginning of b=, the result and the reason.
const dkimReasons = `
local id = rspamd_config:register_symbol{name = 'DKIM_REASONS', type = 'postfilter', score = 0.0, callback = function(task)
  for i, r in ipairs(task:get_dkim_results()) do
    task:insert_result('DKIM_REASONS', 1.0, string.format('%d:%s:%s:%s', i, r.bhash or '', r.result, r.fail_reason or ''))
  end
end}
`

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// freePort is an address that nobody listens on.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// await returns when rspamd answers.
func (r *Rspamd) await(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		conn, err := net.Dial("tcp", r.address)
		if err == nil {
			conn.Close()
			tick.Stop()
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("rspamd does not listen at %s: %v", r.address, err)
		case <-tick.C:
		}
	}
}

// Check asks about a message.
func (r *Rspamd) Check(t testing.TB, m Mail) Verdict {
	t.Helper()
	v, err := r.check(t.Context(), m)
	if err != nil {
		t.Fatalf("rspamd: %v", err)
	}
	return v
}

func (r *Rspamd) check(ctx context.Context, m Mail) (Verdict, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.address+"/checkv2", strings.NewReader(m.Message))
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"IP": m.Client, "Helo": m.Helo, "From": m.From, "Rcpt": "ann@receiver.test"} {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Symbols map[string]struct{ Options []string }
		Error   string
	}
	if err := errors.Join(json.Unmarshal(text, &answer), worded(answer.Error)); err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %w: %.300s", response.Status, err, text)
	}
	v := Verdict{}
	for name, symbol := range answer.Symbols {
		v[name] = symbol.Options
	}
	return v, nil
}

func worded(text string) error {
	if text == "" {
		return nil
	}
	return errors.New(text)
}

// One is the only one of several symbols that was given; "nothing" if none
// was, all of them if more were.
func (v Verdict) One(symbols ...string) string {
	var found []string
	for _, s := range symbols {
		if _, ok := v[s]; ok {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		return "nothing"
	}
	return strings.Join(found, " and ")
}

// DMARC is the verdict in short: pass, what the record asks of a failure, or
// "no policy".
func (v Verdict) DMARC() string {
	words := map[string]string{"DMARC_POLICY_ALLOW": "pass", "DMARC_POLICY_REJECT": "reject", "DMARC_POLICY_QUARANTINE": "quarantine", "DMARC_POLICY_SOFTFAIL": "none",
		"DMARC_NA": "no policy", "DMARC_BAD_POLICY": "no policy", "DMARC_DNSFAIL": "no answer"}
	symbol := v.One(slices.Sorted(maps.Keys(words))...)
	return cmp.Or(words[symbol], symbol)
}

// ARC is what the chain came to: pass, fail or none.
func (v Verdict) ARC() string {
	words := map[string]string{"ARC_ALLOW": "pass", "ARC_REJECT": "fail", "ARC_INVALID": "fail", "ARC_DNSFAIL": "fail", "ARC_NA": "none"}
	symbol := v.One(slices.Sorted(maps.Keys(words))...)
	return cmp.Or(words[symbol], symbol)
}
