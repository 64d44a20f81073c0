#!/usr/bin/env bash
# Builds what needs no LibTorch with a sanitizer and runs its tests: tools/sanitize.sh asan | tsan [--all] [ctest argument ...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case ${1-} in
  asan | tsan) preset=$1 && shift ;;
  --help | -h) sed -n '2s/^# //p' "$0" && exit 0 ;;
  *) sed -n '2s/^# /usage: /p' "$0" >&2 && exit 2 ;;
esac
link=$(readlink candor || true)
# Unit tests. --all: the front program too, with the malformed files, fuzz targets and strangers that go through it (twice as long).
# Under TSan only what has threads: the rest computes the same in one, and simulated processes are fibers, which TSan does not follow.
targets=(test_core test_coordinator test_rollout_link)
[ "$preset" = tsan ] || targets+=(test_proto test_text test_weights test_reward test_calibration test_eval test_simulation)
skipped='^(slow|malformed|fuzz|security)$'
if [ "${1-}" = --all ]; then shift && targets=() && skipped='^slow$'; fi
tools/build.sh "$preset" "${targets[@]}"
[ -z "$link" ] || ln -sfn "$link" candor  # ./candor stays what it was
# Leaks are looked for by the fuzzers; here libraries that keep what they have until the end (RocksDB, protobuf, spdlog) would fill the page.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=$PWD/tests/tsan.supp
selection=(-LE "$skipped" -E NOT_BUILT)
[ "$preset" != tsan ] || selection+=(-R 'Transport|Server|Worker|Verifier|Spool|Queue|Fault|Collective|Caller|Store|Record|Http|Link|Tokenizer|Template')
run=(ctest --test-dir "build/$preset" --parallel 2 --timeout 300 --output-on-failure --no-label-summary --no-tests=error "${selection[@]}" "$@")
# ThreadSanitizer cannot map its shadow where addresses are too random.
[ "$preset" != tsan ] || run=(setarch "$(uname -m)" -R "${run[@]}")
exec "${run[@]}"
