"""Judges a model's code without running any of it: the tests run here, each use of the model's names is a question to code_server.py in a sandbox
of its own, and what comes back is plain data that is compared here. One JSON line {"nonce", "code", "tests"} on stdin; on stdout "ready" once
the server stands, then one line {"nonce", "pass", "why"}. Where the server does not stand nothing is said: that is not the code's fault. Pipes
to and from the server are the descriptors 3 and 4.

tests: Python that asserts (text or a list of texts), or a list of {"input", "output"} of whole programs.
"""

import base64
import builtins
import json
import os
import sys

LIMIT = 17 << 20


class Failed(Exception):
    """The code does not pass."""


class Server:
    def __init__(self):
        self.requests, self.replies = os.fdopen(3, "wb"), os.fdopen(4, "rb")
        self.stands = self.replies.readline(LIMIT) == b'{"ready": true}\n'

    def ask(self, **request):
        try:
            self.requests.write(json.dumps(request).encode() + b"\n")
            self.requests.flush()
            line = self.replies.readline(LIMIT)
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            raise Failed("the code ended its process")
        try:
            reply = json.loads(line)
            assert isinstance(reply, dict)
        except (ValueError, AssertionError, RecursionError):
            raise Failed("the code's process wrote what is no reply") from None
        if "e" in reply:
            name, text = str(reply["e"][0]), str(reply["e"][1])
            kind = getattr(builtins, name, None)
            if isinstance(kind, type) and issubclass(kind, Exception) and kind is not AssertionError:
                raise kind(text)
            raise Failed(f"{name}: {text}")
        return reply

    def value(self, **request):
        return decode(self.ask(**request).get("v"), self)


class Remote:
    """Something of the model's that is no plain data. Never equal to data, never true: only data can pass a test."""

    def __init__(self, server, ref):
        object.__setattr__(self, "_server", server)
        object.__setattr__(self, "_ref", ref)

    def __call__(self, *args, **kw):
        return self._server.value(call=self._ref, args=[encode(a) for a in args], kw={k: encode(v) for k, v in kw.items()})

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self._server.value(attr=self._ref, name=name)

    def __getitem__(self, key):
        return self._server.value(item=self._ref, key=encode(key))

    def __len__(self):
        length = self._server.value(len=self._ref)
        return length if type(length) is int else 0

    def __iter__(self):
        items = self._server.value(list=self._ref)
        return iter(items if type(items) is list else [])

    def __bool__(self):
        raise Failed("a test asked for the truth of an object that is no plain value")


def encode(value):
    if isinstance(value, Remote):
        return {"r": value._ref}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, complex):
        return {"c": [value.real, value.imag]}
    if isinstance(value, (bytes, bytearray)):
        return {"b": base64.b64encode(bytes(value)).decode()}
    for tag, kind in (("l", list), ("t", tuple), ("s", set), ("f", frozenset)):
        if isinstance(value, kind):
            return {tag: [encode(item) for item in value]}
    if isinstance(value, dict):
        return {"d": [[encode(k), encode(v)] for k, v in value.items()]}
    if isinstance(value, range):
        return {"l": list(value)}
    raise Failed(f"the tests pass a {type(value).__name__}, which cannot be sent to the code")


def decode(data, server):
    if not isinstance(data, dict):
        if data is None or type(data) in (bool, int, float, str):
            return data
        raise Failed("the code's process wrote what is no value")
    try:
        (tag, body), *_ = data.items()
        if tag == "r":
            return Remote(server, int(body))
        if tag == "b":
            return base64.b64decode(body)
        if tag == "c":
            return complex(*body)
        if tag == "d":
            return {decode(k, server): decode(v, server) for k, v in body}
        return {"l": list, "t": tuple, "s": set, "f": frozenset}[tag](decode(item, server) for item in body)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Failed("the code's process wrote what is no value") from None


def test_functions(server, code, tests):
    space = {"__name__": "tests"}
    for name, value in server.ask(load=code).get("names", []):
        if name in sys.stdlib_module_names:
            space[name] = __import__(name)  # the real one, not what the code calls so
        elif isinstance(name, str) and not hasattr(builtins, name):
            space[name] = decode(value, server)
    exec(compile(tests, "<tests>", "exec"), space)


def test_programs(server, code, tests):
    words = lambda text: [line.rstrip() for line in text.rstrip().splitlines()]  # noqa: E731
    for number, case in enumerate(tests):
        printed = server.value(run=code, input=str(case["input"]))
        if type(printed) is not str or words(printed) != words(str(case["output"])):
            raise Failed(f"test {number} printed something else")


def judge(server, request):
    tests = request["tests"]
    if isinstance(tests, list) and tests and all(isinstance(t, dict) for t in tests):
        test_programs(server, request["code"], tests)
    else:
        test_functions(server, request["code"], "\n".join(tests) if isinstance(tests, list) else tests)


def main():
    request = json.loads(sys.stdin.readline())
    verdict = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0), os.dup2(null, 1), os.dup2(null, 2)
    passed, why = False, ""
    server = Server()
    if not server.stands:
        os._exit(1)
    verdict.write("ready\n")
    verdict.flush()
    try:
        judge(server, request)
        passed = True
    except AssertionError as error:
        why = f"an assertion does not hold: {error}"[:300]
    except BaseException as error:
        why = (str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}")[:300]
    verdict.write(json.dumps({"nonce": request["nonce"], "pass": passed, "why": why}) + "\n")
    verdict.flush()
    os._exit(0)


main()
