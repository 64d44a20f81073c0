#!/usr/bin/env bash
# From a bare machine to a trained and calibrated model: set-up, build, model and data, then the main job.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'END'
usage: ./run.sh [candor run argument ...]

  Sets up (tools/setup.sh; it prints its plan first), builds (tools/build.sh), makes model and data (tools/prepare.sh), then runs
      ./candor run recipes/cities.toml [argument ...]
  It ends with the calibration table and the path of the report.

  ./run.sh --resume                 go on with a run that was stopped
  ./run.sh --dry-run                resolved recipe, memory and time, without running
  ./run.sh --run-dir runs/mine rl.steps=20
  To run another recipe, use ./candor run after ./run.sh or tools/build.sh.
END
}

case ${1-} in --help | -h) usage && exit 0 ;; esac
tools/setup.sh
tools/build.sh release candor candor-torch
tools/prepare.sh
exec ./candor run recipes/cities.toml "$@"
