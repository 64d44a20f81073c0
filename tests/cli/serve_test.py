"""`candor serve` as an OpenAI client meets it: chats with a confidence, completions with log-probabilities, requests side by side, streams, refusals, a clean end.

usage: serve_test.py CANDOR SOURCE_FOLDER
"""
import concurrent.futures
import json
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

from serving import Server

CANDOR = str(pathlib.Path(sys.argv.pop(1)).resolve())
SOURCE = pathlib.Path(sys.argv.pop(1)).resolve()
TEMPORARY = tempfile.TemporaryDirectory(prefix="candor-serve-")
FOLDER = pathlib.Path(TEMPORARY.name)


def run(*words, **options):
    answer = subprocess.run([CANDOR, *map(str, words)], cwd=SOURCE, capture_output=True, text=True, timeout=300, **options)
    assert answer.returncode == 0, f"{words}\n{answer.stdout}{answer.stderr}"
    return answer.stdout


def setUpModule():
    """The tiny model after its format's fine-tuning: it writes tags, and its confidence is read from a slot."""
    run("sft", "recipes/tiny/model", "recipes/tiny/format.jsonl", FOLDER / "tuned", "--recipe", "recipes/tiny.toml", "--quiet")


def tearDownModule():
    TEMPORARY.cleanup()


def chat(question, **more):
    return {"messages": [{"role": "user", "content": question}], **more}


class Serving(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(CANDOR, SOURCE, FOLDER / "tuned", "--name", "tiny")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def score(self, rows):
        path = FOLDER / "score.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return [json.loads(line)["logprobs"] for line in run("score", FOLDER / "tuned", path, "--dtype", "fp32", "--device", "cpu").splitlines()]

    def test_a_chat_says_how_sure_it_is_as_generate_does(self):
        reply = self.server.ask("/chat/completions", chat("echo 4", model="tiny", temperature=0, max_tokens=24))
        spoken = json.loads(run("generate", FOLDER / "tuned", "echo 4", "--json", "--max-new-tokens", "24", "--dtype", "fp32", "--device", "cpu"))
        choice = reply["choices"][0]
        self.assertEqual((reply["object"], reply["model"], choice["finish_reason"]), ("chat.completion", "tiny", "stop"))
        self.assertEqual(choice["answer"], spoken["answer"])
        self.assertTrue(choice["message"]["content"].startswith(f"<answer>{spoken['answer']}</answer>"), choice)
        self.assertAlmostEqual(choice["confidence"], spoken["confidence"], places=5)
        self.assertTrue(0 < choice["confidence"] < 1, choice)
        usage = reply["usage"]
        self.assertEqual(usage["total_tokens"], usage["prompt_tokens"] + usage["completion_tokens"])

    def test_log_probabilities_are_those_of_score(self):
        for ask in ({"temperature": 0}, {"temperature": 1, "seed": 5, "n": 3, "top_p": 0.9}):
            reply = self.server.ask("/completions", {"prompt": [34, 19, 35], "max_tokens": 12, "logprobs": 3, **ask})
            choices = [choice["logprobs"] for choice in reply["choices"]]
            self.assertEqual(len(choices), ask.get("n", 1))
            expected = self.score([{"prompt_ids": [34, 19, 35], "completion_ids": choice["token_ids"]} for choice in choices])
            for choice, scored, whole in zip(choices, expected, reply["choices"]):
                self.assertGreater(len(scored), 0)
                for ours, theirs in zip(choice["token_logprobs"], scored, strict=True):
                    self.assertAlmostEqual(ours, theirs, delta=2e-4)
                for token, own, top, at in zip(choice["tokens"], choice["token_logprobs"], choice["top_logprobs"], choice["text_offset"]):
                    self.assertEqual(len(top), 3)
                    self.assertLessEqual(own, max(top.values()) + 1e-6)
                    self.assertTrue(whole["text"][at:].startswith(token) or "\ufffd" in token, (whole["text"], at, token))
        chosen = self.server.ask("/chat/completions", chat("echo 2", temperature=0, logprobs=True, top_logprobs=2))["choices"][0]["logprobs"]["content"]
        for token in chosen:
            self.assertAlmostEqual(token["top_logprobs"][0]["logprob"], token["logprob"], places=6)  # greedy takes the likeliest
            self.assertGreaterEqual(token["top_logprobs"][0]["logprob"], token["top_logprobs"][1]["logprob"])

    def test_a_seed_repeats_and_no_seed_does_not(self):
        def texts(**more):
            return [choice["text"] for choice in self.server.ask("/completions", {"prompt": "echo", "max_tokens": 16, "n": 4, **more})["choices"]]
        first = texts(seed=7)
        self.assertEqual(first, texts(seed=7))
        self.assertGreater(len(set(first)), 1, first)
        self.assertNotEqual(first, texts(seed=8))
        self.assertNotEqual(texts(), texts())

    def test_requests_side_by_side_share_the_engine_and_get_their_own_answers(self):
        questions = [f"echo {digit}" for digit in range(10)] * 3
        ask = lambda question: self.server.ask("/chat/completions", chat(question, temperature=0))["choices"][0]
        alone = {question: ask(question) for question in questions[:10]}
        with concurrent.futures.ThreadPoolExecutor(30) as pool:
            together = list(pool.map(ask, questions))
        for question, choice in zip(questions, together):
            self.assertEqual(choice["message"], alone[question]["message"])
            self.assertAlmostEqual(choice["confidence"], alone[question]["confidence"], places=4)
        health = self.server.ask(self.server.root + "/healthz")
        self.assertEqual(health["status"], "ok")
        self.assertGreater(health["running_max"], 1, "requests were not batched")

    def test_several_prompts_keep_their_order(self):
        prompts = ["echo 1", "echo 2 echo 3 echo 4 echo 5", [34, 19]]
        reply = self.server.ask("/completions", {"prompt": prompts, "max_tokens": 8, "temperature": 0, "n": 2})
        self.assertEqual([choice["index"] for choice in reply["choices"]], list(range(6)))
        for i, prompt in enumerate(prompts):
            one = self.server.ask("/completions", {"prompt": prompt, "max_tokens": 8, "temperature": 0})["choices"][0]["text"]
            self.assertEqual([reply["choices"][2 * i + k]["text"] for k in range(2)], [one, one])

    def test_a_stream_brings_the_same_in_pieces(self):
        body = chat("echo 6", temperature=0, logprobs=True, n=2)
        whole = self.server.ask("/chat/completions", body)
        chunks = self.server.chunks("/chat/completions", {**body, "stream_options": {"include_usage": True}})
        self.assertEqual(chunks[-1]["usage"], whole["usage"])
        self.assertEqual({chunk["object"] for chunk in chunks}, {"chat.completion.chunk"})
        for i, expected in enumerate(whole["choices"]):
            mine = [chunk["choices"][0] for chunk in chunks[:-1] if chunk["choices"][0]["index"] == i]
            self.assertEqual(mine[0]["delta"]["role"], "assistant")
            self.assertEqual("".join(piece["delta"].get("content", "") for piece in mine), expected["message"]["content"])
            tokens = [token for piece in mine if piece.get("logprobs") for token in piece["logprobs"]["content"]]
            self.assertEqual([token["id"] for token in tokens], [token["id"] for token in expected["logprobs"]["content"]])
            self.assertEqual((mine[-1]["finish_reason"], mine[-1]["answer"]), (expected["finish_reason"], expected["answer"]))
            self.assertAlmostEqual(mine[-1]["confidence"], expected["confidence"], places=5)
        many = [chunk["choices"][0]["index"] for chunk in self.server.chunks("/completions", {"prompt": "echo 1 2 3", "max_tokens": 150, "n": 100, "temperature": 2}) if chunk["choices"][0]["text"]]
        self.assertGreater(len(many), len(set(many)), "every reply came in one piece")
        pieces = self.server.chunks("/completions", {"prompt": "echo", "seed": 3, "max_tokens": 16})
        self.assertEqual("".join(piece["choices"][0]["text"] for piece in pieces), self.server.ask("/completions", {"prompt": "echo", "seed": 3, "max_tokens": 16})["choices"][0]["text"])

    def test_a_stop_text_ends_a_reply_and_is_not_shown(self):
        free = self.server.ask("/chat/completions", chat("echo 8", temperature=0))["choices"][0]["message"]["content"]
        self.assertIn("answer>", free)
        for body in ({"stop": "answer>"}, {"stop": ["never there", "wer>"]}):
            expected = free[:min(free.index(stop) for stop in (["answer>"] if isinstance(body["stop"], str) else ["wer>"]))]
            choice = self.server.ask("/chat/completions", chat("echo 8", temperature=0, **body))["choices"][0]
            self.assertEqual((choice["message"]["content"], choice["finish_reason"]), (expected, "stop"))
            self.assertIsNone(choice["confidence"])  # the format was not kept: there is none
            pieces = self.server.chunks("/chat/completions", chat("echo 8", temperature=0, **body))
            self.assertEqual("".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces), expected)
        short = self.server.ask("/chat/completions", chat("echo 8", temperature=0, max_tokens=2))["choices"][0]
        self.assertEqual(short["finish_reason"], "length")

    def test_models_and_health(self):
        listed = self.server.ask("/models")
        self.assertEqual([(model["id"], model["confidence"], model["max_model_len"]) for model in listed["data"]], [("tiny", "slot", 256)])
        self.assertEqual(self.server.ask("/models/tiny")["id"], "tiny")
        self.assertEqual(self.server.refusal("/models/other")[0], 404)

    def test_a_request_that_is_wrong_is_told_which_field(self):
        good = chat("echo 1")
        for body, field in ((chat("x", temperature=3), "temperature"), (chat("x", temperature="hot"), "temperature"), (chat("x", top_p=0), "top_p"), (chat("x", n=0), "n"),
                            (chat("x", n=1000), "n"), (chat("x", n=1.5), "n"), (chat("x", max_tokens=0), "max_tokens"), (chat("x", stop=[1]), "stop"), (chat("x", stop=""), "stop"),
                            (chat("x", seed="a"), "seed"), (chat("x", stream="yes"), "stream"), (chat("x", top_logprobs=2), "top_logprobs"), (chat("x", logprobs=True, top_logprobs=21), "top_logprobs"),
                            (chat("x", presence_penalty=0.5), "presence_penalty"), (chat("x", tools=[{}]), "tools"), (chat("x", temprature=1), "temprature"),
                            ({"messages": []}, "messages"), ({}, "messages"), ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
                            ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"), ({**good, "stream_options": {}}, "stream_options")):
            status, error = self.server.refusal("/chat/completions", body)
            self.assertEqual((status, error["param"], error["type"]), (400, field, "invalid_request_error"), error)
            self.assertIn(field.split("[")[0], error["message"] + field)
        for body, field in (({"prompt": ""}, "prompt"), ({"prompt": [1, "a"]}, "prompt"), ({"prompt": {}}, "prompt"), ({}, "prompt"), ({"prompt": "x", "echo": True}, "echo"), ({"prompt": "x", "logprobs": 99}, "logprobs")):
            status, error = self.server.refusal("/completions", body)
            self.assertEqual((status, error["param"]), (400, field), error)
        self.assertIn("did you mean 'temperature'", self.server.refusal("/chat/completions", chat("x", temprature=1))[1]["message"])
        self.assertEqual(self.server.refusal("/chat/completions", chat("x", model="gpt-5"))[1]["code"], "model_not_found")
        for bad in ({"prompt": "x", "max_tokens": 4096}, {"prompt": [999999]}, {"prompt": "echo " * 400}):
            status, error = self.server.refusal("/completions", bad)
            self.assertEqual(status, 400, error)
        self.assertIn("256 positions", self.server.refusal("/completions", {"prompt": "x", "max_tokens": 4096})[1]["message"])
        self.assertEqual(self.server.ask("/chat/completions", good)["object"], "chat.completion")

    def test_bodies_that_are_no_requests(self):
        for raw in (b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe{}", b"[" * 100000, b'{"messages": ' + b"[" * 5000 + b"]" * 5000 + b"}"):
            status, error = self.server.refusal("/chat/completions", raw=raw)
            self.assertEqual(status, 400, raw[:20])
            self.assertTrue(error["message"])
        self.assertEqual(self.server.refusal("/chat/completions", raw=b"{}", headers={"Content-Type": "text/plain"})[0], 415)
        self.assertEqual(self.server.refusal("/completions", {"prompt": "x" * (5 << 20)})[0], 413)
        self.assertEqual(self.server.refusal("/nothing")[0], 404)
        self.assertEqual(self.server.refusal("/models", headers={"Host": "evil.example"})[0], 421)

    def test_a_reader_that_goes_away_leaves_nothing_behind(self):
        host, port = self.server.root.removeprefix("http://").split(":")
        body = json.dumps({"prompt": "echo", "max_tokens": 200, "n": 32, "stream": True}).encode()
        with socket.create_connection((host, int(port)), timeout=30) as link:
            link.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            self.assertTrue(link.recv(100))
        for _ in range(200):
            if self.server.ask(self.server.root + "/healthz")["open_requests"] == 0:
                return
        self.fail("the request of a reader that left is still open")


class Abstaining(unittest.TestCase):
    questions = [f"echo {digit}" for digit in range(10)]

    def test_answers_below_the_threshold_are_withheld(self):
        server = Server(CANDOR, SOURCE, FOLDER / "tuned")
        try:
            free = [server.ask("/chat/completions", chat(question, temperature=0))["choices"][0] for question in self.questions]
        finally:
            server.stop()
        self.assertFalse(any("abstained" in choice for choice in free))
        ordered = sorted(choice["confidence"] for choice in free)
        threshold = (ordered[4] + ordered[5]) / 2
        server = Server(CANDOR, SOURCE, FOLDER / "tuned", "--abstain-below", repr(threshold), "--abstain-text", "No idea.")
        try:
            for question, before in zip(self.questions, free):
                body = chat(question, temperature=0, logprobs=True)
                choice = server.ask("/chat/completions", body)["choices"][0]
                withheld = before["confidence"] < threshold
                self.assertEqual(choice["abstained"], withheld, question)
                self.assertAlmostEqual(choice["confidence"], before["confidence"], places=5)
                self.assertEqual(choice["answer"], "No idea." if withheld else before["answer"])
                self.assertEqual(choice["message"]["content"], "No idea." if withheld else before["message"]["content"])
                self.assertEqual(choice["logprobs"]["content"] == [], withheld, "log-probabilities tell what was withheld")
                pieces = [chunk["choices"][0] for chunk in server.chunks("/chat/completions", body)]
                self.assertEqual("".join(piece["delta"].get("content", "") for piece in pieces), choice["message"]["content"])
                self.assertEqual((pieces[-1]["abstained"], pieces[-1]["answer"]), (withheld, choice["answer"]))
            self.assertTrue(server.ask("/completions", {"prompt": "no format", "max_tokens": 3})["choices"][0]["abstained"], "no confidence is not a high one")
        finally:
            server.stop()
        prompts = FOLDER / "questions.jsonl"
        prompts.write_text("".join(json.dumps({"prompt": question}) + "\n" for question in self.questions))
        lines = {line["prompt"]: line for line in map(json.loads, run("generate", FOLDER / "tuned", "--prompts", prompts, "--abstain-below", repr(threshold), "--dtype", "fp32", "--device", "cpu").splitlines())}
        for question, before in zip(self.questions, free):
            line, withheld = lines[question], before["confidence"] < threshold
            self.assertEqual((line["abstained"], line["answer"], line.get("withheld")), (withheld, "I don't know" if withheld else before["answer"], before["answer"] if withheld else None))

    def test_without_a_confidence_there_is_nothing_to_compare(self):
        with self.assertRaisesRegex(RuntimeError, "--abstain-below compares a confidence"):
            Server(CANDOR, SOURCE, FOLDER / "tuned", "--confidence", "none", "--abstain-below", "0.5")


class Guarded(unittest.TestCase):
    def test_others_need_a_token(self):
        with self.assertRaisesRegex(RuntimeError, "token"):
            Server(CANDOR, SOURCE, FOLDER / "tuned", "--host", "0.0.0.0")
        with self.assertRaisesRegex(RuntimeError, "NO_SUCH_KEY"):
            Server(CANDOR, SOURCE, FOLDER / "tuned", "--api-key-env", "NO_SUCH_KEY")
        server = Server(CANDOR, SOURCE, FOLDER / "tuned", "--host", "0.0.0.0", "--api-key-env", "SERVE_KEY", env={"SERVE_KEY": "s3cret"})
        try:
            self.assertNotIn("s3cret", server.line)
            server.base = server.base.replace("0.0.0.0", "127.0.0.1")
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret"}):
                for path, body in (("/models", None), ("/chat/completions", chat("echo 1"))):
                    status, error = server.refusal(path, body, headers=headers)
                    self.assertEqual((status, error["type"]), (401, "authentication_error"))
            self.assertEqual(len(server.ask("/models", headers={"Authorization": "Bearer s3cret"})["data"]), 1)
            self.assertEqual(server.ask(server.base.replace("/v1", "/healthz"))["status"], "ok")
        finally:
            server.stop()

    def test_a_full_server_says_so(self):
        server = Server(CANDOR, SOURCE, FOLDER / "tuned", "--max-requests", "1", "--max-batch", "1")
        try:
            ask = lambda _: server.open("/completions", {"prompt": "echo", "max_tokens": 200, "n": 8}).status
            refused = 0
            with concurrent.futures.ThreadPoolExecutor(12) as pool:
                for future in [pool.submit(ask, i) for i in range(12)]:
                    try:
                        self.assertEqual(future.result(), 200)
                    except Exception as error:  # urllib's HTTPError
                        self.assertEqual(getattr(error, "code", None), 429, error)
                        refused += 1
            self.assertGreater(refused, 0)
            self.assertLess(refused, 12)
        finally:
            server.stop()

    def test_being_told_to_end_ends_it_cleanly_with_requests_open(self):
        for how in (signal.SIGINT, signal.SIGTERM):
            server = Server(CANDOR, SOURCE, "recipes/tiny/model", "--max-batch", "1")
            self.assertIsNone(server.ask("/models")["data"][0]["confidence"])  # no slot: no confidence
            self.assertNotIn("confidence", server.ask("/chat/completions", chat("echo 1", max_tokens=4))["choices"][0])
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                long = pool.submit(server.refusal, "/completions", {"prompt": "echo", "max_tokens": 200, "n": 128})
                while not long.done() and server.ask(server.root + "/healthz")["open_requests"] == 0:
                    pass
                self.assertEqual(server.stop(how), 0)
                status, error = long.result(timeout=60)
            self.assertEqual((status, error["message"]), (503, "the server is stopping"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
