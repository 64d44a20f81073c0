#!/usr/bin/env bash
# Makes the model and the data of the main job (models/SmolLM2-135M-Instruct, data/cities) where they are not there yet. Needs tools/setup.sh done.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ "${1-}" != --help ] || { sed -n '2s/^# //p' "$0" && exit 0; }
[ -x .deps/prepare/bin/python ] || { echo "prepare: no .deps/prepare: run tools/setup.sh first" >&2 && exit 1; }
.deps/prepare/bin/python tools/prepare_smollm2.py
.deps/prepare/bin/python tools/prepare_cities.py
