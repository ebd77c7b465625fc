#!/bin/bash
# Fuzzes every target for $1 each. New crashes are kept by go under testdata/fuzz.
set -euo pipefail
cd "$(dirname "$0")/../.."
for pkg in $(go list ./...); do
  for target in $(go test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true); do
    echo "== $pkg $target"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" -fuzzminimizetime 2s "$pkg"
  done
done
