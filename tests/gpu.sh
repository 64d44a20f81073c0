#!/usr/bin/env bash
# Everything that needs a GPU, in one call. Says what it ran and what came of it; exit code 0 when all passed, 77 where there is no GPU.
#
#   tests/gpu.sh [BUILD_FOLDER]        (default: build/release)
set -uo pipefail
build=$(realpath -- "${1:-$(dirname "${BASH_SOURCE[0]}")/../build/release}") || exit 1
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! found=$("$build/candor-torch" --device); then
  echo "gpu: nothing was run: $found"
  exit 77
fi
gpus=$(nvidia-smi -L 2>/dev/null | wc -l)
echo "gpu: $found of $gpus ($(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -1))"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0
run() { # NAME COMMAND...: one line of result, the whole output only when it fails
  local name=$1 started=$SECONDS
  shift
  if "$@" >"$folder/log" 2>&1; then
    echo "gpu: passed  $name ($((SECONDS - started)) s)"
  else
    failed=1
    echo "gpu: FAILED  $name, exit code $?: $*"
    tail -40 "$folder/log"
  fi
}

# The same passes, traces and steps as on the CPU, within stated tolerances.
for program in model rollout trainer; do
  run "parity of $program with the CPU" "$build/tests/test_$program" --gtest_filter='Cuda.*'
done
run "generate, bf16" "$build/candor" generate recipes/tiny/model "4?" --device cuda --dtype bf16 --confidence none --max-new-tokens 8
run "two steps of the tiny recipe" "$build/candor" run recipes/tiny.toml --run-dir "$folder/run" device=cuda trainer.ranks=1 trainer.steps=2 "stage_cache=$folder/stages"
run "two steps on 2 ranks that share one GPU" env CUDA_VISIBLE_DEVICES=0 "$build/candor" run recipes/tiny.toml --run-dir "$folder/run1" device=cuda trainer.ranks=2 \
  trainer.steps=2 "stage_cache=$folder/stages"
# Collectives between two GPUs: the conformance suite that tests/dist runs on every backend, what happens when a rank hangs, and how much of a
# learner's communication is hidden.
if [ "$gpus" -ge 2 ]; then
  mpirun=(mpirun --allow-run-as-root --bind-to none -n 2)
  run "NCCL conformance, 2 ranks" "${mpirun[@]}" "$build/tests/dist/collective_rank" nccl conform
  run "NCCL: a rank that hangs ends the others with 75" sh -c '"$@"; [ $? = 75 ]' sh "${mpirun[@]}" "$build/tests/dist/collective_rank" nccl hang
  run "NCCL: an abort from another thread" sh -c '"$@"; [ $? = 75 ]' sh "${mpirun[@]}" "$build/tests/dist/collective_rank" nccl abort
  run "two steps on 2 ranks, zero3, NCCL" "$build/candor" run recipes/tiny.toml --run-dir "$folder/run2" device=cuda trainer.ranks=2 trainer.sharding=zero3 \
    trainer.steps=2 "stage_cache=$folder/stages"
  model=recipes/tiny/model
  [ ! -d models/SmolLM2-135M-Instruct ] || model=models/SmolLM2-135M-Instruct
  for sharding in zero2 zero3; do
    run "overlap on 2 GPUs, $sharding, bf16" "$build/candor" bench shard "$model" --device cuda --dtype bf16 --ranks 2 --sharding $sharding --latency-ms 1 --gbps 100
    grep -E "hidden_share|step_seconds" "$folder/log"
  done
else
  for part in "conformance, 2 ranks" "a rank that hangs" "an abort from another thread" "two steps on 2 ranks, zero3" "overlap of zero2 and zero3"; do
    echo "gpu: not run: NCCL $part (one GPU here)"
  done
fi
exit $failed
