#!/usr/bin/env python3
"""Reference numbers of Hugging Face transformers for the tests of model/ (tests/golden/model/).

Tiny two-layer models of every family: weights from the formula of RandomParameters (model/parameters.cc), so that only configs, logits and gradients are stored. The loss is a
weighted sum of token log-probabilities and of two raw logits over answers that share prompts; Hugging Face sees every answer as a sequence of its own.
SmolLM2-135M-Instruct: per position the 64 largest logits and the log-sum-exp in fp32, and the most likely token of a longer text.

Runs in the pinned environment of tools/setup.sh --parity:

    LD_LIBRARY_PATH=.deps/parity/cuda_standins .deps/parity/bin/python tools/make_model_references.py [--smollm2 models/SmolLM2-135M-Instruct] [--out tests/golden/model]
"""
import argparse
import json
import math
import os

import numpy as np
import torch
from safetensors.numpy import save_file

MASK = (1 << 64) - 1
INIT_STREAM = 3  # RngStream::kInit in core/rng.h
SEED = 11
SCALE = 0.25


def split_mix(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def random_unit(seed, stream, *coordinates):
    h = split_mix(seed)
    for coordinate in (stream, *coordinates):
        h = split_mix(h ^ split_mix(coordinate))
    return (h >> 11) * 2.0**-53


def random_tensor(unit, param, shape, norm):
    values = np.empty(int(np.prod(shape)), np.float32)
    for i in range(values.size):
        radius = math.sqrt(-2.0 * math.log(1.0 - random_unit(SEED, INIT_STREAM, unit, param, i, 0)))
        normal = radius * math.cos(2.0 * math.pi * random_unit(SEED, INIT_STREAM, unit, param, i, 1))
        values[i] = 1.0 + 0.1 * SCALE * normal if norm else SCALE * normal
    return torch.from_numpy(values.reshape(shape))


BLOCK_ORDER = ["input_layernorm.weight", "self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight", "self_attn.q_proj.bias",
               "self_attn.k_proj.bias", "self_attn.v_proj.bias", "self_attn.q_norm.weight", "self_attn.k_norm.weight", "self_attn.o_proj.weight",
               "self_attn.o_proj.bias", "post_attention_layernorm.weight", "mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.gate_proj.bias", "mlp.up_proj.bias",
               "mlp.down_proj.weight", "mlp.down_proj.bias"]


def fill(model, layers, tied):
    state = model.state_dict()
    units = [["model.embed_tokens.weight"]]
    units += [[f"model.layers.{i}.{name}" for name in BLOCK_ORDER if f"model.layers.{i}.{name}" in state] for i in range(layers)]
    units += [["model.norm.weight"]] + ([] if tied else [["lm_head.weight"]])
    with torch.no_grad():
        for u, names in enumerate(units):
            for p, name in enumerate(names):
                model.get_parameter(name).copy_(random_tensor(u, p, tuple(state[name].shape), name.endswith("norm.weight")))


COMMON = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
          "max_position_embeddings": 128, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2, "attention_dropout": 0.0}
MODELS = {
    "llama": {"model_type": "llama", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False},
    "llama_scaled": {"model_type": "llama", "rms_norm_eps": 1e-5, "rope_theta": 500.0, "tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True,
                     "rope_scaling": {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}},
    "qwen2": {"model_type": "qwen2", "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "tie_word_embeddings": True, "use_sliding_window": False},
    "qwen3": {"model_type": "qwen3", "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "tie_word_embeddings": False, "attention_bias": False, "use_sliding_window": False},
}
GROUPS = [(7, [5, 1, 20]), (18, [17, 3])]  # prompt length, answer lengths
EXTRA_IDS = [9, 31]


def make_model(fields):
    from transformers import AutoConfig, AutoModelForCausalLM
    config = AutoConfig.for_model(**fields)
    config._attn_implementation = "eager"
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def tiny(name, out):
    fields = COMMON | MODELS[name]
    model = make_model(fields).eval()
    fill(model, fields["num_hidden_layers"], fields["tie_word_embeddings"])
    next_id = iter(range(10**6))
    token = lambda: (next(next_id) * 7919 + 3) * 31 % fields["vocab_size"]
    groups = [{"prompt": [token() for _ in range(p)], "answers": [[token() for _ in range(a)] for a in answers]} for p, answers in GROUPS]
    rows = []
    for group in groups:
        for answer in group["answers"]:
            logits = model(torch.tensor([group["prompt"] + answer])).logits[0]
            rows.append((logits[len(group["prompt"]) - 1:-1], torch.tensor(answer)))
    logits = torch.cat([r[0] for r in rows])
    targets = torch.cat([r[1] for r in rows])
    log_probs = torch.log_softmax(logits, -1).gather(-1, targets[:, None])[:, 0]
    m = torch.arange(len(targets))
    dlog_probs = ((m * 7) % 11 - 5).float() / 10
    dselected = (((m[:, None] * 3 + torch.arange(len(EXTRA_IDS))[None] * 5) % 7) - 3).float() / 10
    loss = (log_probs * dlog_probs).sum() + (logits[:, EXTRA_IDS] * dselected).sum()
    loss.backward()
    tensors = {"logits": logits, "log_probs": log_probs, "dlog_probs": dlog_probs, "dselected": dselected, "loss": loss[None]}
    tensors |= {"grad." + n: p.grad for n, p in model.named_parameters()}
    save_file({k: v.detach().contiguous().numpy() for k, v in tensors.items()}, os.path.join(out, name + ".safetensors"))
    os.chmod(os.path.join(out, name + ".safetensors"), 0o644)
    with open(os.path.join(out, name + ".json"), "w") as f:
        json.dump({"config": fields, "seed": SEED, "scale": SCALE, "extra_ids": EXTRA_IDS, "groups": groups}, f)
        f.write("\n")


PROMPTS = ["The capital of France is Paris, and the capital of Japan is", "def mean(values):\n    return sum(values) /", "12 + 30 = 42. 7 * 6 ="]
LONG = ("A river begins in the hills as a small stream. Rain falls on the rocks, runs down the slope and gathers in a narrow bed. Further down, other streams join it, "
        "and the water grows wide and slow. People built towns on its banks because boats could carry grain, wood and stone. Mills used the current to grind flour. "
        "Later, bridges were built, first of wood and then of iron, and roads followed the valley. Today the river still gives drinking water to the city, but the "
        "mills are quiet and most goods travel by train. In summer children swim below the old bridge, and in winter the fields beside the water are sometimes "
        "flooded. Engineers measure its level every hour. When it rises too quickly they open the gates of the dam, so that the water can leave the valley without "
        "doing harm. Question: What is the boiling point of water at sea level? Answer: Water boils at 100 degrees Celsius, or 212 degrees Fahrenheit, at sea level. "
        "On a high mountain the air pressure is lower, and so water boils at a lower temperature. Question: Which planet is closest to the sun? Answer: Mercury is "
        "the planet closest to the sun. It has no moons and almost no atmosphere, and a year there lasts only 88 days.")

LONG_TOKENS = 2000


def smollm2(folder, out):
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tensors = {}
    with torch.no_grad():
        for i, prompt in enumerate(PROMPTS):
            ids = tokenizer.encode(prompt).ids
            logits = model(torch.tensor([ids])).logits[0]
            top = torch.topk(logits, 64, -1)
            tensors |= {f"prompt{i}.ids": np.array(ids, np.int32), f"prompt{i}.top_ids": top.indices.int().numpy(), f"prompt{i}.top_logits": top.values.numpy(),
                        f"prompt{i}.log_sum_exp": torch.logsumexp(logits, -1).numpy()}
        with open("LICENSE") as f:  # as many positions as a share of 99 % needs to be told from one of 98 %
            ids = tokenizer.encode(LONG + "\n\n" + f.read()).ids[:LONG_TOKENS]
        logits = model(torch.tensor([ids])).logits[0]
        tensors |= {"long.ids": np.array(ids, np.int32), "long.top1": logits.argmax(-1).int().numpy(), "long.log_sum_exp": torch.logsumexp(logits, -1).numpy()}
    save_file(tensors, os.path.join(out, "smollm2.safetensors"))
    os.chmod(os.path.join(out, "smollm2.safetensors"), 0o644)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", help="folder of SmolLM2-135M-Instruct; without it only the tiny models are made")
    parser.add_argument("--out", default="tests/golden/model")
    args = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    os.makedirs(args.out, exist_ok=True)
    for name in MODELS:
        tiny(name, args.out)
    if args.smollm2:
        smollm2(args.smollm2, args.out)


if __name__ == "__main__":
    main()
