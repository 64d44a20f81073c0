"""A run whose answers are judged by another model: `candor serve` of the tiny model is the endpoint, asked pointwise, in pairs and step by step; then nobody is there.

usage: judge_run_test.py CANDOR SOURCE_FOLDER
"""
import json
import pathlib
import subprocess
import sys
import unittest

from processes import CANDOR, SOURCE, RunCase, start

sys.path.insert(0, str(SOURCE / "tests/cli"))
from serving import Server  # noqa: E402

# The tiny model can only echo a digit between tags: what it says is read as a score, as a choice of two, and as yes or no. Of two answers at once it makes different things on
# different processors, so that any first letter is a choice there.
PROMPTS = {
    "score": 'kind = "pointwise"\nuser = "echo {answer}"\n[parse]\nread = "number"\npattern = "<answer>([0-9])</answer>"\nleast = 0\nmost = 9\n',
    "better": 'kind = "pairwise"\nuser = "echo {first} {second}"\n[parse]\nread = "word"\npattern = "([0-9a-z])"\npositive = [%s]\nnegative = [%s]\n' % tuple(", ".join(f'"{c}"' for c in half) for half in ("01234abdefghijk", "56789clmnopqrstuvwxyz")),
    "steps": 'kind = "steps"\nask = "each"\nuser = "echo 4 {step}"\n[parse]\nread = "word"\npattern = "([0-9])"\npositive = ["0", "2", "4", "6", "8"]\nnegative = ["1", "3", "5", "7", "9"]\n',
}


class JudgeRun(RunCase):
    def setUp(self):
        super().setUp()
        self.place = pathlib.Path(self.folder.name)
        tuned = self.place / "tuned"
        made = subprocess.run([CANDOR, "sft", "recipes/tiny/model", "recipes/tiny/format.jsonl", tuned, "--recipe", "recipes/tiny.toml", "--quiet"], cwd=SOURCE, capture_output=True, text=True)
        self.assertEqual(made.returncode, 0, made.stderr)
        (self.place / "key").write_text("s3cret-of-the-judge\n")
        self.server = Server(CANDOR, SOURCE, tuned, "--name", "judge", "--api-key-file", self.place / "key")

    def tearDown(self):
        self.server.stop()
        super().tearDown()

    def recipe(self, *judges, objective="accuracy"):
        text = f'base = "{SOURCE}/recipes/tiny.toml"\nname = "judged"\n'
        for name in judges:
            (self.place / f"{name}.toml").write_text(PROMPTS[name])
            votes = "" if name == "better" else "votes = 3\ntemperature = 1.0\n"
            text += f'[[judge]]\nname = "{name}"\nprompt = "{self.place}/{name}.toml"\nurl = "{self.server.base}"\nmodel = "judge"\napi_key_file = "{self.place}/key"\nallow_hosts = ["127.0.0.1"]\nmax_tokens = 24\n{votes}'
        text += f'[[objective]]\nchannel = "{objective}"\nsegment = "answer"\n[[objective]]\nchannel = "accuracy"\nsegment = "slot"\nloss = "squared_error"\n'
        (self.place / "recipe.toml").write_text(text)
        return str(self.place / "recipe.toml")

    def learn(self, recipe, *overrides):
        process = start(recipe, self.run, f"stage_cache={self.place}/stages", "trainer.steps=4", "trainer.ranks=1", "eval=[]", *overrides)
        self.finish(process)
        balance = self.ledger()
        self.assertEqual(balance["in_flight"], 0, balance)
        return [json.loads(line) for line in (self.run / "metrics.jsonl").read_text().splitlines()]

    def test_three_ways_of_judging_fill_their_channels(self):
        lines = self.learn(self.recipe("score", "better", "steps", objective="accuracy + 0.1*score + 0.1*better + 0.1*steps"))
        self.assertEqual(len(lines), 4)
        for line in lines:
            for channel in ("score", "score/spread", "score/confidence", "better", "steps", "steps/min", "steps/product"):
                self.assertIn(f"reward/{channel}/mean", sorted(key for key in line if key.startswith(("reward/", "missing/"))))
                self.assertTrue(0 <= line[f"reward/{channel}/mean"] <= 1, (channel, line))
            self.assertGreater(line["reward/better/games/mean"], 5)  # of 7 opponents
            self.assertAlmostEqual(line["reward/better/mean"], 0.5, delta=0.1)  # what one wins the other loses
        self.assertTrue(any(line["advantage/std"] > 0 for line in lines), "nothing was learned from the judges")
        seen = [path for path in self.run.rglob("*") if path.is_file() and b"s3cret-of-the-judge" in path.read_bytes()]
        self.assertEqual(seen, [], "the endpoint's key was written down")

    def test_a_judge_that_is_not_there_is_not_a_no(self):
        recipe = self.recipe("score", objective="accuracy + score")
        lines = self.learn(recipe, "judge.0.url=http://127.0.0.1:1/v1", "judge.0.retries=0")
        for line in lines:
            self.assertNotIn("reward/score/mean", line)
            self.assertIn("reward/accuracy/mean", line)
        self.assertIn("judge 'score' failed", "".join(path.read_text() for path in (self.run / "logs").glob("reward*.log")))

    def test_a_judge_is_tried_on_gold_rows(self):
        gold = self.place / "gold.jsonl"
        gold.write_text("".join(json.dumps({"prompt": f"echo {digit}", "completion": f"<answer>{digit}</answer>", "answer": str(digit), "label": digit % 2}) + "\n" for digit in range(10)))
        noise = self.place / "noise.toml"
        tried = subprocess.run([CANDOR, "judge", "test", self.recipe("score"), "judge.0.correct_from=0.4", "--rows", gold, "--json"], cwd=SOURCE, capture_output=True, text=True)
        self.assertEqual(tried.returncode, 0, tried.stdout + tried.stderr)
        report = json.loads(tried.stdout)
        self.assertEqual(report["rows"], 10)
        self.assertGreater(report["accuracy"]["n"], 5)
        self.assertIn("ece", json.dumps(report["calibration"]))
        self.server.stop()
        silent = subprocess.run([CANDOR, "judge", "test", self.recipe("score"), "judge.0.retries=0", "--rows", gold, "--write", noise], cwd=SOURCE, capture_output=True, text=True)
        self.assertEqual(silent.returncode, 4, silent.stdout + silent.stderr)
        self.assertIn("judged nothing", silent.stderr)
        self.assertIn("10 unknown", silent.stdout)
        self.assertFalse(noise.exists())


if __name__ == "__main__":
    unittest.main(verbosity=2)
