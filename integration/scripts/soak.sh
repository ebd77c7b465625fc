#!/bin/bash
# What takes longer than make test: the kill run on both engines, the differential tests with many more cases, and every fuzz
# target for a while. Writes a log of it, docs/soak.log, and ends with an error when anything failed.
#
#   soak.sh [TIME]     TIME of each fuzz target: 10m by default
#   FUZZ_JOBS=2        fuzz targets at once, one worker each
#   FUZZ_ONLY=REGEX    only targets whose "package Target" fits
#   KILLS=1000         kills on SQLite; a tenth of them on PostgreSQL
#   DIFFERENTIAL=10000 cases of each differential test; GATEPOST_SEED=1 is their seed
#   SKIP="kill diff fuzz"  parts to leave out
#   SOAK_LOG=FILE      another log
#   GATEPOST_TEST_POSTGRES=URL  a server to use; without it one is started
set -uo pipefail
cd "$(dirname "$0")/../.."
time=${1:-10m} jobs=${FUZZ_JOBS:-2} kills=${KILLS:-1000} cases=${DIFFERENTIAL:-10000} skip=${SKIP:-}
log=${SOAK_LOG:-docs/soak.log} status=0 begin=$(date +%s)
export GATEPOST_BINARY=${GATEPOST_BINARY:-$PWD/bin/gatepost} GATEPOST_KILLS=$kills GATEPOST_SEED=${GATEPOST_SEED:-1}
export GATEPOST_SUITES=${GATEPOST_SUITES:-$PWD/../shared/suites} GATEPOST_PEERS=${GATEPOST_PEERS:-$PWD/.cache/peers}
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT

say() { printf '%s\n' "$*" | tee -a "$log"; }
wanted() { [[ " $skip " != *" $1 "* ]]; }

# part NAME PATTERN COMMAND… runs a test and keeps the lines of its output that fit the pattern; of a failure, all the end.
part() {
  local name=$1 pattern=$2 start
  shift 2
  start=$(date +%s)
  say "== $name"
  if "$@" >"$work/out" 2>&1; then grep -E "$pattern" "$work/out" | tee -a "$log"; else
    status=1
    tail -n 60 "$work/out" | tee -a "$log"
    say "FAILED: $name"
  fi
  say "took $(($(date +%s) - start)) s"
}

# fuzz PACKAGE TARGET runs one target and prints its line of the log, with the failing input behind it.
fuzz() {
  local pkg=$1 target=$2 out dir corpus took execs new first input result=passed
  dir=$(go list -f '{{.Dir}}' "$pkg")
  corpus=$(cd "$dir" && find "testdata/fuzz/$target" -type f 2>/dev/null | sort | xargs -r cat | sha256sum | cut -c1-12)
  out=$(go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzz_time" -parallel 1 "$pkg" 2>&1) || result=FAILED
  # The fuzzer may miss its own end, which says nothing of the target.
  [ $result = FAILED ] && grep -q 'context deadline exceeded' <<<"$out" && ! grep -q 'Failing input' <<<"$out" && result="passed (ended late)"
  took=$(grep -oE 'elapsed: [0-9hms]+' <<<"$out" | tail -n 1 | cut -d' ' -f2)
  execs=$(grep -oE 'execs: [0-9]+' <<<"$out" | tail -n 1 | tr -dc 0-9)
  new=$(grep -oE 'new interesting: [0-9]+' <<<"$out" | tail -n 1 | tr -dc 0-9)
  first=$(grep -oE 'coverage: 0/[0-9]+' <<<"$out" | head -n 1 | cut -d/ -f2)
  printf '%s %s: %s, %s executions, %s inputs at the start, %s new interesting, corpus %s, %s\n' \
    "${pkg#*/}" "$target" "${took:-0s}" "${execs:-0}" "${first:-0}" "${new:-0}" "$corpus" "$result"
  [[ $result == passed* ]] && return
  tail -n 30 <<<"$out" | sed 's/^/    /'
  input=$(grep -oE "testdata/fuzz/$target/[0-9a-f]+" <<<"$out" | head -n 1)
  [ -n "$input" ] && { echo "    $input holds:"; head -c 4000 "$dir/$input" | sed 's/^/    /'; }
  touch "$failed"
}
export -f fuzz
export fuzz_time=$time failed=$work/failed

version=$(git describe --tags --always --dirty) # before the log is begun, which is in the tree
: >"$log"
say "soak of $version, begun $(date -u '+%F %H:%M') UTC, $(nproc) cores, $(go version | cut -d' ' -f3), Linux $(uname -r)"
if wanted kill; then
  if [ -z "${GATEPOST_TEST_POSTGRES:-}" ]; then
    GATEPOST_TEST_POSTGRES=$(integration/scripts/postgres.sh start) || { say "FAILED: PostgreSQL did not start"; status=1; }
    export GATEPOST_TEST_POSTGRES
    trap 'rm -rf "$work"; integration/scripts/postgres.sh stop >/dev/null' EXIT
  fi
  kept='seed|^(---|ok|FAIL)|never arrived|contradicts|SKIP'
  part "kill run, SQLite" "$kept" go test -count=1 -timeout 3h -run '^TestKilledUnderLoad$' -v ./integration
  part "kill run, PostgreSQL" "$kept" go test -count=1 -timeout 3h -run '^TestKilledUnderLoadOnPostgreSQL$' -v ./integration
  grep -q -- '--- SKIP' "$work/out" && { say "FAILED: it was skipped"; status=1; }
fi
if wanted diff; then
  export GATEPOST_DIFFERENTIAL=$cases
  part "differential tests, $cases cases each, seed $GATEPOST_SEED" '^(---|ok|FAIL)|named disagreements|we say|SKIPPED' \
    go test -count=1 -timeout 2h -run 'TestPeers(WholeMessages|WhenVerifying)?$' -v ./auth/... ./policy
fi
if wanted fuzz; then
  say "== fuzz targets, $time each, $jobs at once with one worker each"
  say "   Go's fuzzer takes no seed. It begins with the inputs in the code, those of testdata/fuzz (their hash stands as corpus) and"
  say "   what earlier runs on this machine found; a run cannot be repeated octet by octet, but input that fails is kept and shown."
  module=$(go list -m)
  git grep -oE '^func Fuzz[A-Za-z0-9]+' -- '*_test.go' | sed -E "s|^(.*)/[^/]*:func |$module/\\1 |" | sort | grep -E "${FUZZ_ONLY:-.}" >"$work/targets"
  # Each line appears as one, though several targets write.
  xargs -P "$jobs" -L 1 bash -c 'out=$(fuzz "$0" "$1"); flock "$failed.lock" printf "%s\n" "$out"' <"$work/targets" | tee -a "$log"
  [ -e "$failed" ] && status=1
  [ -s "$work/targets" ] || { say "FAILED: no fuzz target fits"; status=1; }
  say "$(wc -l <"$work/targets") targets"
fi
say "took $(($(date +%s) - begin)) s in all; $([ $status = 0 ] && echo "nothing failed" || echo "SOMETHING FAILED")"
exit $status
