#!/bin/bash
# Runs every test and closes with one plain line: N passed, N failed, N skipped.
set -uo pipefail
cd "$(dirname "$0")/../.."
export GATEPOST_SUITES=${GATEPOST_SUITES:-$PWD/../shared/suites}
export GATEPOST_PEERS=${GATEPOST_PEERS:-$PWD/.cache/peers}
export GATEPOST_BINARY=${GATEPOST_BINARY:-$PWD/bin/gatepost}
[ -d "$GATEPOST_SUITES" ] || echo "WARNING: no conformance suites at $GATEPOST_SUITES (set GATEPOST_SUITES): their tests are SKIPPED" >&2
if [ -z "${GATEPOST_TEST_POSTGRES:-}" ]; then
  GATEPOST_TEST_POSTGRES=$(integration/scripts/postgres.sh start) || { echo "PostgreSQL did not start" >&2; exit 1; }
  export GATEPOST_TEST_POSTGRES
  trap 'integration/scripts/postgres.sh stop >/dev/null' EXIT
fi
# -count=1: every test runs, none is answered from the cache of an earlier run.
log=$(mktemp)
status=0
packages=$(go list ./... | grep -v /integration)
CGO_ENABLED=1 go test -race -count=1 -json -timeout 15m $packages >"$log" || status=1
go test -count=1 -json -timeout 25m ./integration/... >>"$log" || status=1
[ -d "$GATEPOST_SUITES" ] && { /usr/bin/python3 integration/scripts/conformance.py "$log" || status=1; }
/usr/bin/python3 integration/scripts/summary.py "$log" || status=1
rm -f "$log"
exit $status
