#!/usr/bin/env bash
# The full reliability figures, once per release: hours of kills, faults and simulation. Leaves docs/soak.log, which `candor bench reliability docs/soak.log` reads.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'END'
usage: tools/soak.sh [--quick] [--only PART,...] [--out FILE]

  Parts, in this order:
    tests      every test that prints a figure, slow ones included (ctest labels fault, sim, security, fuzz, dist, slurm, unit)
    kills      200 random kills in one long run, final weights equal to the undisturbed run's
    soak       an hour (--quick: 3 minutes) with a fault every ten seconds: memory and files flat, ledger clean
    recover    seconds to progress of every role, 10 kills each
    simulate   1,000 workers for 1,000 steps from one seed, then 200 more seeds
    image      an OCI image, built and doctored (skipped by name where buildah or a registry is missing)
  --quick      a tenth of the kills and of the time: to try this script
  --out FILE   docs/soak.log
END
}

quick=0 only=tests,kills,soak,recover,simulate,image out=docs/soak.log preset=release
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=1 ;;
    --only) only=${2:?} && shift ;;
    --out) out=${2:?} && shift ;;
    --help | -h) usage && exit 0 ;;
    *) echo "soak: unknown option '$1'" >&2 && usage >&2 && exit 2 ;;
  esac
  shift
done
build=build/$preset
[ -x "$build/candor" ] || { echo "soak: no release build: run tools/build.sh" >&2 && exit 1; }
export PYTHONDONTWRITEBYTECODE=1 OMP_WAIT_POLICY=passive
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

# What a part printed of figures and verdicts goes into the log; all of it into the scratch folder, shown when the part fails.
part() {
  local name=$1 started=$SECONDS
  shift
  case ,$only, in *",$name,"*) ;; *) return 0 ;; esac
  echo "== $name: $*"
  if "$@" >"$scratch/$name" 2>&1; then verdict=ok; else verdict=FAILED failed=1; fi
  {
    echo "== $name ($((SECONDS - started)) s): $verdict"
    grep -E '^ *(Start +[0-9]+:|[0-9]+: .*candor-figure|candor-figure)|tests passed|tests failed|\*\*\*Failed|\(Failed\)|\*\*\*Timeout' "$scratch/$name" | grep -E 'candor-figure|Start|passed|ailed|Timeout' || true
  } >>"$out"
  [ $verdict = ok ] || tail -n 60 "$scratch/$name"
}

kills=200 seconds=3600 each=10 seeds=200
if [ $quick = 1 ]; then kills=20 seconds=180 each=3 seeds=20; fi
{
  echo "# tools/soak.sh of $(./candor --version | head -1), $(nproc) cores, $(uname -r)"
  echo "# kills $kills, soak $seconds s"
} >"$out"
part tests ctest --test-dir "$build" -V -L 'fault|sim|security|fuzz|dist|slurm|e2e|unit' --no-tests=error
part kills python3 tests/fault/kill_matrix.py ./candor . soak $kills
part soak env SOAK_SECONDS=$seconds python3 tests/fault/soak_test.py ./candor .
part recover ./candor bench recover --kills $each
if ./candor simulate --help >/dev/null 2>&1; then
  part simulate sh -c "./candor simulate --workers 1000 --steps 1000 --seed 1 && for seed in \$(seq 2 $seeds); do ./candor simulate --workers 8 --steps 50 --seed \$seed >/dev/null || exit 1; done"
fi
if command -v buildah >/dev/null; then
  part image tools/image.sh --doctor
else
  echo "== image: skipped, no buildah here" >>"$out"
fi
./candor bench reliability "$out" || true
exit $failed
