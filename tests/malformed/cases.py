"""The malformed files: (name, how it is read, bytes). How: a command line with FILE in it, or "driver KIND" for what no command reads alone."""

import json
import pathlib

import binary_cases
import service_cases

CHECK = "check FILE"
ROWS = "verifier test --kind exact_match --rows FILE"
CALIBRATION = "calibration FILE --replicates 0"
TOKENIZE = "tokenize MODEL FILE"  # FILE is a rows file, the model is sound
TOKENIZER = "tokenize DIR ROWS"  # FILE is DIR/tokenizer.json, the rows are sound
CONFIG = "tokenize DIR CHAT"  # FILE is DIR/tokenizer_config.json
SLURM = "submit recipes/tiny.toml slurm.template=FILE --dry-run"
TEMPLATE = "tokenize DIR CHAT"  # FILE is DIR/chat_template.jinja


def j(value):
    return json.dumps(value).encode()


def recipes(root):
    tiny = (root / "recipes/tiny.toml").read_text()

    def edit(old, new):
        assert old in tiny, old
        return tiny.replace(old, new, 1).encode()

    head = b'name = "tiny"\nmodel = "recipes/tiny/model"\n'
    yield "empty", b""
    yield "zero_bytes", b"\0\0\0\0"
    yield "binary", bytes(range(128, 256))
    yield "not_utf8", b'name = "\xff\xfe"\n'
    yield "duplicate_key", b'name = "a"\nname = "b"\n'
    yield "duplicate_table", b'[trainer]\nsteps = 3\n[trainer]\nsteps = 4\n'
    yield "table_over_value", b'name = "a"\n[name]\nx = 1\n'
    yield "unclosed_string", b'name = "tiny\n'
    yield "unclosed_table", b"[trainer\nsteps = 3\n"
    yield "unclosed_array", b'stages = ["rl"\n'
    yield "unclosed_inline_table", b"trainer = { steps = 3\n"
    yield "no_value", b"name =\n"
    yield "no_key", b"= 3\n"
    yield "two_equals", b"seed == 3\n"
    yield "bare_word", b"dtype = fp32\n"
    yield "letter_beyond_ascii", "\u00dbsk = 1\n".encode()
    yield "letter_behind_a_value", 'name = "a" \u00e9\n'.encode()
    yield "bad_escape", b'name = "\\q"\n'
    yield "lone_surrogate", b'name = "\\ud800"\n'
    yield "huge_integer", b"seed = 99999999999999999999999\n"
    yield "leading_zero", b"seed = 007\n"
    yield "huge_float", b"[trainer]\nlr = 1e999\n"
    yield "nan_lr", edit("lr               = 1e-3", "lr               = nan")
    yield "infinite_lr", edit("lr               = 1e-3", "lr               = inf")
    yield "negative_lr", edit("lr               = 1e-3", "lr               = -1.0")
    yield "integer_as_string", edit("seed   = 1", 'seed   = "1"')
    yield "string_as_integer", edit('dtype  = "fp32"', "dtype  = 32")
    yield "float_as_integer", edit("group_size       = 8", "group_size       = 8.5")
    yield "bool_as_integer", edit("group_size       = 8", "group_size       = true")
    yield "list_of_integers", edit('stages = ["sft", "rl"]', "stages = [1, 2]")
    yield "zero_group_size", edit("group_size       = 8", "group_size       = 0")
    yield "too_many_ranks", edit("ranks            = 2", "ranks            = 1000000000")
    yield "unknown_key", edit("group_size       = 8", "grup_size       = 8")
    yield "unknown_section", tiny.encode() + b"\n[trainr]\nx = 1\n"
    yield "unknown_choice", edit('sharding         = "zero2"', 'sharding         = "zero4"')
    yield "unknown_dtype", edit('dtype  = "fp32"', 'dtype  = "fp12"')
    yield "unknown_stage", edit('stages = ["sft", "rl"]', 'stages = ["stf"]')
    yield "unknown_verifier", edit('verifier = "digit"', 'verifier = "digits"')
    yield "unknown_channel", edit('channel   = "accuracy"', 'channel   = "accurcy"')
    yield "bad_expression", edit('channel   = "accuracy"', 'channel   = "accuracy + * 2"')
    yield "unclosed_expression", edit('channel   = "accuracy"', 'channel   = "(accuracy"')
    yield "deep_expression", edit('channel   = "accuracy"', 'channel   = "' + "(" * 5000 + 'accuracy"')
    yield "unknown_tag", edit('tags          = ["answer", "confidence"]', 'tags          = ["answr"]')
    yield "section_is_a_value", head + b"trainer = 3\n"
    yield "list_is_a_table", head + b'[objective]\nchannel = "accuracy"\n'
    yield "verifier_without_name", head + b'[[verifier]]\nkind = "numeric"\n'
    yield "base_is_a_number", b"base = 3\n"
    yield "base_is_missing", b'base = "no-such-file.toml"\n'
    yield "base_is_itself", b'base = "base_is_itself.toml"\n'
    yield "date", head + b"seed = 1979-05-27\n"
    yield "deep_array", b"stages = " + b"[" * 100000 + b"\n"
    yield "deep_inline_table", b"a = " + b"{a=" * 100000 + b"\n"
    yield "deep_dotted_key", b"a" + b".a" * 100000 + b" = 1\n"
    yield "many_keys", head + b"".join(b"namf%d = 1\n" % i for i in range(60000))
    yield "too_large", b"# " + b"x" * (2 << 20) + b"\n"
    yield "control_character", b'name = "a\x07b"\n'
    yield "carriage_returns", b'name = "a"\rseed = 3\r'
    yield "dotted_over_table", b"trainer.steps = 3\ntrainer = 4\n"
    yield "missing_model", edit('model  = "recipes/tiny/model"', 'model  = "recipes/tiny/nothing"')
    yield "missing_rows", edit('path = "recipes/tiny/train.jsonl"', 'path = "recipes/tiny/nothing.jsonl"')
    yield "private_url", edit('kind = "exact_match"', 'kind = "http"\nurl = "http://169.254.169.254/latest"')
    yield "file_url", edit('kind = "exact_match"', 'kind = "http"\nurl = "file:///etc/passwd"')


def rows():
    good = b'{"prompt": "p", "answer": "a"}\n'
    yield "empty", b""
    yield "not_json", b"prompt: p\n"
    yield "second_line", good + b"{\n"
    yield "list", b"[1, 2]\n"
    yield "number", b"3\n"
    yield "no_prompt", j({"answer": "a"})
    yield "prompt_is_number", j({"prompt": 3, "answer": "a"})
    yield "prompt_is_empty", j({"prompt": "", "answer": "a"})
    yield "no_messages", j({"prompt": [], "answer": "a"})
    yield "message_without_role", j({"prompt": [{"content": "x"}], "answer": "a"})
    yield "message_content_is_number", j({"prompt": [{"role": "user", "content": 3}], "answer": "a"})
    yield "only_system", j({"prompt": [{"role": "system", "content": "x"}], "answer": "a"})
    yield "answer_is_object", j({"prompt": "p", "answer": {"a": 1}})
    yield "answer_is_empty", j({"prompt": "p", "answer": ""})
    yield "answer_list_holds_null", j({"prompt": "p", "answer": ["a", None]})
    yield "id_is_object", j({"prompt": "p", "answer": "a", "id": {}})
    yield "slice_is_object", j({"prompt": "p", "answer": "a", "slice": {"a": 1}})
    yield "two_completions", j({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "completion": "z"})
    yield "not_utf8", b'{"prompt": "\xff", "answer": "a"}\n'
    yield "overlong_utf8", b'{"prompt": "\xc0\xaf", "answer": "a"}\n'
    yield "utf8_surrogate", b'{"prompt": "\xed\xa0\x80", "answer": "a"}\n'
    yield "lone_surrogate", b'{"prompt": "\\ud800", "answer": "a"}\n'
    yield "utf16", '{"prompt": "p"}\n'.encode("utf-16")
    yield "number_too_large", b'{"prompt": "p", "answer": 1e999}\n'
    yield "nan", b'{"prompt": "p", "answer": NaN}\n'
    yield "trailing_comma", b'{"prompt": "p", "answer": "a",}\n'
    yield "two_objects", b'{"prompt": "p"} {"prompt": "q"}\n'
    yield "single_quotes", b"{'prompt': 'p'}\n"
    yield "control_character", b'{"prompt": "a\x01b"}\n'
    yield "zero_byte", b'{"prompt": "p\x00"}\n'
    yield "deep", b'{"prompt": ' + b"[" * 100000 + b"\n"
    yield "deep_closed", b'{"prompt": "p", "x": ' + b"[" * 100000 + b"]" * 100000 + b"}\n"
    yield "million_keys", b"{" + b",".join(b'"k%d":1' % i for i in range(1000000)) + b"}\n"
    yield "torn", b'{"prompt": "p", "answer": "a"}\n{"prompt": "q", "ans'
    yield "pickle", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."
    yield "zip", b"PK\x03\x04" + bytes(60)
    yield "gzip", b"\x1f\x8b\x08\x00" + bytes(40)


def calibration():
    yield "not_json", b"confidence,correct\n0.8,1\n"
    yield "list", b"[0.8, true]\n"
    yield "no_correct", j({"confidence": 0.8})
    yield "confidence_over_one", j({"confidence": 80, "correct": True})
    yield "confidence_negative", j({"confidence": -0.1, "correct": True})
    yield "confidence_is_text", j({"confidence": "0.8", "correct": True})
    yield "confidence_is_bool", j({"confidence": True, "correct": True})
    yield "nan", b'{"confidence": NaN, "correct": true}\n'
    yield "infinity", b'{"confidence": Infinity, "correct": true}\n'
    yield "too_large", b'{"confidence": 1e999, "correct": true}\n'
    yield "correct_is_text", j({"confidence": 0.8, "correct": "yes"})
    yield "correct_over_one", j({"confidence": 0.8, "correct": 2})
    yield "correct_is_null", j({"confidence": 0.8, "correct": None})
    yield "prompt_is_list", j({"confidence": 0.8, "correct": True, "prompt": [1]})
    yield "slice_holds_object", j({"confidence": 0.8, "correct": True, "slice": [{}]})
    yield "third_line", b'{"confidence": 0.8, "correct": true}\n\n{"confidence": 0.8, "correct": tru}\n'
    yield "deep", b'{"x": ' + b"[" * 100000 + b"\n"
    yield "deep_closed", b'{"confidence": 0.5, "correct": true, "slice": ' + b"[" * 100000 + b"]" * 100000 + b"}\n"
    yield "not_utf8", b'{"confidence": 0.8, "correct": true, "prompt": "\xff"}\n'
    yield "pickle", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94."


def token_rows():
    yield "not_json", b"hello\n"
    yield "neither", j({"txt": "a"})
    yield "both", j({"text": "a", "messages": []})
    yield "text_is_number", j({"text": 3})
    yield "messages_are_text", j({"messages": "hi"})
    yield "message_is_number", j({"messages": [3]})
    yield "deep", b'{"messages": ' + b"[" * 100000 + b"\n"
    yield "number_too_large", b'{"text": 1e999}\n'
    yield "messages_number_too_large", b'{"messages": [{"role": "user", "content": 1e999}]}\n'


def tokenizers(root):
    good = json.loads((root / "tests/golden/text/tiny_model/tokenizer.json").read_text())

    def edit(change):
        copy = json.loads(json.dumps(good))
        change(copy)
        return j(copy)

    yield "empty", b""
    yield "not_json", b"vocab\n"
    yield "list", b"[]"
    yield "torn", j(good)[:500]
    yield "no_model", edit(lambda t: t.pop("model"))
    yield "unknown_model", edit(lambda t: t["model"].update(type="Magic"))
    yield "vocab_is_list", edit(lambda t: t["model"].update(vocab=[1, 2]))
    yield "negative_id", edit(lambda t: t["model"]["vocab"].update({"zz": -1}))
    yield "huge_id", edit(lambda t: t["model"]["vocab"].update({"zz": 2**70}))
    yield "merge_of_unknown_tokens", edit(lambda t: t["model"].update(merges=[["qqqq", "zzzz"]]))
    yield "merge_of_three", edit(lambda t: t["model"].update(merges=["a b c"]))
    yield "bad_regex", edit(lambda t: t.update(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(((("}, "behavior": "Isolated", "invert": False}))
    yield "unknown_normalizer", edit(lambda t: t.update(normalizer={"type": "Rot13"}))
    yield "added_token_without_content", edit(lambda t: t.update(added_tokens=[{"id": 1}]))
    yield "deep", b"[" * 100000
    yield "deep_normalizer", b'{"normalizer":' * 100000
    yield "number_too_large", b'{"version": 1e999}'
    yield "pickle", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94."


def templates():
    yield "unclosed_block", b"{% for m in messages %}{{ m }}"
    yield "unknown_tag", b"{% import os %}"
    yield "unclosed_expression", b"{{ messages"
    yield "unknown_filter", b"{{ messages | shell }}"
    yield "unknown_function", b"{{ open('/etc/passwd') }}"
    yield "python_escape", b"{{ ''.__class__.__mro__[1].__subclasses__() }}"
    yield "endless_loop", b"{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}"
    yield "endless_recursion", b"{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}"
    yield "raise", b"{{ raise_exception('only for friends') }}"
    yield "deep_expression", b"{{ " + b"(" * 100000 + b"1" + b")" * 100000 + b" }}"
    yield "deep_blocks", b"{% if true %}" * 20000
    yield "string_bomb", b"{{ 'x' * 10000000000 }}"
    yield "doubling_bomb", b"{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}"
    yield "constants_bomb", b"{% set a = 'x' * 90000000 %}" * 20
    yield "replace_bomb", b"{% set ns = namespace(s='xx') %}{% for i in range(30) %}{% set ns.s = ns.s | replace('x', ns.s) %}{% endfor %}{{ ns.s }}"
    yield "not_utf8", b"{{ messages }}\xff\xfe"
    yield "include", b"{% include '/etc/passwd' %}"


def all_cases(root):
    """(group, name, how, file name, bytes)"""
    root = pathlib.Path(root)
    groups = [
        ("recipe", CHECK, "{}.toml", recipes(root)),
        ("rows", ROWS, "{}.jsonl", rows()),
        ("calibration", CALIBRATION, "{}.jsonl", calibration()),
        ("token_rows", TOKENIZE, "{}.jsonl", token_rows()),
        ("tokenizer", TOKENIZER, "tokenizer.json", tokenizers(root)),
        ("template", TEMPLATE, "chat_template.jinja", templates()),
        ("safetensors", "driver safetensors", "{}.safetensors", binary_cases.safetensors()),
        ("config", "driver config", "config.json", binary_cases.configs()),
        ("message", "driver message", "{}.bin", binary_cases.wire()),
        ("spool", "driver spool", "0000000700000003.group", binary_cases.spool_files()),
        ("ledger", "driver ledger", "{}.record", binary_cases.ledger()),
        ("manifest", "driver manifest", "{}.json", binary_cases.manifests()),
        ("verifier", "driver verifier", "{}.json", binary_cases.replies()),
        ("keys", "driver keys", "keys/rollout.key", binary_cases.keys()),
        ("endpoint", "driver endpoint", "endpoint.3", binary_cases.endpoints()),
        ("curriculum", CHECK, "{}.toml", service_cases.curricula(root)),
        ("judge_file", "driver judge_file", "{}.toml", service_cases.judge_files()),
        ("judge_reply", "driver judge_reply", "{}.json", service_cases.judge_replies()),
        ("gold", "driver gold", "{}.jsonl", service_cases.gold_rows()),
        ("pairs", "driver pairs", "{}.jsonl", service_cases.pair_rows()),
        ("verdict", "driver verdict", "{}.json", service_cases.test_verdicts()),
        ("heads", "driver heads", "heads.json", service_cases.reward_heads()),
        ("baseline", "driver baseline", "{}.jsonl.part", service_cases.baselines()),
        ("answers", "driver answers", "{}.jsonl", service_cases.answers()),
        ("chances", "driver chances", "{}.jsonl", service_cases.chances()),
        ("sweep", "driver sweep", "{}.txt", service_cases.sweeps()),
        ("submitted", "driver submitted", "jobs/submitted.json", service_cases.submitted_jobs()),
        ("signed", "driver signed", "done.json", service_cases.signed_records()),
        ("chat", "driver chat", "{}.json", service_cases.chat_requests()),
        ("completions", "driver completions", "{}.json", service_cases.completion_requests()),
        ("tokenizer_config", CONFIG, "tokenizer_config.json", service_cases.tokenizer_configs()),
        ("slurm_template", SLURM, "{}.sbatch", service_cases.slurm_templates()),
        ("version", "driver version", "manifest.json", service_cases.versions()),
        ("packing", "driver packing", "packing.json", service_cases.packings()),
        ("checkpoint", "driver checkpoint", "manifest.json", service_cases.checkpoints()),
    ]
    for group, how, file_name, cases in groups:
        for name, data in cases:
            yield group, name, how, file_name.format(name), data
