#!/usr/bin/env bash
# Set-up, build, then the test suite.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'END'
usage: ./test.sh [--all] [--preset NAME] [ctest argument ...]

  Without arguments: the everyday suite, every test that is not labelled "slow".
  --all          the slow ones too
  --preset NAME  release (default), debug, asan or tsan
  Further arguments go to ctest:
      ./test.sh -L unit           one label: unit, structure, tools, dist, e2e, parity
      ./test.sh -R calibration    tests by name
      ./test.sh --rerun-failed --output-on-failure
END
}

preset=release
selection=(-LE '^slow$')
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --all) selection=() ;;
    --preset) preset=${2:?--preset needs a name} && shift ;;
    *) break ;;
  esac
  shift
done

tools/setup.sh
tools/build.sh "$preset"
tools/prepare.sh
# Two at a time at most: tests with a model compute with every core on their own.
cores=$(nproc)
exec ctest --test-dir "build/$preset" --parallel "$((cores < 2 ? cores : 2))" --output-on-failure --no-label-summary --no-tests=error "${selection[@]}" "$@"
