#!/usr/bin/env bash
# The full reliability figures, once per release: hours of kills, faults and simulation. Leaves docs/soak.log, which `candor bench reliability docs/soak.log` reads.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'END'
usage: [SOAK_MINUTES=60] tools/soak.sh [--quick] [--only PART,...] [--out FILE]

  Parts, in this order:
    kills      200 random kills in one long run, final weights equal to the undisturbed run's
    simulate   1,000 workers for 1,000 steps from one seed, then 1,000 seeds of 8 workers for 50 steps
    image      an OCI image, built and doctored, on debootstrap's Debian where no registry answers (skipped by name where buildah is missing)
    soak       SOAK_MINUTES with a fault every ten seconds: memory and files flat, ledger clean
    recover    seconds to progress of every role, 10 kills each
    tests      the tests of reliability, slow ones included (ctest labels fault, sim, security, fuzz, malformed, dist, slurm, e2e, unit), but for those that
               another part repeats at length and two of other things (the main job, every objective's recipe)
  SOAK_MINUTES how long the soak lasts (60; at least 3). Kills, seeds and simulated steps shrink with it; the log says by how much.
  --quick      SOAK_MINUTES=3: to try this script
  --out FILE   docs/soak.log
END
}

minutes=${SOAK_MINUTES:-60} only=kills,simulate,image,soak,recover,tests out=docs/soak.log preset=release
while [ $# -gt 0 ]; do
  case $1 in
    --quick) minutes=3 ;;
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
    grep -E '^ *Start +[0-9]+:|candor-figure|tests passed|tests failed|x real time|length bias|(^|: )leases |^image: |is missing|\*\*\*Failed|\(Failed\)|\*\*\*Timeout' "$scratch/$name" |
      awk '/^ *Start +[0-9]+:/ { start[$2] = $0; next }  # of the tests that print a figure alone
           ($1 in start) { print start[$1]; delete start[$1] }
           { print }' || true
  } >>"$out"
  [ $verdict = ok ] || tail -n 60 "$scratch/$name"
}

[[ $minutes =~ ^[1-9][0-9]*$ ]] && [ "$minutes" -ge 3 ] || { echo "soak: SOAK_MINUTES must be a whole number from 3, not '$minutes'" >&2 && exit 2; }
share() {  # FULL LEAST: the hour's number, less in less time
  local part=$(($1 * (minutes < 60 ? minutes : 60) / 60))
  echo $((part < $2 ? $2 : part))
}
seconds=$((minutes * 60)) kills=$(share 200 20) each=$(share 10 3) seeds=$(share 1000 100) steps=$(share 1000 50)
{
  echo "# tools/soak.sh of $(./candor --version | head -1), $(nproc) cores, $(uname -r)"
  echo "# duration: soak $seconds s of the full 3600; kills $kills of 200, $each of each role of 10, seeds $seeds of 1000, 1,000 workers for $steps steps of 1000; parts $only"
} >"$out"
part kills python3 tests/fault/kill_matrix.py ./candor . soak $kills
part simulate sh -c "./candor simulate --workers 1000 --steps $steps --seed 1 && ./candor simulate --seeds 1..$seeds --workers 8 --steps 50 &&
  echo candor-figure R9 simulated_seeds=$seeds of 8 workers x 50 steps and 1,000 workers x $steps steps, failing=0 bound=0"
if command -v buildah >/dev/null; then
  part image sh -c 'tools/image.sh --doctor || tools/image.sh --debootstrap --doctor'
else
  echo "== image: skipped, no buildah here" >>"$out"
fi
part soak env SOAK_SECONDS=$seconds python3 tests/fault/soak_test.py ./candor .
part recover ./candor bench recover --kills $each
part tests ctest --test-dir "$build" -V --parallel 2 -L 'fault|sim|security|fuzz|malformed|dist|slurm|e2e|unit' --no-tests=error \
  -E '^(fault_soak|fault_bench_recover|sim_seeds_.*|e2e_cities_run|e2e_every_recipe)$'
./candor bench reliability "$out" || true
exit $failed
