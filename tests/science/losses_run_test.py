"""Loss recipes through the real processes, a few steps each: their figures appear in metrics.jsonl, and what they need is refused when it is missing.

usage: losses_run_test.py CANDOR SOURCE_FOLDER
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

CANDOR = str(pathlib.Path(sys.argv.pop(1)).resolve())
SOURCE = pathlib.Path(sys.argv.pop(1)).resolve()
RECIPES = "recipes/objectives/"


class Losses(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="candor-losses-")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def candor(self, *words):
        return subprocess.run([CANDOR, *words], cwd=SOURCE, capture_output=True, text=True, timeout=120)

    def steps(self, recipe, *overrides):
        run = f"{self.folder.name}/{recipe}"
        answer = self.candor("run", RECIPES + recipe + ".toml", "--run-dir", run, f"stage_cache={self.folder.name}/stages", "trainer.steps=6", "eval=[]", *overrides)
        self.assertEqual(answer.returncode, 0, answer.stdout[-3000:] + answer.stderr[-3000:])
        lines = [json.loads(line) for line in pathlib.Path(run, "metrics.jsonl").read_text().splitlines()]
        steps = [line for line in lines if "loss/all" in line]
        self.assertEqual(len(steps), 6)
        return steps

    def test_preferences_and_a_reference(self):
        steps = self.steps("preference", "trainer.lr=1e-2")
        self.assertAlmostEqual(steps[0]["loss/preference"], 0.693147, places=3)  # the policy is its own reference yet
        self.assertEqual(steps[0]["preference/margin/mean"], 0.0)
        self.assertTrue(any(abs(step.get("preference/margin/mean", 0)) > 1e-3 for step in steps[1:]), "nothing moved")

    def test_old_answers_are_weighted_and_the_reference_holds(self):
        steps = self.steps("decoupled-ppo", "trainer.kl_weight=0.1", "trainer.lr=1e-2")
        self.assertEqual(steps[0]["kl/reference/mean"], 0.0)
        self.assertGreater(max(step.get("kl/reference/mean", 0) for step in steps[1:]), 0.0)  # a step whose groups were all filtered has none
        self.assertTrue(any(step["staleness/versions/max"] >= 2 for step in steps), "no answer was old enough")
        self.assertTrue(any(abs(step["tis/mean"] - 1) > 1e-6 for step in steps), "no weight was ever used")

    def test_what_makes_no_sense_is_refused(self):
        for recipe, override, words in (("ppo-clip", "trainer.loss=decoupled_ppo", "nothing is decoupled"), ("decoupled-ppo", "trainer.old_policy=rollout", "nothing reads"), ("pass-at-k", "objective.0.pass_k=9", "group of 8"),
                                        ("gspo", "trainer.sapo_positive=2", "nothing reads"), 
                                        ("gdpo", "allow=[]", "group_std_of_scoring_rule"), ("preference", "objective.0.segment=slot", "slot")):
            answer = self.candor("check", RECIPES + recipe + ".toml", override)
            self.assertNotEqual(answer.returncode, 0, recipe)
            self.assertIn(words, answer.stdout + answer.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
