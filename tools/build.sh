#!/usr/bin/env bash
# Builds a CMake preset into build/<preset>, and links ./candor to what was built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'END'
usage: tools/build.sh [release | debug | asan | tsan] [ninja argument ...]

  release is the default. Further arguments go to ninja: a target (`candor`), or -j 1 where memory is short.
END
}

preset=release
case ${1-} in
  --help | -h) usage && exit 0 ;;
  "" | -*) ;;
  *)
    if grep -q "\"name\": \"$1\"" CMakePresets.json; then preset=$1 && shift; fi
    ;;
esac
for tool in cmake ninja; do
  command -v "$tool" >/dev/null || { echo "build: no $tool here: run tools/setup.sh first" >&2 && exit 1; }
done

# A file that includes ATen takes up to 1.3 GB to compile.
jobs_for_memory() {
  local cores memory_gb
  cores=$(nproc)
  memory_gb=$(awk '/^MemAvailable/ {print int($2 / 1024 / 1024)}' /proc/meminfo)
  echo $((memory_gb / 2 < 1 ? 1 : (memory_gb / 2 < cores ? memory_gb / 2 : cores)))
}

started=$SECONDS
torch_dir=$(cat .deps/torch.path 2>/dev/null || true)
log=build/$preset/configure.log
mkdir -p "build/$preset"
cmake --preset "$preset" -DCANDOR_TORCH="$torch_dir" >"$log" 2>&1 || { cat "$log" >&2 && exit 1; }
ninja -C "build/$preset" -j "${CMAKE_BUILD_PARALLEL_LEVEL:-$(jobs_for_memory)}" "$@"
ln -sfn "build/$preset/candor" candor
echo "Built $preset in $((SECONDS - started)) s: ./candor"
