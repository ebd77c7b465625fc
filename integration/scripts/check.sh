#!/bin/bash
# Everything that can be said of the code without running its tests. $1: staticcheck@version, $2: govulncheck@version.
set -uo pipefail
cd "$(dirname "$0")/../.."
status=0
say() { printf '%s\n' "$*"; }
bad() { say "check: $*" >&2; status=1; }

files=$(gofmt -l $(git ls-files '*.go'))
[ -z "$files" ] || bad "gofmt would change: $files"
go vet ./... || bad "go vet"
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT
# Installed, not run by go run, whose exit status is 1 whatever the program's was.
GOBIN=$tmp go install "$1" && "$tmp/staticcheck" ./... || bad "staticcheck"
GOBIN=$tmp go install "$2" || bad "govulncheck cannot be had"
out=$("$tmp/govulncheck" ./... 2>&1)
case $? in
  0) ;;
  3) say "$out"; bad "govulncheck found vulnerabilities" ;;
  *) say "UNVERIFIED: known vulnerabilities were not looked up: $(tail -n 1 <<<"$out")" ;;
esac
go test -count=1 -run 'TestLayers' ./integration >/dev/null || bad "layers: go test -run TestLayers ./integration"
go build -o "$tmp/gatepost" ./cmd/gatepost || bad "build"
for doc in "config:reference" "metrics:metrics"; do
  "$tmp/gatepost" config "${doc#*:}" >"$tmp/doc.md" && cmp -s "$tmp/doc.md" "docs/${doc%%:*}.md" || bad "docs/${doc%%:*}.md is out of date; run 'make docs'"
done
go mod tidy -diff >/dev/null || bad "go.mod is not tidy"
[ $status = 0 ] && say "check: all clean"
exit $status
