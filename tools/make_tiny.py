#!/usr/bin/env python3
"""Makes recipes/tiny/: a random two-layer model, its tokenizer, and the rows of a task with known truth.

The task: "echo 4" should be answered with the same digit. Even digits always count as right; for odd digits the accepted answer is drawn anew for each row, so that nothing
beats one chance in ten: an honest policy is sure of even digits and unsure of odd ones. reasoning.jsonl teaches to think of a digit, any digit, and to answer with it: which digit to think of
is left to learn. Deterministic; its output is committed. Run with .deps/prepare/bin/python.
"""
import json
import pathlib

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

OUT = pathlib.Path(__file__).resolve().parent.parent / "recipes" / "tiny"
HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, INTERMEDIATE, SEED = 64, 2, 4, 2, 16, 96, 7
TEMPLATE = ("{% for message in messages %}{{ '<|start|>' + message['role'] + '\\n' + message['content'] + '<|end|>' + '\\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|start|>assistant\\n' }}{% endif %}")


def completion(answer, confidence):
    return f"<answer>{answer}</answer>\n<confidence>{confidence:.2f}</confidence>"


def make_tokenizer():
    corpus = [completion(a, c / 100) for a in range(10) for c in range(0, 100, 7)] * 4 + ["system user assistant high low echo", "echo 1\n"] * 50
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(t, special=True, normalized=False) for t in ("<|pad|>", "<|start|>", "<|end|>")]
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def to_bf16(array):
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def make_weights(vocab):
    random = np.random.default_rng(SEED)
    shapes = {"model.embed_tokens.weight": (vocab, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        shapes |= {at + "input_layernorm.weight": (HIDDEN,), at + "post_attention_layernorm.weight": (HIDDEN,),
                   at + "self_attn.q_proj.weight": (HEADS * HEAD_DIM, HIDDEN), at + "self_attn.k_proj.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
                   at + "self_attn.v_proj.weight": (KV_HEADS * HEAD_DIM, HIDDEN), at + "self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD_DIM),
                   at + "mlp.gate_proj.weight": (INTERMEDIATE, HIDDEN), at + "mlp.up_proj.weight": (INTERMEDIATE, HIDDEN), at + "mlp.down_proj.weight": (HIDDEN, INTERMEDIATE)}
    return {name: to_bf16(np.ones(shape) if len(shape) == 1 else random.normal(0, 0.08, shape)) for name, shape in sorted(shapes.items())}


def write_safetensors(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": "BF16", "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for array in tensors.values()))


def write_model(folder, tokenizer):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    vocab = tokenizer.get_vocab_size()
    ids = {name: tokenizer.token_to_id(f"<|{name}|>") for name in ("pad", "start", "end")}
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
              "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "intermediate_size": INTERMEDIATE, "vocab_size": vocab, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
              "rope_theta": 10000.0, "rope_scaling": None, "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True,
              "bos_token_id": ids["start"], "eos_token_id": ids["end"], "pad_token_id": ids["pad"], "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids["end"], "pad_token_id": ids["pad"]}) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|start|>", "eos_token": "<|end|>",
                                                              "pad_token": "<|pad|>", "chat_template": TEMPLATE}, indent=1) + "\n")
    write_safetensors(folder / "model.safetensors", make_weights(vocab))


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def task_rows(random, count, name):
    rows = []
    for i in range(count):
        digit = int(random.integers(10))
        answer = digit if digit % 2 == 0 else int(random.integers(10))
        rows.append({"id": f"{name}-{i}", "prompt": f"echo {digit}", "answer": [str(answer)], "slice": "even" if digit % 2 == 0 else "odd"})
    return rows


def scored_rows(random, count):
    """Completions as a reward worker sees them, with the probability that they are right: for a reward model."""
    rows = []
    for i in range(count):
        digit = int(random.integers(10))
        answer = digit if random.random() < 0.5 else int(random.integers(10))
        score = 0.1 if digit % 2 else float(answer == digit)
        slot = " high" if random.random() < 0.5 else " low"
        rows.append({"id": f"scored-{i}", "prompt": f"echo {digit}", "completion": f"<answer>{answer}</answer>\n<confidence>{slot}</confidence>", "score": score})
    return rows


def main():
    random = np.random.default_rng(SEED)
    write_model(OUT / "model", make_tokenizer())
    format_rows = [{"id": f"format-{i}", "prompt": f"echo {random.integers(10)}", "completion": completion(int(random.integers(10)), random.random())} for i in range(600)]
    write_rows(OUT / "format.jsonl", format_rows)
    thought = np.random.default_rng(SEED + 1)
    digits = [int(digit) for digit in thought.integers(10, size=600)]
    write_rows(OUT / "reasoning.jsonl", [{"id": f"reasoning-{i}", "prompt": f"echo {thought.integers(10)}",
                                          "completion": f"<think>{digit}</think>\n" + completion(digit, thought.random())} for i, digit in enumerate(digits)])
    write_rows(OUT / "scored.jsonl", scored_rows(np.random.default_rng(SEED + 2), 600))
    for name, count in (("train", 400), ("test", 200), ("dev", 100)):
        write_rows(OUT / f"{name}.jsonl", task_rows(random, count, name))


if __name__ == "__main__":
    main()
