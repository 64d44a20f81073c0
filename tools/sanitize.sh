#!/usr/bin/env bash
# Builds what needs no LibTorch with a sanitizer and runs its tests: tools/sanitize.sh asan | tsan [ctest argument ...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case ${1-} in
  asan | tsan) preset=$1 && shift ;;
  --help | -h) sed -n '2s/^# //p' "$0" && exit 0 ;;
  *) sed -n '2s/^# /usage: /p' "$0" >&2 && exit 2 ;;
esac
if [ "$preset" = tsan ] && ! setarch "$(uname -m)" -R true 2>/dev/null; then
  echo "sanitize: random addresses cannot be switched off here (setarch -R), and ThreadSanitizer cannot run with them: skipped" && exit 77
fi
link=$(readlink candor || true)
# ASan: everything, the front program with the malformed files, the fuzz targets, strangers and the sandbox too.
# TSan: what has threads; the rest computes the same in one, and simulated processes are fibers, which it does not follow.
targets=() selection=(-LE '^slow$')
if [ "$preset" = tsan ]; then
  targets=(test_core test_proto test_text test_weights test_reward test_coordinator test_rollout_link test_trainer_link test_serve_threads)
  selection=(-LE '^(slow|malformed|fuzz|security)$' -E 'NOT_BUILT|Simulation|Parity')
fi
tools/build.sh "$preset" "${targets[@]}"
[ -z "$link" ] || ln -sfn "$link" candor  # ./candor stays what it was
# Leaks are looked for by the fuzzers; here libraries that keep what they have until the end (RocksDB, protobuf, spdlog) would fill the page.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=$PWD/tests/tsan.supp
run() { # JOBS [ctest argument ...]
  local command=(ctest --test-dir "build/$preset" --parallel "$1" --timeout 300 --output-on-failure --no-label-summary --no-tests=error "${@:2}")
  # ThreadSanitizer cannot map its shadow where addresses are too random.
  [ "$preset" != tsan ] || command=(setarch "$(uname -m)" -R "${command[@]}")
  "${command[@]}"
}
run 2 "${selection[@]}" "$@" && exit
# Some tests wait for one another with deadlines that a sanitizer's slowness can miss: what failed must fail again.
echo "sanitize: what failed runs once more, alone"
run 1 --rerun-failed
