"""What `candor bench publish` promises on the real model: a delta at lr 1e-6 is at most a tenth of a full broadcast, the learner's traffic stays flat from 1 to 16 receivers, and a full
broadcast reaches 60 % of plain TCP measured in the same run.

usage: publish_bench_test.py CANDOR SOURCE_FOLDER
"""
import json
import pathlib
import subprocess
import sys

CANDOR, SOURCE = sys.argv[1], pathlib.Path(sys.argv[2])
MODEL = SOURCE / "models" / "SmolLM2-135M-Instruct"
if not (MODEL / "model.safetensors").exists():
    sys.exit(77)

answer = subprocess.run([CANDOR, "bench", "publish", str(MODEL), "--json"], capture_output=True, text=True)
if answer.returncode != 0:
    sys.exit(answer.stdout + answer.stderr)
result = json.loads(answer.stdout)
print(json.dumps(result, indent=1))
BOUNDS = {"delta_over_full": (0.0001, 0.1), "full_broadcast_over_plain_tcp": (0.6, 100)}
BOUNDS.update({f"egress_over_{kind}_{receivers}": (0.99, 1.25) for kind in ("full", "delta") for receivers in (1, 4, 16)})
bad = []
for name, (least, most) in BOUNDS.items():
    print(f"candor-figure weights {name}={result[name]:.4f} bound={least}..{most}")
    if not least <= result[name] <= most:
        bad.append(f"{name} is {result[name]}, not within {least} to {most}")
sys.exit("\n".join(bad) or 0)
