"""Runs a model's code in a sandbox and answers calls into it. Never sees the tests' expectations: it is asked for values and gives values, and
whoever asks compares them in another process (code_tester.py).

Says {"ready": true} when it stands. Then one JSON line in, one out. {"load": code} -> {"names": [[name, value], ..]}; {"call": ref, "args": [..], "kw": {..}}, {"attr": ref, "name": ..},
{"item": ref, "key": ..}, {"len": ref}, {"list": ref} -> {"v": value}; {"run": code, "input": text} -> {"v": what it printed}; {"e": [class,
text]} where the code raised. Values: plain data tagged by type, everything else a reference.
"""

import base64
import json
import os
import resource
import subprocess
import sys
import tempfile
import types

LIMIT = 16 << 20


def encode(value, refs, depth=0):
    if depth > 60:
        raise ValueError("nested too deeply")
    if value is None or type(value) in (bool, int, float, str):
        return value
    again = lambda item: encode(item, refs, depth + 1)  # noqa: E731
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, complex):
        return {"c": [value.real, value.imag]}
    if isinstance(value, (bytes, bytearray)):
        return {"b": base64.b64encode(bytes(value)).decode()}
    for tag, kind in (("l", list), ("t", tuple), ("s", set), ("f", frozenset)):
        if isinstance(value, kind):
            return {tag: [again(item) for item in kind.__iter__(value)]}
    if isinstance(value, dict):
        return {"d": [[again(k), again(v)] for k, v in dict.items(value)]}
    refs.append(value)
    return {"r": len(refs) - 1, "m": isinstance(value, types.ModuleType)}


def decode(data, refs):
    if not isinstance(data, dict):
        return data
    (tag, body), *_ = data.items()
    if tag == "r":
        return refs[body]
    if tag == "b":
        return base64.b64decode(body)
    if tag == "c":
        return complex(*body)
    if tag == "d":
        return {decode(k, refs): decode(v, refs) for k, v in body}
    return {"l": list, "t": tuple, "s": set, "f": frozenset}[tag](decode(item, refs) for item in body)


def run_program(code, text):
    with tempfile.TemporaryFile() as out:
        done = subprocess.run([sys.executable, "-I", "-S", "-c", code], input=text.encode(), stdout=out, stderr=subprocess.DEVNULL)
        out.seek(0)
        if done.returncode != 0:
            raise RuntimeError(f"the program ended with code {done.returncode}")
        return out.read(LIMIT).decode("utf-8", "replace")


def answer(request, refs, space):
    if "load" in request:
        exec(compile(request["load"], "<completion>", "exec"), space)
        return {"names": [[n, encode(v, refs)] for n, v in list(space.items()) if isinstance(n, str) and not n.startswith("__")]}
    if "run" in request:
        return {"v": run_program(request["run"], request["input"])}
    if "call" in request:
        args = [decode(a, refs) for a in request["args"]]
        kw = {k: decode(v, refs) for k, v in request["kw"].items()}
        return {"v": encode(refs[request["call"]](*args, **kw), refs)}
    if "attr" in request:
        return {"v": encode(getattr(refs[request["attr"]], request["name"]), refs)}
    if "item" in request:
        return {"v": encode(refs[request["item"]][decode(request["key"], refs)], refs)}
    if "len" in request:
        return {"v": encode(len(refs[request["len"]]), refs)}
    return {"v": encode(list(refs[request["list"]]), refs)}


def main():
    processes = int(sys.argv[1])
    if processes > 0:
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    replies.write(b'{"ready": true}\n')  # before any of the code is here
    replies.flush()
    refs, space = [], {"__name__": "__main__"}
    for line in requests:
        try:
            reply = json.dumps(answer(json.loads(line), refs, space))
            if len(reply) > LIMIT:
                raise ValueError("the value is too large")
        except BaseException as error:  # SystemExit too: the code may not end the conversation as if it had passed
            reply = json.dumps({"e": [type(error).__name__, str(error)[:300]]})
        replies.write(reply.encode() + b"\n")
        replies.flush()


main()
