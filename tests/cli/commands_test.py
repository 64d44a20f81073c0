"""The command line as a newcomer meets it: help, exit codes, folders that are not what they seem, and one policy taken from run to export to evaluation.

usage: commands_test.py CANDOR SOURCE_FOLDER
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

CANDOR = str(pathlib.Path(sys.argv.pop(1)).resolve())
SOURCE = pathlib.Path(sys.argv.pop(1)).resolve()
MODEL = str(SOURCE / "recipes/tiny/model")
ROWS = str(SOURCE / "recipes/tiny/test.jsonl")
COMMANDS = ("init", "run", "sweep", "check", "data", "sft", "generate", "serve", "eval", "calibration", "compare", "label-curve", "report", "ledger", "export", "baseline", "train-rm", "reward-model", "score", "tokenize", "verifier", "judge", "bench", "doctor")
ROLES = ("coordinator", "reward", "rollout", "trainer")


def candor(*words, **options):
    return subprocess.run([CANDOR, *map(str, words)], cwd=SOURCE, capture_output=True, text=True, timeout=120, **options)


class Commands(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="candor-cli-")
        self.folder = pathlib.Path(self.temporary.name)

    def tearDown(self):
        self.temporary.cleanup()

    def ok(self, *words, **options):
        answer = candor(*words, **options)
        self.assertEqual(answer.returncode, 0, f"{words}\n{answer.stdout}{answer.stderr}")
        return answer

    def refused(self, code, words, *parts):
        answer = candor(*words)
        self.assertEqual(answer.returncode, code, f"{words}\n{answer.stdout}{answer.stderr}")
        for part in parts:
            self.assertIn(part, answer.stderr, words)
        return answer

    def test_an_exception_that_escapes_is_told_with_what_to_do(self):
        nowhere = dict(os.environ, TMPDIR=str(self.folder / "none"))
        for words in (["bench", "recover"], ["bench", "publish", MODEL]):  # of candor, and of candor-torch
            answer = candor(*words, env=nowhere)
            self.assertEqual(answer.returncode, 1, f"{words}\n{answer.stdout}{answer.stderr}")
            self.assertRegex(answer.stderr, "(?m)^candor bench: internal error: std::filesystem.*temp_directory_path.*; mend what the system names here")

    def a_run(self):
        """A run's folder as `candor run` leaves it, with the untrained model as its result."""
        run = self.folder / "run"
        run.mkdir()
        shutil.copy(SOURCE / "recipes/tiny.toml", run / "resolved.toml")
        shutil.copytree(MODEL, run / "final")
        return run

    def test_every_command_explains_itself(self):
        overview = self.ok("--help").stdout
        for command in COMMANDS:
            self.assertIn(f"\n  {command} ", overview)
            self.assertIn("Example", self.ok(command, "--help").stdout, command)
            self.refused(2, [command, "--no-such-option"], "--help")
        for role in ROLES:
            self.assertNotIn(f"\n  {role} ", overview)
            self.assertIn("--run-dir", self.ok(role, "--help").stdout)
        self.refused(2, ["evl"], "did you mean 'eval'")

    def test_output_that_cannot_be_written_is_a_failure(self):
        rows = self.folder / "rows.jsonl"
        rows.write_text('{"text": "a", "prompt": "a", "completion": "b", "confidence": 0.5, "correct": true}\n')
        for words in (["--help"], ["calibration", rows], ["tokenize", MODEL, rows], ["score", MODEL, rows]):
            with open("/dev/full", "w") as full:
                answer = subprocess.run([CANDOR, *map(str, words)], cwd=SOURCE, stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual(answer.returncode, 1, f"{words} {answer.stderr}")
            self.assertIn("cannot write to standard output", answer.stderr)

    def test_a_verifier_of_code_and_a_judge_behind_a_url(self):
        rows = self.folder / "problems.jsonl"
        problems = [{"prompt": "Write add.", "answer": "def add(a, b):\n    return a + b", "tests": "assert add(2, 3) == 5"},
                    {"prompt": "Sum.", "answer": "print(sum(map(int, input().split())))", "tests": [{"input": "3 4", "output": "7"}]}]
        rows.write_text("".join(json.dumps(problem) + "\n" for problem in problems))
        tried = candor("verifier", "test", "--kind", "python_tests", "--rows", rows)
        if "does not work here" not in tried.stderr:  # user namespaces are forbidden: refused by name
            self.assertEqual(tried.returncode, 0, tried.stdout + tried.stderr)
            self.assertIn("accepted answers called correct: 2 of 2    other answers called correct: 0 of 6    unknown: 0", tried.stdout)
        self.refused(3, ["verifier", "test", "--url", "http://127.1:1/", "--rows", rows], "not public", "allow_hosts")

    def test_a_mistyped_folder_is_not_made(self):
        missing = self.folder / "missing"
        for role in ROLES:
            self.refused(3, [role, "--run-dir", missing], "not a run")
        self.refused(3, ["ledger", missing], "not a run")
        self.refused(3, ["report", missing], "not a run")
        self.refused(3, ["generate", missing, "hi"], "no such folder")
        self.refused(3, ["generate", self.folder, "hi"], "neither a model folder")
        self.assertFalse(missing.exists())

    def test_places_that_cannot_be_written_are_noticed_before_the_work(self):
        blocked = self.folder / "a-file"
        blocked.write_text("")
        early = self.refused(1, ["sft", MODEL, SOURCE / "recipes/tiny/format.jsonl", blocked / "out", "sft.steps=2"], str(blocked))
        self.assertNotIn("sft 1/2", early.stderr)
        self.refused(1, ["export", MODEL, blocked / "out"], str(blocked))
        self.refused(1, ["eval", self.a_run(), ROWS, "--limit", "2", "--out", blocked / "rows.jsonl"], str(blocked))

    def test_a_run_stands_for_its_policy(self):
        run = self.a_run()
        # The recipe's 24 tokens, not the default 256, which this model has no room for.
        answer = json.loads(self.ok("generate", run, "echo 3", "--json").stdout)
        self.assertEqual(answer["prompt"], "echo 3")
        self.assertLessEqual(answer["tokens"], 40)
        self.ok("generate", MODEL, "echo 3")
        self.refused(3, ["generate", MODEL, "echo 3", "--max-new-tokens", "4096"], "positions")
        out = self.folder / "new/exported"
        self.ok("export", run, out)
        spec = json.loads((out / "confidence.json").read_text())
        self.assertEqual(spec["high_token"], " high")
        self.refused(3, ["export", run, out, "--recalibration", "nan", "1"], "--recalibration")
        # The exported folder is asked as the policy was trained, without a system prompt: with the default one, no answer of 60 tokens would fit.
        answers = self.folder / "deep/answers.jsonl"
        report = json.loads(self.ok("eval", out, ROWS, "rollout.max_new_tokens=60", "--limit", "6", "--samples", "1", "--json", "--quiet", "--out", answers).stdout)
        self.assertEqual((report["greedy"]["test"]["rows"], report["sampled"]["test"]["rows"]), (6, 6))
        self.assertEqual(len(answers.read_text().splitlines()), 12)
        measured = json.loads(self.ok("calibration", answers, "--json").stdout)
        self.assertEqual(measured["rows"], 12)
        self.assertEqual(json.loads(self.ok("calibration", "-", "--json", input=answers.read_text()).stdout), measured)
        self.assertNotIn("guarantee", measured)

    def test_from_which_confidence_on_answers_may_be_given(self):
        rows = self.folder / "rows.jsonl"
        # 1,000 sure answers of which 2 % are wrong, 1,000 doubtful ones of which half are.
        rows.write_text("".join(json.dumps({"confidence": 0.9 if i < 1000 else 0.4, "correct": i % 50 > 0 if i < 1000 else i % 2 > 0}) + "\n" for i in range(2000)))
        said = json.loads(self.ok("calibration", rows, "--risk", "0.05", "--json").stdout)["guarantee"]
        self.assertEqual((said["threshold"], said["coverage"], said["empirical_risk"]), (0.9, 0.5, 0.02))
        self.assertTrue(0.02 < said["risk_bound"] <= 0.05, said)
        self.assertIn("(--abstain-below 0.9)", self.ok("calibration", rows, "--risk", "0.05").stdout)
        self.assertIsNone(json.loads(self.ok("calibration", rows, "--risk", "0.01", "--json").stdout)["guarantee"])
        self.assertIn("allow more", self.ok("calibration", rows, "--risk", "0.01").stdout)
        self.refused(2, ["calibration", rows, "--risk", "2"], "--risk")

    def test_stored_baseline_answers(self):
        out = self.folder / "new/baseline.jsonl"
        words = ["baseline", MODEL, "--recipe", "recipes/tiny.toml", "--data", ROWS, "--samples", "3", "--limit", "20", "--quiet", "rollout.max_new_tokens=4", "deterministic=true"]
        said = self.ok(*words, "--out", out).stdout
        self.assertIn("20 rows, 60 answers", said)
        lines = out.read_text().splitlines(keepends=True)
        rows, sources = [json.loads(line) for line in lines], [json.loads(line) for line in pathlib.Path(ROWS).read_text().splitlines()][:20]
        for row, source in zip(rows, sources, strict=True):
            self.assertEqual({**row, **source}, row)
            self.assertEqual(len(row["baseline_scores"]), 3)
            self.assertTrue(set(row["baseline_scores"]) <= {0.0, 1.0})
        # Torn half-way, the file is gone on with and ends up the same.
        half = self.folder / "half.jsonl"
        (self.folder / "half.jsonl.part").write_text("".join(lines[:7]) + lines[7][:25])
        self.assertIn("going on behind 7 rows", self.ok(*[word for word in words if word != "--quiet"], "--out", half).stderr)
        self.assertEqual(half.read_text(), out.read_text())
        self.refused(3, [*words, "--out", out], "there already")
        (self.folder / "other.jsonl.part").write_text(lines[0])
        self.refused(3, [*words[:-2], "--out", self.folder / "other.jsonl"], "other settings", "other.jsonl.part:1")
        self.refused(3, ["baseline", MODEL, "--out", self.folder / "x.jsonl"], "no rows to answer", "--data")

    def test_a_reward_model_is_trained_and_served(self):
        rows = self.folder / "scored.jsonl"
        rows.write_text("".join((SOURCE / "recipes/tiny/scored.jsonl").read_text().splitlines(keepends=True)[:200]))
        words = ["train-rm", MODEL, rows, "--recipe", "recipes/tiny.toml", "--steps", "60", "--quiet"]
        frozen = self.ok(*words, self.folder / "rm").stdout
        self.assertIn("5 heads on 64 features", frozen)
        trained = self.ok(*words, self.folder / "trained", "--trunk-epochs", "6", "--trunk-lr", "3e-4").stdout
        errors = [float(re.search(r"\(([0-9.]+) on the training rows", text)[1]) for text in (frozen, trained)]
        self.assertLess(errors[1], errors[0], "the trunk learned nothing")
        self.assertIn("with the trunk as it was: error " + re.search(r": error ([0-9.]+)", frozen)[1], trained)
        weights = [(folder / "model.safetensors").read_bytes() for folder in (pathlib.Path(MODEL), self.folder / "rm", self.folder / "trained")]
        self.assertEqual(weights[0], weights[1], "heads alone change no weight")
        self.assertNotEqual(weights[0], weights[2])
        line = {"id": "1/0", "prompt": "echo 4", "completion": "<answer>4</answer>", "answer": "4", "row": {"prompt": "echo 4", "answer": ["4"]}}
        served = self.ok("reward-model", self.folder / "rm", input=json.dumps(line) + "\n" + json.dumps({"id": "1/1", "prompt": "echo 4"}) + "\n").stdout
        first, second = [json.loads(reply) for reply in served.splitlines()]
        self.assertEqual((first["id"], second["id"]), ("1/0", "1/1"))
        rewards = first["rewards"]
        self.assertLessEqual(rewards["rm_worst"], rewards["rm_nominal"])
        self.assertGreater(rewards["rm_spread"], 0)
        self.assertEqual(second["label"], "unknown")
        self.refused(3, [*words, self.folder / "rm"], "there already")
        self.refused(3, ["reward-model", MODEL], "no reward model", "candor train-rm")
        rows.write_text('{"prompt": "a", "completion": "b", "score": "high"}\n')
        self.refused(3, [*words, self.folder / "other"], "scored.jsonl:1", "score")
        self.assertFalse((self.folder / "other").exists())

    def test_numbers_out_of_range_are_usage_errors(self):
        for words in (["--samples", "-3"], ["--limit", "-3"], ["--limit", "0"], ["--temperature", "-1"]):
            self.refused(2, ["eval", MODEL, ROWS, *words], words[0])

    def test_a_failed_stage_keeps_its_exit_code(self):
        # The model has 256 positions: no answer of 250 tokens fits behind a prompt.
        answer = self.refused(3, ["run", "recipes/tiny.toml", "rollout.max_new_tokens=250", f"stage_cache={self.folder}/stages", "sft.steps=1", "--run-dir", self.folder / "run"],
                              "its own words stand above")
        self.assertIn("256 positions", answer.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
