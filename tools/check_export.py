#!/usr/bin/env python3
"""Checks an exported policy against transformers: the same log-probabilities, and the same confidence from read_confidence.py as from `candor generate`, within 1e-3.

    python tools/check_export.py FOLDER --question "Which country is the city of Lyon in?" [--candor ./candor]

FOLDER is what `candor export ... --dtype fp32` wrote. Needs what tools/setup.sh --parity gets. Exit code 0: equal; 1: not.
"""
import argparse
import importlib.util
import json
import math
import os
import subprocess
import sys

import torch

TOLERANCE = 1e-3


def candor_lines(command, text=None):
    environment = dict(os.environ, OMP_WAIT_POLICY="PASSIVE")
    for name in ("LD_LIBRARY_PATH", "PYTHONPATH"):  # Candor finds its own libraries
        environment.pop(name, None)
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]


def load_script(folder):
    spec = importlib.util.spec_from_file_location("read_confidence", os.path.join(folder, "read_confidence.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def log_prob_difference(args, script, model, prompt, reply):
    row = json.dumps({"prompt_ids": prompt, "completion_ids": reply})
    ours = candor_lines([args.candor, "score", args.folder, "-", "--dtype", "fp32"], row + "\n")[0]["logprobs"]
    with torch.no_grad():
        theirs = torch.log_softmax(model(torch.tensor([prompt + reply])).logits[0].float(), -1)
    return max(abs(ours[i] - theirs[len(prompt) - 1 + i, token].item()) for i, token in enumerate(reply))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--question", required=True)
    parser.add_argument("--candor", default="./candor")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    args = parser.parse_args()
    script = load_script(args.folder)
    model, tokenizer = script.load()
    prompt = script.prompt_ids(tokenizer, args.question)
    reply = script.reply_ids(model, tokenizer, prompt, args.max_new_tokens)
    worst = log_prob_difference(args, script, model, prompt, reply)
    theirs = script.confidence(model, tokenizer, prompt, reply)
    answer = candor_lines([args.candor, "generate", args.folder, args.question, "--system", script.SPEC["system_prompt"], "--dtype", "fp32", "--max-new-tokens", str(args.max_new_tokens), "--json"])[0]
    ours = answer.get("confidence")
    print(f"reply {tokenizer.decode(reply)!r}; log-probabilities differ by at most {worst:.2e}; confidence {ours} here, {theirs} by transformers")
    # The control: with the two slot tokens exchanged the confidence must be another one, or the check could not fail.
    script.SPEC["high_id"], script.SPEC["low_id"] = script.SPEC["low_id"], script.SPEC["high_id"]
    exchanged = script.confidence(model, tokenizer, prompt, reply)
    good = ours is not None and worst <= TOLERANCE and math.isfinite(theirs) and abs(ours - theirs) <= TOLERANCE and abs(exchanged - theirs) > TOLERANCE
    sys.exit(0 if good else "the exported policy does not behave as Candor's")


if __name__ == "__main__":
    main()
