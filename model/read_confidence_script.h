// The Python script that goes with an exported policy that has a confidence slot. It needs only torch and transformers.
#pragma once

namespace candor {

inline constexpr char kReadConfidenceScript[] = R"PY(#!/usr/bin/env python3
"""Answers a question with this model and reads its trained confidence.

    python read_confidence.py "Which country is the city of Lyon in?"

confidence(): the probability that the model gives its own reply, between 0 and 1. The two slot tokens are never generated: their raw logits are read at one position.
"""
import json
import math
import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(FOLDER, "confidence.json"), encoding="utf-8") as f:
    SPEC = json.load(f)


def load(folder=FOLDER, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval(), AutoTokenizer.from_pretrained(folder)


def prompt_ids(tokenizer, question):
    messages = [{"role": "system", "content": SPEC["system_prompt"]}] if SPEC["system_prompt"] else []
    messages.append({"role": "user", "content": question})
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@torch.no_grad()
def reply_ids(model, tokenizer, prompt, max_new_tokens=256):
    """Greedy, until the reply's last tag is closed."""
    ends = model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends])
    ids, past, step = [], None, torch.tensor([prompt])
    while len(ids) < max_new_tokens:
        out = model(step, past_key_values=past, use_cache=True)
        past, token = out.past_key_values, int(out.logits[0, -1].argmax())
        if token in ends:
            break
        ids.append(token)
        step = torch.tensor([[token]])
        if SPEC["reply_end"] and SPEC["reply_end"] in tokenizer.decode(ids):
            break
    return ids


@torch.no_grad()
def confidence(model, tokenizer, prompt, reply):
    after = tokenizer(SPEC["after"], add_special_tokens=False)["input_ids"] if SPEC["after"] else []
    logits = model(torch.tensor([prompt + reply + after])).logits[0, -1].float()
    x = float(logits[SPEC["high_id"]] - logits[SPEC["low_id"]])
    recalibration = SPEC.get("recalibration")
    if recalibration:
        x = recalibration["a"] * x + recalibration["b"]
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    model, tokenizer = load()
    prompt = prompt_ids(tokenizer, sys.argv[1])
    reply = reply_ids(model, tokenizer, prompt)
    print(tokenizer.decode(reply, skip_special_tokens=True))
    print(f"confidence {confidence(model, tokenizer, prompt, reply):.3f}")
)PY";

}  // namespace candor
