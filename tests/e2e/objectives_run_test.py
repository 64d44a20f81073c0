"""Recipes of recipes/objectives through the real processes, a few steps each: what each one learns from is filled, recorded and trained on.

usage: objectives_run_test.py CANDOR SOURCE_FOLDER
"""
import json
import unittest

from processes import RunCase, start


class ObjectivesRun(RunCase):
    def learn(self, name, *arguments):
        process = start(f"recipes/objectives/{name}.toml", self.run, f"stage_cache={self.folder.name}/stages", "trainer.steps=6", "trainer.ranks=1", "eval=[]", *arguments)
        self.finish(process)
        return [json.loads(line) for line in (self.run / "metrics.jsonl").read_text().splitlines()]

    def test_a_scoring_rule_on_stated_confidences(self):
        lines = self.learn("decoupled-spherical")
        self.assertTrue(any("reward/spherical/mean" in line for line in lines), sorted(lines[-1]))
        self.assertFalse(any("reward/log/mean" in line for line in lines), "a channel that nobody reads was filled")
        balance = self.ledger()
        self.assertEqual((balance["in_flight"], balance["dropped"]), (0, 0), balance)

    def test_the_reference_answer_behind_each_reasoning(self):
        lines = self.learn("rlpr")
        means = [line["reward/rlpr/mean"] for line in lines if "reward/rlpr/mean" in line]
        self.assertTrue(means and all(0 <= mean <= 1 for mean in means), sorted(lines[-1]))
        self.assertGreater(max(means), 0, "reasoning never made the reference answer more likely: it is not looked at")
        balance = self.ledger()
        self.assertEqual((balance["in_flight"], balance["dropped"], balance["trained"]), (0, 0, 6 * 8), balance)

    def test_a_stored_baseline_teaches_one_answer_per_prompt(self):
        lines = self.learn("contrastive")
        self.assertTrue(any(0 < line.get("reward/baseline/mean", 0) < 1 for line in lines), sorted(lines[-1]))
        self.assertTrue(any(line.get("advantage/max_abs", 0) > 0 for line in lines), "a group of one was taken for its own baseline")
        balance = self.ledger()
        self.assertEqual((balance["in_flight"], balance["dropped"], balance["trained"]), (0, 0, 6 * 64), balance)

    def test_a_filtered_group_still_trains_its_slot(self):
        lines = self.learn("filter-mid-band")
        kept = sum(line.get("filter/kept", 0) for line in lines)
        self.assertLess(kept, len(lines), "the band filtered nothing")
        balance = self.ledger()
        self.assertEqual((balance["in_flight"], balance["dropped"]), (0, 0), "filtered groups are trained (slot only), not dropped")
        self.assertEqual(balance["trained"], 6 * 8, balance)


if __name__ == "__main__":
    unittest.main()
