"""Candor's engine and learner beside Hugging Face transformers: the same model, questions, batch and number of tokens, in turn on the same machine.

usage: hugging_face.py SOURCE_FOLDER MODEL [--pairs 5] [--only generate,learn,shared] [--threads 2] [--build DIR]

Needs tools/setup.sh --parity. Prints one JSON object: new or trained tokens per second of both, and their ratio pair by pair. Machines differ and so do minutes on one machine: only the
ratios mean something, and those only where nothing else runs.

Where the processor does not multiply bf16 itself (AMX, AVX512-BF16), transformers is given fp32 everywhere: its bf16 takes many times as long there. Candor chooses by itself.

generate  64 questions of two numbers in the model's chat template, 64 sampled tokens each at temperature 1, bf16: all but loading. Candor also records log-probabilities and confidence
          signals, and computes what all questions begin with once; transformers has nothing of both.
learn     forward, backward and AdamW at 16 x 128 tokens. transformers is timed with bf16 weights and with fp32 weights under autocast, the faster one counts; Candor's learner keeps fp32
          masters and computes in bf16.
shared    8 answers of 32 tokens to one prompt of 60: Candor computes the prompt once, transformers eight times. Tokens are counted as if both computed all of them."""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

BATCH, NEW_TOKENS = 64, 64
SEQUENCES, LENGTH = 16, 128
ANSWERS, ANSWER_TOKENS, PROMPT_TOKENS = 8, 32, 60


def candor(args, name):
    command = [args.build / "candor", "bench", "generate" if name == "generate" else "learn", args.model, "--threads", str(args.threads), "--json"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result["shared_tokens_per_second" if name == "shared" else "tokens_per_second"]


def peer(args, name):
    parity = args.source / ".deps" / "parity"
    env = {**os.environ, "LD_LIBRARY_PATH": str(parity / "cuda_standins")}
    done = subprocess.run([parity / "bin" / "python", __file__, *sys.argv[1:], "--peer", name], env=env, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"transformers failed at {name}:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def multiplies_bf16():
    return bool({"avx512_bf16", "amx_bf16"} & set(pathlib.Path("/proc/cpuinfo").read_text().split()))


def generate(args):
    """Tokens per second; the first run warms up."""
    import random

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16 if multiplies_bf16() else torch.float32)
    draw = random.Random(0)
    asked = [f"What is {draw.randint(10, 99)} + {draw.randint(10, 99)}? Think step by step, then answer with a number and your confidence." for _ in range(BATCH)]
    texts = [tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False) for text in asked]
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    for _ in range(2):
        start = time.monotonic()
        model.generate(**inputs, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=True, temperature=1.0, top_k=0)
        seconds = time.monotonic() - start
    return BATCH * NEW_TOKENS / seconds


def step_seconds(args, sequences, length, scored, dtype):
    """The median of three steps after one that warms up, as `candor bench` takes it; the last `scored` tokens of each sequence make the loss."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    ids, seconds = torch.randint(0, model.config.vocab_size, (sequences, length)), []
    for _ in range(4):
        start = time.monotonic()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.float32 and multiplies_bf16()):
            logits = model(ids, logits_to_keep=scored + 1, use_cache=False).logits[:, :-1]
        log_probs = torch.log_softmax(logits.float(), -1).gather(-1, ids[:, -scored:, None])
        (-log_probs.mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.monotonic() - start)
    return statistics.median(seconds[1:])


def learn(args, sequences, length, scored):
    import torch

    dtypes = (torch.bfloat16, torch.float32) if multiplies_bf16() else (torch.float32,)
    return sequences * length / min(step_seconds(args, sequences, length, scored, dtype) for dtype in dtypes)


PEERS = {
    "generate": generate,
    "learn": lambda args: learn(args, SEQUENCES, LENGTH, LENGTH - 1),
    "shared": lambda args: learn(args, ANSWERS, PROMPT_TOKENS + ANSWER_TOKENS, ANSWER_TOKENS),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("model")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", default=",".join(PEERS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--build", type=pathlib.Path)
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.build = args.build or args.source / "build" / "release"
    if args.peer:
        import torch

        torch.set_num_threads(args.threads)
        print(PEERS[args.peer](args))
        return 0
    if not (args.source / ".deps" / "parity" / "bin" / "python").exists():
        print("no transformers here: tools/setup.sh --parity gets it")
        return 77
    report = {"name": "hugging_face", "threads": args.threads, "pairs": args.pairs}
    for name in args.only.split(","):
        if name not in PEERS:
            parser.error(f"--only: '{name}' is none of {', '.join(PEERS)}")
        pairs = []
        for i in range(args.pairs):
            pairs.append((candor(args, name), peer(args, name)))
            print(f"{name} {i + 1}/{args.pairs}: candor {pairs[-1][0]:.0f}, transformers {pairs[-1][1]:.0f} tokens/s", file=sys.stderr)
        ratios = sorted(ours / theirs for ours, theirs in pairs)
        report[name] = {"candor_tokens_per_second": statistics.median(ours for ours, _ in pairs), "transformers_tokens_per_second": statistics.median(theirs for _, theirs in pairs),
                        "candor_over_transformers": statistics.median(ratios), "range": [ratios[0], ratios[-1]]}
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
