"""The malformed files that no command reads alone: weights, model configurations, messages, spool, ledger, manifests, verifiers' replies, keys."""

import json
import struct


def j(value):
    return json.dumps(value).encode()


def safetensors_file(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def safetensors():
    good = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}

    def one(**change):
        return {"a": {**good["a"], **change}}

    yield "empty", b""
    yield "short", b"\x02\x00"
    yield "pickle", b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03."
    yield "torch_zip", b"PK\x03\x04" + bytes(200)
    yield "header_longer_than_file", struct.pack("<Q", 1000) + b"{}"
    yield "header_huge", struct.pack("<Q", 2**63) + b"{}"
    yield "header_over_limit", struct.pack("<Q", 200_000_000) + b"{}"
    yield "header_not_json", safetensors_file(b"xx")
    yield "header_not_utf8", safetensors_file(b'{"\xff": 1}')
    yield "header_is_list", safetensors_file(b"[]")
    yield "header_padded_start", safetensors_file(b"   {}")
    yield "header_deep", safetensors_file(b'{"a":' * 100000)
    yield "data_missing", safetensors_file(good, bytes(23))
    yield "data_trailing", safetensors_file(good, bytes(25))
    yield "hole", safetensors_file(one(data_offsets=[4, 28]), bytes(28))
    yield "overlap", safetensors_file({**good, "b": {**good["a"], "data_offsets": [12, 36]}}, bytes(36))
    yield "offsets_backwards", safetensors_file(one(data_offsets=[24, 0]), bytes(24))
    yield "offsets_huge", safetensors_file(one(data_offsets=[0, 2**63]), bytes(24))
    yield "offsets_negative", safetensors_file(one(data_offsets=[-4, 20]), bytes(24))
    yield "shape_too_small", safetensors_file(one(shape=[2, 2]), bytes(24))
    yield "shape_overflow", safetensors_file(one(shape=[2**40, 2**40]), bytes(24))
    yield "shape_negative", safetensors_file(one(shape=[-2, -3]), bytes(24))
    yield "shape_is_text", safetensors_file(one(shape="2,3"), bytes(24))
    yield "unknown_dtype", safetensors_file(one(dtype="F17"), bytes(24))
    yield "no_dtype", safetensors_file({"a": {"shape": [2, 3], "data_offsets": [0, 24]}}, bytes(24))
    yield "duplicate_key", safetensors_file(
        b'{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"a":{"dtype":"F32","shape":[1,6],"data_offsets":[0,24]}}', bytes(24))
    yield "metadata_not_text", safetensors_file({"__metadata__": {"x": 3}, **good}, bytes(24))


def configs():
    good = {"model_type": "llama", "hidden_act": "silu", "vocab_size": 64, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 1e4}

    def edit(**change):
        return j({k: v for k, v in {**good, **change}.items() if v is not ...})

    yield "empty", b""
    yield "list", b"[]"
    yield "unknown_type", edit(model_type="gpt2")
    yield "no_type", edit(model_type=...)
    yield "no_vocab", edit(vocab_size=...)
    yield "negative_vocab", edit(vocab_size=-1)
    yield "vocab_is_text", edit(vocab_size="64")
    yield "huge_hidden", edit(hidden_size=2**62)
    yield "layers_float", edit(num_hidden_layers=2.5)
    yield "heads_do_not_divide", edit(num_key_value_heads=3)
    yield "head_dim_odd", edit(head_dim=17)
    yield "eps_zero", edit(rms_norm_eps=0)
    yield "theta_negative", edit(rope_theta=-1)
    yield "activation", edit(hidden_act="gelu")
    yield "rope_scaling_unknown", edit(rope_scaling={"rope_type": "yarn", "factor": 2})
    yield "eos_outside", edit(eos_token_id=64)
    yield "eos_is_text", edit(eos_token_id="two")
    yield "number_too_large", json.dumps(good)[:-1].encode() + b', "rope_theta": 1e999}'
    yield "deep", b'{"a":' * 100000
    yield "deep_closed", json.dumps(good)[:-1].encode() + b', "x": ' + b"[" * 100000 + b"]" * 100000 + b"}"


def wire():
    """Protobuf by hand: (field << 3 | type)."""

    def varint(n):
        out = b""
        while n >= 0x80:
            out += bytes([n & 0x7F | 0x80])
            n >>= 7
        return out + bytes([n])

    def field(number, value):
        if isinstance(value, int):
            return varint(number << 3) + varint(value)
        return varint(number << 3 | 2) + varint(len(value)) + value

    def envelope(kind, body, protocol=2):
        return field(1, protocol) + field(2, b"run") + field(5, kind) + field(6, body)

    trace_group, scored_group, heartbeat, plan_request, header = 18, 21, 5, 9, 8
    yield "empty", b""
    yield "text", b"GET / HTTP/1.1\r\n\r\n"
    yield "other_protocol", envelope(16 - 1, b"", protocol=99)
    yield "kind_zero", envelope(0, b"")
    yield "kind_unknown", envelope(200, b"")
    yield "truncated", envelope(trace_group, field(1, 7))[:-1]
    yield "run_id_not_utf8", field(1, 2) + field(2, b"\xff\xfe") + field(5, 15)
    yield "control_over_4_mib", envelope(heartbeat, bytes(5 << 20))
    yield "varint_endless", b"\xff" * 50
    yield "envelope_repeated", (field(1, 2) + field(5, 15)) * 1000
    yield "open_lease_bomb", envelope(heartbeat, field(3, b"") * 2_000_000)
    yield "packed_tokens_bomb", envelope(trace_group, field(4, b"\x01" * (48 << 20)))
    yield "empty_trace_bomb", envelope(trace_group, field(5, b"") * 1_000_000)
    yield "too_many_traces", envelope(trace_group, field(5, b"") * 5000)
    yield "negative_token", envelope(trace_group, field(4, varint(2**64 - 1)))
    yield "lengths_disagree", envelope(trace_group, field(5, field(3, b"\x01\x02")))
    yield "version_runs_bomb", envelope(trace_group, field(5, field(3, b"\x01") + field(4, bytes(4)) + field(5, bytes(4)) + field(6, b"\x03" + varint(2**40))))
    yield "spans_do_not_cover", envelope(trace_group, field(5, field(3, b"\x01") + field(4, bytes(4)) + field(5, bytes(4)) + field(6, b"\x03\x01")))
    yield "nan_log_prob", envelope(trace_group, field(5, field(3, b"\x01") + field(4, struct.pack("<f", float("nan"))) + field(5, bytes(4))))
    yield "no_ranks", envelope(plan_request, b"")
    yield "many_ranks", envelope(plan_request, field(3, 1 << 20))
    yield "unknown_drop", envelope(header, field(13, 99))
    yield "group_wire_type", envelope(trace_group, bytes([4 << 3 | 3]) * 200)


def spool_files():
    yield "empty", b""
    yield "short", b"CNDSPL01"
    yield "other_magic", b"CNDSPL99" + bytes(88) + b"x"
    yield "damaged_header", b"CNDSPL01" + bytes(24) + b"0" * 64 + b"payload"
    yield "zeros", bytes(500)


def ledger():
    yield "empty", b""
    yield "unknown_kind", b"\xfa"
    yield "short", b"\x02\x01\x02"
    yield "long_text", b"\x02" + bytes(8) + b"\x05" + b"\xff" * 8


def manifests():
    chunk = {"offset": 0, "bytes": 3, "hash": "0" * 32}

    def listed(**change):
        return j({k: v for k, v in {**{"name": "a", "bytes": 3, "chunks": [chunk]}, **change}.items() if v is not ...})

    yield "empty", b""
    yield "list", b"[]"
    yield "no_name", listed(name=...)
    yield "name_is_number", listed(name=3)
    yield "name_empty", listed(name="")
    yield "name_parent", listed(name="..")
    yield "name_dot", listed(name=".")
    yield "name_climbs", listed(name="../../etc/passwd")
    yield "name_absolute", listed(name="/etc/passwd")
    yield "name_zero_byte", listed(name="a\0b")
    yield "name_backslash_newline", listed(name="a\nb")
    yield "name_long", listed(name="a" * 5000)
    yield "bytes_negative", listed(bytes=-1)
    yield "bytes_text", listed(bytes="3")
    yield "bytes_float", listed(bytes=2.5)
    yield "chunks_missing", listed(chunks=...)
    yield "chunks_number", listed(chunks=3)
    yield "chunk_hole", listed(bytes=10, chunks=[chunk, {**chunk, "offset": 5, "bytes": 5}])
    yield "chunk_sum", listed(bytes=10)
    yield "chunk_hash_short", listed(chunks=[{**chunk, "hash": "abc"}])
    yield "deep", b'{"name":' + b"[" * 100000
    yield "number_too_large", b'{"name": "a", "bytes": 1e999, "chunks": []}'


def replies():
    def reply(**change):
        return j({k: v for k, v in {**{"id": "1/0#1", "label": "correct"}, **change}.items() if v is not ...})

    yield "empty", b""
    yield "chatter", b"I think this is right"
    yield "list", b"[]"
    yield "other_id", reply(id="2/0#1")
    yield "no_id", reply(id=...)
    yield "no_label", reply(label=...)
    yield "label_unknown_word", reply(label="right")
    yield "label_over_one", reply(label=1.5)
    yield "label_nan", b'{"id": "1/0#1", "label": NaN}'
    yield "label_too_large", b'{"id": "1/0#1", "label": 1e999}'
    yield "rewards_list", reply(rewards=[1])
    yield "reward_text", reply(rewards={"a": "b"})
    yield "reward_name", reply(rewards={"a b": 1})
    yield "reward_reserved", reply(rewards={"accuracy": 1})
    yield "rewards_many", reply(rewards={f"r{i}": 1 for i in range(100)})
    yield "deep", b'{"id": "1/0#1", "x": ' + b"[" * 100000 + b"]" * 100000 + b"}"


def keys():
    yield "empty", b""
    yield "one_line", b"public abc\n"
    yield "not_z85", b"public " + b"~" * 40 + b"\nsecret " + b"~" * 40 + b"\n"
    yield "halves_do_not_match", b"public " + b"0" * 40 + b"\nsecret " + b"1" * 40 + b"\n"
    yield "pem", b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"
    yield "too_large", b"public " + b"0" * 8000


def endpoints():
    yield "empty", b""
    yield "list", b"[]"
    yield "endpoint_is_number", b'{"endpoint": 3}'
    yield "torn", b'{"endpoint": "tcp://127'
