"""Recipes of recipes/objectives through the real processes, a few steps each: what each one learns from is filled, recorded and trained on.

usage: objectives_run_test.py CANDOR SOURCE_FOLDER
"""
import json
import unittest

from processes import SOURCE, RunCase, start


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

    def test_a_target_that_is_partly_the_groups_mean(self):
        lines = self.learn("dcpo")
        self.assertTrue(all(-4 <= line["reward/hybrid_brier/mean"] <= 0 for line in lines), sorted(lines[-1]))
        balance = self.ledger()
        self.assertEqual((balance["in_flight"], balance["dropped"], balance["trained"]), (0, 0, 6 * 8), balance)

    def test_the_reference_answer_behind_each_reasoning(self):
        lines = self.learn("rlpr")
        means = [line["reward/rlpr/mean"] for line in lines if "reward/rlpr/mean" in line]
        self.assertTrue(means and all(0 <= mean <= 1 for mean in means), sorted(lines[-1]))
        self.assertGreater(max(means), 0, "reasoning never made the reference answer more likely: it is not looked at")
        balance = self.ledger()
        self.assertEqual((balance["in_flight"], balance["dropped"], balance["trained"]), (0, 0, 6 * 8), balance)

    def test_the_terms_of_dro_are_filled(self):
        lines = self.learn("dro-propagated", "objective.0.channel=dro_propagated + 0.1*reference_length + 0*dro")
        filled = [line for line in lines if "reward/dro_propagated/mean" in line]
        self.assertTrue(filled, sorted(lines[-1]))
        self.assertTrue(all(0 <= line["reward/reference_length/mean"] <= 1 for line in filled))
        self.assertTrue(all(line["reward/dro_propagated/mean"] <= line["reward/dro/mean"] + 1e-9 for line in filled), "doubt only takes away")

    def test_the_filter_of_dro_keeps_too_hard_prompts_out_of_the_policy_gradient(self):
        lines = self.learn("dro", "reward.filter_max_rank=3")
        self.assertTrue(all(line["reward/reference_rank/mean"] >= 1 for line in lines), sorted(lines[-1]))
        self.assertGreater(sum(line.get("groups/drop/too_hard", 0) for line in lines), 0, "the filter dropped nothing")
        balance = self.ledger()
        self.assertEqual((balance["in_flight"], balance["dropped"], balance["trained"]), (0, 0, 6 * 8), balance)

    def test_the_moving_filter_goes_on_after_its_coordinator_was_killed(self):
        arguments = [f"stage_cache={self.folder.name}/stages", "trainer.steps=10", "trainer.ranks=1", "eval=[]"]
        process = start("recipes/objectives/rlpr-filter.toml", self.run, *arguments)
        self.wait_for_step(process, 6)
        self.kill("coordinator")
        self.finish(process)
        lines = [json.loads(line) for line in (self.run / "metrics.jsonl").read_text().splitlines()]
        means = {line["step"]: line["reward/value_std/mean"] for line in lines}
        expected = (means[2] + means[3]) / 2
        for line in lines:
            if line["step"] < 4:
                self.assertNotIn("filter/threshold", line)
                continue
            self.assertAlmostEqual(line["filter/threshold"], 0.5 * expected, 9, line["step"])
            expected = 0.99 * expected + 0.01 * means[line["step"]]
        self.assertGreater(sum(line.get("groups/drop/low_variance", 0) for line in lines), 0, "the filter dropped nothing")

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

    def rows(self, count):
        path = self.run.parent / "rows.jsonl"
        path.write_text("".join((SOURCE / "recipes/tiny/train.jsonl").read_text().splitlines(True)[:count]))
        return f'data.train=[{{path="{path}"}}]'

    def test_a_step_is_filled_up_after_filtering(self):
        lines = self.learn("dynamic-sampling")
        self.assertTrue(all(line["groups/kept"] >= 8 for line in lines), [line["groups/kept"] for line in lines])
        added = sum(line["curriculum/added"] for line in lines)
        self.assertGreater(added, 0, "the filter dropped nothing, so that nothing was shown")
        balance = self.ledger()
        self.assertEqual((balance["trained"], balance["in_flight"], balance["violations"]), (6 * 8 + added, 0, []), balance)

    def test_a_curriculum_goes_on_after_its_coordinator_was_killed(self):
        arguments = [f"stage_cache={self.folder.name}/stages", "trainer.steps=12", "trainer.ranks=1", "eval=[]", self.rows(16),
                     "curriculum.skip=greso", "curriculum.retire_at=0.05", "curriculum.retired_share=0.5"]
        process = start("recipes/objectives/retire.toml", self.run, *arguments)
        self.wait_for_step(process, 6)
        self.kill("coordinator")
        self.finish(process)
        lines = [json.loads(line) for line in (self.run / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual([line["step"] for line in lines], list(range(1, 13)))
        last = lines[-1]
        self.assertGreater(last["curriculum/retired"], 0, last)
        self.assertGreater(last["curriculum/skipped"] + last["curriculum/resting"], 0, last)
        self.assertEqual(last["curriculum/visits"], 12 * 8 + last["curriculum/skipped"] + last["curriculum/resting"])
        self.assertEqual(sorted(line["curriculum/visits"] for line in lines), [line["curriculum/visits"] for line in lines])
        self.assertGreater(sum(line.get("groups/drop/retired", 0) + line.get("groups/drop/no_variance", 0) for line in lines), 0)
        balance = self.ledger()
        self.assertEqual((balance["trained"], balance["in_flight"], balance["violations"]), (12 * 8, 0, []), balance)

    def test_the_weight_of_every_step_is_written_down(self):
        lines = self.learn("calibration-ramp", "objective.1.weight_steps=4")
        self.assertEqual([line["objective/2/weight"] for line in lines], [0, 0.25, 0.5, 0.75, 1, 1])
        self.assertEqual({line["objective/1/weight"] for line in lines}, {1})


if __name__ == "__main__":
    unittest.main()
