"""Malformed files of the newer readers: recipes' curricula, judges, reward models, stored baselines and answers, sweeps, Slurm's files, done
records, requests to `candor serve`, and the manifests of weights and checkpoints."""

import json


def j(value):
    return json.dumps(value).encode()


def lines(*values):
    return b"".join(j(value) + b"\n" for value in values)


DEEP = b"[" * 100000 + b"]" * 100000


def curricula(root):
    tiny = (root / "recipes/tiny.toml").read_text()

    def section(text):
        return (tiny + "\n[curriculum]\n" + text + "\n").encode()

    yield "unknown_skip", section('skip = "gresso"')
    yield "skip_is_bool", section("skip = true")
    yield "unknown_key", section("retire_ad = 0.9")
    yield "retire_over_one", section("retire_at = 1.5")
    yield "retire_is_nan", section("retire_at = nan")
    yield "share_is_negative", section("retire_at = 0.9\nretired_share = -0.1")
    yield "batches_is_text", section('fill_batches = "4"')
    yield "twice", section("skip = \"greso\"\n[curriculum]\nskip = \"none\"")
    yield "list_of_tables", tiny.encode() + b'\n[[curriculum]]\nskip = "greso"\n'


def judge_files():
    def judge(head="kind = 'pointwise'", user="{answer}", parse="read = 'word'\npattern = '(yes|no)'\npositive = ['yes']\nnegative = ['no']"):
        return f"{head}\nuser = '{user}'\n[parse]\n{parse}\n".encode()

    words = "positive = ['yes']\nnegative = ['no']"
    yield "empty", b""
    yield "json", b'{"kind": "pointwise"}'
    yield "not_utf8", b"kind = '\xff'\n"
    yield "no_kind", b"user = '{answer}'\n[parse]\nread = 'word'\npattern = '(a)'\n"
    yield "unknown_kind", judge(head="kind = 'listwise'")
    yield "unknown_key", judge(head="kind = 'pointwise'\ntemprature = 1.0")
    yield "no_user", b"kind = 'pointwise'\n[parse]\nread = 'word'\npattern = '(a)'\n"
    yield "nothing_shown", judge(user="Is it right?")
    yield "unknown_placeholder", judge(user="{answer} {completon}")
    yield "pair_shows_one", judge(head="kind = 'pairwise'", user="{first}")
    yield "steps_show_answer", judge(head="kind = 'steps'", user="{answer}")
    yield "unknown_reading", judge(parse="read = 'score'\npattern = '(a)'")
    yield "no_pattern", judge(parse="read = 'word'\n" + words)
    yield "two_groups", judge(parse="read = 'word'\npattern = '(a)(b)'\n" + words)
    yield "unclosed_pattern", judge(parse="read = 'word'\npattern = '(a'\n" + words)
    yield "lookahead", judge(parse="read = 'word'\npattern = '(?=a)(b)'\n" + words)
    yield "pattern_bomb", judge(parse="read = 'word'\npattern = '(" + "((a{0,99}){0,99}){0,99}" + ")'\n" + words)
    yield "no_words", judge(parse="read = 'word'\npattern = '(a)'\npositive = ['yes']")
    yield "scale_of_one", judge(parse="read = 'number'\npattern = '(a)'\nleast = 1.0\nmost = 1.0")
    yield "scale_is_text", judge(parse="read = 'number'\npattern = '(a)'\nleast = '1'")
    yield "probability_of_all_steps", judge(head="kind = 'steps'", user="{steps}", parse="read = 'probability'\n" + words)
    yield "split_with_group", judge(head="kind = 'steps'\nsplit = '(a)'", user="{steps}")


def judge_replies():
    yield "empty", b""
    yield "html", b"<html>502 Bad Gateway</html>"
    yield "list", b"[]"
    yield "error", j({"error": {"message": "busy"}})
    yield "no_choices", j({"choices": []})
    yield "choices_are_text", j({"choices": "yes"})
    yield "content_is_null", j({"choices": [{"message": {"content": None}}]})
    yield "message_is_text", j({"choices": [{"message": "yes"}]})
    yield "deep", b'{"choices": ' + DEEP + b"}"
    yield "torn", b'{"choices": [{"message": {"content": "ye'


def gold_rows():
    yield "empty", b""
    yield "not_json", b"prompt,completion\n"
    yield "second_line", lines({"prompt": "p", "answer": "a"}) + b"{\n"
    yield "no_prompt", lines({"completion": "c", "label": 1})
    yield "messages_without_user", lines({"prompt": [{"role": "system", "content": "s"}], "completion": "c", "label": 1})
    yield "completion_is_number", lines({"prompt": "p", "completion": 3, "label": 1})
    yield "label_is_word", lines({"prompt": "p", "completion": "c", "label": "right"})
    yield "label_is_two", lines({"prompt": "p", "completion": "c", "label": 2})
    yield "only_unknown", lines({"prompt": "p", "completion": "c", "label": "unknown"})
    yield "no_answer", lines({"prompt": "p"})
    yield "deep", b'{"prompt": ' + DEEP + b"}\n"


def pair_rows():
    yield "no_chosen", lines({"prompt": "p", "rejected": "r"})
    yield "rejected_is_number", lines({"prompt": "p", "chosen": "c", "rejected": 3})
    yield "labelled_rows", lines({"prompt": "p", "completion": "c", "label": 1})


def test_verdicts():
    yield "empty", b""
    yield "printed_by_the_code", b"all tests passed\n"
    yield "other_nonce", j({"nonce": "guess", "pass": True})
    yield "no_nonce", j({"pass": True})
    yield "pass_is_text", j({"nonce": "nonce", "pass": "true"})
    yield "nonce_nests", b'{"nonce": ' + DEEP + b', "pass": true}'
    yield "why_nests", b'{"nonce": "nonce", "pass": true, "why": ' + DEEP + b"}"


def reward_heads():
    good = {"feature_mean": [0.0], "feature_scale": [1.0], "score_mean": 0.0, "score_scale": 1.0,
            "heads": [{"mean_w": [1.0], "mean_b": 0.0, "std_w": [0.0], "std_b": 0.0}]}

    def but(**change):
        return j({k: v for k, v in {**good, **change}.items() if v is not ...})

    yield "empty", b""
    yield "pickle", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94."
    yield "list", b"[]"
    yield "no_heads", but(heads=...)
    yield "heads_empty", but(heads=[])
    yield "scale_missing", but(feature_scale=...)
    yield "scale_zero", but(feature_scale=[0.0])
    yield "score_scale_negative", but(score_scale=-1.0)
    yield "score_is_text", but(score_mean="0")
    yield "weight_is_null", but(heads=[{"mean_w": [None], "mean_b": 0.0, "std_w": [0.0], "std_b": 0.0}])
    yield "widths_differ", but(heads=[{"mean_w": [1.0, 2.0], "mean_b": 0.0, "std_w": [0.0], "std_b": 0.0}])
    yield "bias_missing", but(heads=[{"mean_w": [1.0], "std_w": [0.0], "std_b": 0.0}])
    yield "number_too_large", b'{"feature_mean": [1e999]}'
    yield "deep", b'{"feature_mean": ' + DEEP + b"}"
    yield "torn", j(good)[:60]


def baselines():
    good = {"id": "r0", "prompt": "p", "scores": [1.0], "baseline_by": "m k=2"}
    yield "not_json", b"r0,1.0\n"
    yield "no_scores", lines({"id": "r0", "prompt": "p", "baseline_by": "m k=2"})
    yield "scores_are_number", lines({**good, "scores": 1.0})
    yield "score_is_text", lines({**good, "scores": ["1"]})
    yield "other_settings", lines({**good, "baseline_by": "m k=4"})
    yield "settings_are_object", lines({**good, "baseline_by": {"k": 2}})
    yield "no_settings", lines({"id": "r0", "prompt": "p", "scores": [1.0]})
    yield "other_row", lines({**good, "prompt": "q"})
    yield "second_line", lines(good) + b"{\n"
    yield "too_many", lines(good, good, good)
    yield "deep", b'{"scores": [], "baseline_by": ' + DEEP + b"}\n"
    yield "many_keys", b'{"scores": []' + b"".join(b',"k%d":1' % i for i in range(60000)) + b"}\n"
    yield "not_utf8", b'{"scores": [], "id": "\xff"}\n'


def answers():
    good = {"dataset": "d", "prompt": "p", "greedy": True, "label": "correct", "confidence": 0.5}
    yield "not_json", b"d,p\n"
    yield "no_dataset", lines({k: v for k, v in good.items() if k != "dataset"})
    yield "greedy_is_number", lines({**good, "greedy": 1})
    yield "label_is_number", lines({**good, "label": 1})
    yield "no_confidence", lines({k: v for k, v in good.items() if k != "confidence"})
    yield "confidence_over_one", lines({**good, "confidence": 85})
    yield "confidence_is_text", lines({**good, "confidence": "0.5"})
    yield "slice_is_text", lines({**good, "slice": "geo"})
    yield "signals_are_list", lines({**good, "signals": [1]})
    yield "third_line", lines(good) + b"\n" + b"[]\n"


def chances():
    yield "not_json", b"row-1 0.5\n"
    yield "no_id", lines({"chance": {"a": 1}})
    yield "id_is_number", lines({"id": 1, "chance": {"a": 1}})
    yield "no_chance", lines({"id": "a"})
    yield "chance_is_number", lines({"id": "a", "chance": 0.5})
    yield "chance_over_one", lines({"id": "a", "chance": {"yes": 1.5}})
    yield "chance_is_null", lines({"id": "a", "chance": {"yes": None}})
    yield "no_answers", lines({"id": "a", "chance": {}})
    yield "second_line", lines({"id": "a", "chance": {"yes": 1}}) + b'{"id": "b", "chance": {"yes": NaN}}\n'


def sweeps():
    yield "nothing_varies", b"r.toml\nseed=1\n"
    yield "empty_value", b"r.toml\nseed=1,,2\n"
    yield "comma_at_the_end", b"r.toml\nseed=1,2,\n"
    yield "same_value", b"r.toml\nseed=1,2,1\n"
    yield "key_twice", b"r.toml\nseed=1,2\nseed=3,4\n"
    yield "too_many", b"r.toml\n" + b"".join(b"k%d=1,2,3,4,5,6,7,8,9,10\n" % i for i in range(4))
    yield "names_alike", b"r.toml\nname='a b','a:b'\n"
    yield "name_too_long", b"r.toml\nname=" + b"x" * 400 + b"," + b"y" * 400 + b"\n"


def submitted_jobs():
    good = {"role": "learners", "id": "12", "file": "f"}
    yield "empty", b""
    yield "object", j(good)
    yield "torn", j([good])[:20]
    yield "holds_number", j([good, 3])
    yield "id_is_number", j([good, {**good, "id": 13}])
    yield "no_file", j([{"role": "learners", "id": "12"}])


def signed_records():
    yield "empty", b""
    yield "unsigned", j({"steps": 60})
    yield "mac_is_number", j({"record": {}, "mac": 3})
    yield "record_is_list", j({"record": [], "mac": ""})
    yield "mac_is_short", j({"record": {"steps": 60}, "mac": "00"})
    yield "mac_is_a_guess", j({"record": {"steps": 60}, "mac": "0" * 64})
    yield "deep", b'{"mac": "", "record": {"a": ' + DEEP + b"}}"


def chat_requests():
    messages = [{"role": "user", "content": "hi"}]

    def but(**change):
        return j({"messages": messages, **change})

    yield "empty", b""
    yield "form", b"messages=hi"
    yield "list", b"[]"
    yield "not_utf8", b'{"messages": [{"role": "user", "content": "\xff"}]}'
    yield "deep", b'{"messages": ' + DEEP + b"}"
    yield "number_too_large", b'{"messages": [], "temperature": 1e999}'
    yield "no_messages", j({})
    yield "messages_empty", j({"messages": []})
    yield "message_is_text", j({"messages": ["hi"]})
    yield "role_unknown", j({"messages": [{"role": "robot", "content": "hi"}]})
    yield "content_is_number", j({"messages": [{"role": "user", "content": 3}]})
    yield "content_is_image", j({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]})
    yield "model_is_number", but(model=3)
    yield "temperature_over_two", but(temperature=3)
    yield "temperature_is_text", but(temperature="hot")
    yield "top_p_zero", but(top_p=0)
    yield "n_zero", but(n=0)
    yield "n_is_float", but(n=1.5)
    yield "n_too_large", but(n=10**30)
    yield "stop_is_number", but(stop=3)
    yield "stop_is_empty", but(stop=[""])
    yield "stops_many", but(stop=["a"] * 99)
    yield "stop_long", but(stop="a" * 2000)
    yield "max_tokens_negative", but(max_tokens=-1)
    yield "top_logprobs_alone", but(top_logprobs=3)
    yield "logprobs_is_number", but(logprobs=3)
    yield "stream_options_alone", but(stream_options={"include_usage": True})
    yield "stream_is_text", but(stream="yes")
    yield "seed_is_text", but(seed="a")
    yield "tools", but(tools=[{"type": "function"}])
    yield "logit_bias", but(logit_bias={"5": 1})
    yield "penalty", but(presence_penalty=0.5)
    yield "json_mode", but(response_format={"type": "json_object"})
    yield "unknown_field", but(temprature=1)
    yield "unknown_field_long", but(**{"x" * 3000000: 1})


def completion_requests():
    def but(**change):
        return j({"prompt": "p", **change})

    yield "no_prompt", j({"max_tokens": 3})
    yield "prompt_empty", but(prompt="")
    yield "prompt_is_object", but(prompt={"a": 1})
    yield "prompt_holds_empty", but(prompt=["a", ""])
    yield "ids_negative", but(prompt=[1, -2])
    yield "ids_too_large", but(prompt=[2**40])
    yield "ids_are_floats", but(prompt=[1.5])
    yield "ids_mixed", but(prompt=[1, "a"])
    yield "prompts_many", but(prompt=["a"] * 200)
    yield "prompts_times_n", but(prompt=["a"] * 20, n=20)
    yield "logprobs_many", but(logprobs=100)
    yield "echo", but(echo=True)
    yield "best_of", but(best_of=4)
    yield "suffix", but(suffix="x")
    yield "messages", but(messages=[])
    yield "chat_budget", but(max_completion_tokens=3)


def tokenizer_configs():
    yield "list", b"[]"
    yield "not_json", b"eos_token: x\n"
    yield "deep", b'{"eos_token": ' + DEEP + b"}"
    yield "torn", b'{"eos_token": "<s'
    yield "template_is_number", j({"chat_template": 3})
    yield "template_without_default", j({"chat_template": [{"name": "tool_use", "template": "x"}]})
    yield "template_of_a_million_names", j({"chat_template": [{"name": {f"k{i}": 1 for i in range(300000)}, "template": "x"}]})
    yield "template_unclosed", j({"chat_template": "{% for m in messages %}"})


def slurm_templates():
    yield "empty", b""
    yield "not_a_script", b"{{directives}}\n"
    yield "unknown_name", b"#!/bin/bash\n{{directives}}\n{{command}}\n{{candour}}\n"
    yield "unclosed", b"#!/bin/bash\n{{directives}\n"
    yield "binary", bytes(range(256))


def versions():
    yield "empty", b""
    yield "list", b"[]"
    yield "fields_missing", j({"version": 7})
    yield "deep", b'{"version": ' + DEEP + b"}"


def packings():
    yield "empty", b""
    yield "list", b"[]"
    yield "chunks_missing", j({"version": 7})
    yield "chunks_number", j({"version": 7, "chunks": 3})
    yield "chunk_of_nothing", j({"version": 7, "chunks": [{"full": None, "delta": None, "same": False}]})
    yield "deep", b'{"chunks": ' + DEEP + b"}"


def checkpoints():
    yield "empty", b""
    yield "torn", b'{"body": {"step": 3'
    yield "list", b"[]"
    yield "no_hash", j({"body": {"step": 3}})
    yield "deep", b'{"body": ' + DEEP + b"}"
