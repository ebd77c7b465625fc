#!/bin/bash
# What takes longer than make test: the kill harness many times over, the differential tests with many more cases, and every
# fuzz target for a while. $1: time of each fuzz target (default 10m). Writes docs/soak.log with seed, duration and counts. KILLS
# sets how often the gateway is killed.
set -uo pipefail
cd "$(dirname "$0")/../.."
time=${1:-10m} kills=${KILLS:-1000} log=docs/soak.log status=0
export GATEPOST_BINARY=$PWD/bin/gatepost GATEPOST_KILLS=$kills
{
  echo "soak of $(git describe --tags --always --dirty) on $(date -u +%F), $(nproc) cores, $(go version | cut -d' ' -f3)"
  echo "== kill harness, $kills kills"
} >"$log"
start=$(date +%s)
go test -count=1 -timeout 3h -run 'TestKilledUnderLoad' -v ./integration 2>/dev/null | grep -E 'seed|^(---|ok|FAIL)|never arrived|contradicts' >>"$log" || status=1
echo "took $(($(date +%s) - start)) s" >>"$log"
echo "== differential tests, 10000 cases each, GATEPOST_SEED ${GATEPOST_SEED:-1}" >>"$log"
GATEPOST_DIFFERENTIAL=10000 go test -count=1 -timeout 1h -run 'TestPeers(WholeMessages|WhenVerifying)?$' -v ./auth/... ./policy 2>&1 | grep -E '^(---|ok|FAIL)|named disagreements|we say|SKIPPED' >>"$log" || status=1
for pkg in $(go list ./...); do
  for target in $(go test -list '^Fuzz' "$pkg" | grep '^Fuzz'); do
    out=$(go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$pkg" 2>&1) || { status=1; echo "$out" | tail -n 30 >>"$log"; }
    echo "== fuzz $pkg $target $time: $(grep -oE 'execs: [0-9]+' <<<"$out" | tail -n 1), $(grep -oE 'total: [0-9]+' <<<"$out" | tail -n 1) interesting, $(tail -n 1 <<<"$out" | cut -f1)" >>"$log"
  done
done
cat "$log"
exit $status
