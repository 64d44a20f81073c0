"""An exported policy in Hugging Face transformers: the same log-probabilities, and the same confidence from the script that goes with it. Needs tools/setup.sh --parity.

usage: export_test.py CANDOR SOURCE_FOLDER [MODEL_OR_RUN QUESTION]

Without a model: recipes/tiny's, taught its format and its slot first.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

SKIPPED = 77
CANDOR, SOURCE = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
PARITY = SOURCE / ".deps" / "parity"


def run(*command, **environment):
    subprocess.run([str(word) for word in command], cwd=SOURCE, check=True, env={**os.environ, **environment})


def trained(folder):
    """A policy that answers in its format, so that there is a slot to read."""
    run(CANDOR, "sft", "recipes/tiny/model", "recipes/tiny/format.jsonl", folder, "--recipe", "recipes/tiny.toml", "--quiet")
    return folder


def main():
    python = PARITY / "bin" / "python"
    if not python.exists():
        print("no transformers here: tools/setup.sh --parity gets it")
        sys.exit(SKIPPED)
    with tempfile.TemporaryDirectory(prefix="candor-parity-") as folder:
        model, question = sys.argv[3:5] if len(sys.argv) > 3 else (trained(f"{folder}/model"), "echo 4")
        run(CANDOR, "export", model, f"{folder}/exported", "--dtype", "fp32")
        run(python, "tools/check_export.py", f"{folder}/exported", "--question", question, "--candor", CANDOR, LD_LIBRARY_PATH=str(PARITY / "cuda_standins"))


if __name__ == "__main__":
    main()
