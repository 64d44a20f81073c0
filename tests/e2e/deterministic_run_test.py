"""Deterministic mode through the real processes: two runs that batch and thread differently end with the same bits, and without staleness the rollout's log-probabilities are the learner's
own, exactly, on every step.

usage: deterministic_run_test.py CANDOR SOURCE_FOLDER
"""
import hashlib
import json
import pathlib
import unittest

from processes import RunCase, start

STEPS = 12


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class DeterministicRun(RunCase):
    def whole_run(self, name, *arguments):
        run = pathlib.Path(self.folder.name) / name
        self.finish(start("recipes/tiny.toml", run, "deterministic=true", f"trainer.steps={STEPS}", f"stage_cache={self.folder.name}/stages-{name}", *arguments))
        metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual([row["step"] for row in metrics], list(range(1, STEPS + 1)))
        checkpoint = run / "checkpoints" / f"step_{STEPS:08d}"
        weights = {file.relative_to(run).as_posix(): sha256(file) for file in [run / "final/model.safetensors", *sorted(checkpoint.glob("rank_*.safetensors"))]}
        self.assertEqual(len(weights), 3, weights)
        return weights, metrics

    def test_bits_and_mismatch(self):
        weights, metrics = self.whole_run("first")
        again, metrics_again = self.whole_run("again", "rollout.threads=2", "rollout.max_batch=24", "sft.threads=2")
        self.assertEqual(weights, again)
        for key in ("loss/all", "optim/grad_norm", "accuracy/all/mean", "entropy/rollout/mean"):
            self.assertEqual([row[key] for row in metrics], [row[key] for row in metrics_again], key)
        self.assertEqual((metrics[0]["mismatch/abs/max"], metrics[0]["ratio/max"], metrics[0]["ratio/mean"]), (0, 1, 1), "the first step's policy wrote its traces")
        self.assertGreater(max(row["mismatch/abs/max"] for row in metrics[1:]), 0, "one version of staleness must be seen, or nothing was compared")

        fresh_weights, fresh = self.whole_run("fresh", "coordinator.staleness=0")
        for row in fresh:
            self.assertEqual((row["mismatch/abs/max"], row["mismatch/abs/mean"], row["ratio/max"], row["ratio/mean"]), (0, 0, 1, 1), f"step {row['step']}")
        self.assertNotEqual(fresh_weights, weights, "another algorithm must not end with the same bits")


if __name__ == "__main__":
    unittest.main(verbosity=2)
