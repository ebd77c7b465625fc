#!/bin/bash
# Runs the public test suites only and prints one table of them. A test that runs a suite has Suite, Vectors or IsEmail in its
# name and logs a CONFORMANCE line; its package is found by that line.
set -uo pipefail
cd "$(dirname "$0")/../.."
export GATEPOST_SUITES=${GATEPOST_SUITES:-$PWD/../shared/suites}
export GATEPOST_BINARY=${GATEPOST_BINARY:-$PWD/bin/gatepost}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
packages=$(grep -rl --include='*_test.go' 'CONFORMANCE: suite=' . | xargs -n 1 dirname | sort -u)
status=0
go test -json -count=1 -timeout 10m -run 'Suite|Vectors|IsEmail' $packages >"$log" || status=1
/usr/bin/python3 integration/scripts/conformance.py "$log" || status=1
[ $status = 0 ] || /usr/bin/python3 integration/scripts/summary.py "$log"
exit $status
