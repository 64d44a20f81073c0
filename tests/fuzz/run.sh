#!/usr/bin/env bash
# Builds the libFuzzer program (preset fuzz) and runs each target for some seconds: run.sh [SECONDS] [NAME...]. Exit code 1 when one finds something.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ "${1-}" != --help ] || { sed -n '2s/^# //p' "$0" && exit 0; }
seconds=${1:-15}
[ $# -eq 0 ] || shift
command -v clang++-14 >/dev/null || { echo "fuzz: no clang-14 here (tools/setup.sh --fuzz installs it): skipped; test_fuzz runs the same targets" && exit 77; }
link=$(readlink candor || true)
tools/build.sh fuzz fuzzers
[ -z "$link" ] || ln -sfn "$link" candor  # ./candor stays what it was
build=build/fuzz/tests/fuzz
rm -rf "$build/corpus"
"$build/fuzz_seeds" "$build/corpus"
names=("$@")
[ ${#names[@]} -gt 0 ] || names=($(cd "$build/corpus" && ls))
found=0
one() {  # NAME: one log line; a finding stays in build/fuzz/tests/fuzz/found/
  local name=$1 log=$build/log/$1
  mkdir -p "$build/log" "$build/found" "$build/grown/$name"
  if "$build/fuzzer" "--target=$name" -seed=1 -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -max_len=65536 -artifact_prefix="$build/found/$name-" \
    "$build/grown/$name" "$build/corpus/$name" >"$log" 2>&1; then
    echo "candor-figure R10 libfuzzer/$name=$(grep -oE 'Done [0-9]+' "$log" | grep -oE '[0-9]+') runs in $seconds s, 0 found bound=0"
  else
    echo "fuzz: $name found something: $log, $build/found/$name-*" && tail -25 "$log" && return 1
  fi
}
for ((i = 0; i < ${#names[@]}; i += 2)); do  # two at a time
  one "${names[i]}" & first=$!
  second=0
  if [ $((i + 1)) -lt ${#names[@]} ]; then one "${names[i + 1]}" || second=1; fi
  wait "$first" || found=1
  [ "$second" -eq 0 ] || found=1
done
exit "$found"
