"""A `candor serve` of a test's own, and the HTTP that it speaks, with Python's standard library only."""
import json
import os
import signal
import subprocess
import urllib.error
import urllib.request


class Server:
    def __init__(self, candor, source, model, *options, env=None):
        command = [candor, "serve", str(model), "--port", "0", "--dtype", "fp32", "--device", "cpu", "--threads", "1", *map(str, options)]
        self.process = subprocess.Popen(command, cwd=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        self.line = self.process.stdout.readline()
        if not self.line.startswith("http"):
            self.process.wait()
            raise RuntimeError(self.line + self.process.stderr.read())
        self.base = self.line.split()[0]  # http://127.0.0.1:PORT/v1
        self.root = self.base.removesuffix("/v1")

    def stop(self, how=signal.SIGINT):
        """The exit code after being told to end."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(timeout=60)
        self.process.stdout.close()
        self.process.stderr.close()
        return code

    def open(self, path, body=None, headers=None, raw=None):
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **(headers or {})}
        return urllib.request.urlopen(urllib.request.Request(path if path.startswith("http") else self.base + path, data, headers), timeout=120)

    def ask(self, path, body=None, **options):
        with self.open(path, body, **options) as answer:
            return json.load(answer)

    def refusal(self, path, body=None, **options):
        """(status, error object) of a request that must fail."""
        try:
            with self.open(path, body, **options) as answer:
                raise AssertionError(f"answered {answer.status}: {answer.read()[:300]}")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)["error"]

    def chunks(self, path, body, **options):
        """The events of a stream, up to [DONE]."""
        with self.open(path, {**body, "stream": True}, **options) as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream"), answer.headers
            events = answer.read().decode().split("\n\n")
        assert events[-1] == "" and events[-2] == "data: [DONE]", events[-3:]
        return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
