#!/bin/bash
# Measures the gateway beside Postfix, and signing beside Postfix with OpenDKIM, in one interleaved matrix, and prints medians
# and ratios. Then the packages' own benchmarks. N, SIZE, SESSIONS and REPEATS may be set. Needs root and cgroup v2.
set -euo pipefail
cd "$(dirname "$0")/../.."
rig=${GATEPOST_BENCH:-$PWD/../shared/bench}
[ -x "$rig/peers.sh" ] || [ -f "$rig/peers.sh" ] || { echo "no load generator at $rig (set GATEPOST_BENCH)" >&2; exit 1; }
work=$PWD/.cache/bench
mkdir -p "$work/rig"
cp -r "$rig"/. "$work/rig/" && chmod -R u+w "$work/rig"
export BENCH_ROOT=$work/root GATEPOST_BENCH_DIR=$work/gatepost
mkdir -p "$BENCH_ROOT" "$GATEPOST_BENCH_DIR"
bash "$work/rig/peers.sh" deps >/dev/null
[ -d "$BENCH_ROOT/peers/postfix" ] || bash "$work/rig/peers.sh" fetch >/dev/null
[ -x "$work/rig/bin/gen" ] || bash "$work/rig/peers.sh" build
[ -s "$GATEPOST_BENCH_DIR/dkim.pem" ] || openssl genrsa -out "$GATEPOST_BENCH_DIR/dkim.pem" 2048 2>/dev/null
export RELAY_CMD="bash -c 'rm -rf $GATEPOST_BENCH_DIR/data; exec $PWD/bin/gatepost serve --config $PWD/integration/bench/relay.yaml'"
export DKIM_CMD="bash -c 'rm -rf $GATEPOST_BENCH_DIR/data; exec $PWD/bin/gatepost serve --config $PWD/integration/bench/relay-dkim.yaml'"
peers=(${PEERS:-postfix postfix-default cmd:RELAY postfix-dkim cmd:DKIM})
bash "$work/rig/peers.sh" matrix "${peers[@]}" -- "${N:-4000}" "${SIZE:-5120}" "${SESSIONS:-20}" "${REPEATS:-5}" >"$work/runs.jsonl"
python3 "$work/rig/summary.py" "$work/runs.jsonl"
[ -n "${ONLY_PEERS:-}" ] || go test -run '^$' -bench . -benchmem ./store ./queue ./gateway/... ./auth/... ./policy ./mail
