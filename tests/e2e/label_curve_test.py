"""`candor label-curve` on the tiny model: RL's evaluations by the labels behind them, and fits without RL on as many.

usage: label_curve_test.py CANDOR SOURCE_FOLDER
"""
import json
import subprocess
import unittest

from processes import CANDOR, SOURCE, RunCase, start


class LabelCurve(RunCase):
    def call(self, *words):
        return subprocess.run([CANDOR, "label-curve", str(self.run), *words], cwd=SOURCE, capture_output=True, text=True, timeout=280)

    def test_rl_platt_and_the_frozen_readout_at_equal_labels(self):
        self.finish(start("recipes/tiny.toml", self.run, f"stage_cache={self.folder.name}/stages", "trainer.steps=12", "trainer.ranks=1", "eval.0.every=4", "eval.1.every=0"))
        done = self.call("--points", "2", "--json", "--quiet")
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        rl, platt, readout = (curve["points"] for curve in result["curves"])
        self.assertEqual([point["step"] for point in rl], [0, 4, 8, 12])
        self.assertEqual([point["labels"] for point in rl], [0, 4 * 8 * 9, 8 * 8 * 9, 12 * 8 * 9], "8 prompts of 8 sampled answers and a greedy one")
        self.assertEqual([point["labels"] for point in platt], [4 * 8 * 9, 12 * 8 * 9])
        self.assertEqual([point["labels"] for point in readout], [4 * 8 * 9, 12 * 8 * 9])
        before = [json.loads(line) for line in (self.run / "eval/before.jsonl").read_text().splitlines()]
        held_out = [row for row in before if row["dataset"] == "test" and row["greedy"] and row["label"] != "unknown"]
        for point in platt:
            self.assertEqual(point["n"], len(held_out))
            self.assertAlmostEqual(point["accuracy"], sum(row["label"] == "correct" for row in held_out) / len(held_out))
        labelled = [json.loads(line) for line in next((self.run / "label-curve").glob("labelled-*.jsonl")).read_text().splitlines()]
        self.assertGreaterEqual(len(labelled), 12 * 8 * 9)
        self.assertTrue(all(0 <= point["brier"] <= 1 for point in platt + readout))
        page = (self.run / "label-curve/label-curve.html").read_text()
        self.assertIn("frozen read-out", page)
        self.assertEqual(list((self.run / "label-curve").glob("readout-*/head")), [], "a head is a copy of the policy")
        again = self.call("--points", "2", "--json")
        self.assertEqual(json.loads(again.stdout), result, "nothing is computed twice")
        refused = self.call("--eval", "dev")
        self.assertEqual(refused.returncode, 3, refused.stderr)
        self.assertIn("every", refused.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
