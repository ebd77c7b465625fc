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
go run "$1" ./... || bad "staticcheck"
out=$(go run "$2" ./... 2>&1); code=$?
case $code in
  0) ;;
  3) say "$out"; bad "govulncheck found vulnerabilities" ;;
  *) say "UNVERIFIED: known vulnerabilities were not looked up: $(tail -n 1 <<<"$out")" ;;
esac
go test -count=1 -run 'TestLayers' ./integration >/dev/null || bad "layers: go test -run TestLayers ./integration"
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT
go build -o "$tmp/gatepost" ./cmd/gatepost || bad "build"
for doc in "config:reference" "metrics:metrics"; do
  "$tmp/gatepost" config "${doc#*:}" >"$tmp/doc.md" && cmp -s "$tmp/doc.md" "docs/${doc%%:*}.md" || bad "docs/${doc%%:*}.md is out of date; run 'make docs'"
done
go mod tidy -diff >/dev/null || bad "go.mod is not tidy"
[ $status = 0 ] && say "check: all clean"
exit $status
