"""`candor sweep` of a protocol on the tiny model through real processes: written down and hashed, tuned on dev alone, run from other seeds, compared with baselines; nothing is run twice, and nothing may be
changed once it has begun.

usage: protocol_test.py CANDOR SOURCE_FOLDER
"""
import json
import pathlib
import re
import subprocess
import tempfile
import unittest

from processes import CANDOR, SOURCE

ARMS = ["rlvr", "rlcr", "readout"]


class Protocol(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="candor-protocol-")
        cls.folder = pathlib.Path(cls.temporary.name) / "protocol"
        cls.settings = ["trainer.steps=4", "sft.epochs=4", "coordinator.linger_s=0", f"stage_cache={cls.temporary.name}/stages"]
        listed = cls.call("--dry-run")
        assert listed.returncode == 0, listed.stderr
        assert not cls.folder.exists(), "a dry run leaves nothing"
        cls.promised = re.search(r"^protocol ([0-9a-f]{32})$", listed.stdout, re.M)[1]
        cls.done = cls.call()
        assert cls.done.returncode == 0, cls.done.stdout + cls.done.stderr
        cls.result = json.loads((cls.folder / "protocol.json").read_text())

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    @classmethod
    def call(cls, *more):
        return subprocess.run([CANDOR, "sweep", "recipes/protocol/tiny.toml", *cls.settings, "--dir", str(cls.folder), *more], cwd=SOURCE, capture_output=True, text=True, timeout=280)

    def answers(self, run, when="after"):
        return [json.loads(line) for line in (self.folder / run / "eval" / f"{when}.jsonl").read_text().splitlines()]

    def test_what_was_promised_is_what_was_run(self):
        self.assertEqual(self.result["protocol"], self.promised)
        self.assertLess(self.done.stderr.index(f"protocol {self.promised}"), self.done.stderr.index("tune-1-rlvr"), "the hash comes before the first run")
        text = (self.folder / "protocol.md").read_text()
        for part in ("seeds 11, 12", "least Brier score", "recipes/tiny/test.jsonl", "Holm", "200 labelled answers"):
            self.assertIn(part, text)

    def test_tuning_sees_dev_alone(self):
        for arm in self.result["arms"]:
            briers = []
            for k, tried in enumerate(arm["tried"], 1):
                rows = self.answers(f"tune-{k}-{arm['name']}")
                self.assertEqual({row["dataset"] for row in rows}, {"dev"})
                known = [row for row in rows if row["greedy"] and row["label"] != "unknown"]
                briers.append(sum(((0.5 if row["confidence"] is None else row["confidence"]) - (row["label"] == "correct")) ** 2 for row in known) / len(known))
                self.assertAlmostEqual(tried["dev_brier"], briers[-1])
            self.assertEqual(arm["chosen"], briers.index(min(briers)))

    def test_seeds_run_round_by_round_and_the_time_left_is_told(self):
        told = re.findall(r"^\[(\d+)/12\] (\S+): finished in [^,\n]+(, about .+ left)?$", self.done.stderr, re.M)
        self.assertEqual([int(number) for number, _, _ in told], list(range(1, 13)), self.done.stderr)
        self.assertEqual([name for _, name, _ in told[-6:]], [f"seed-{seed}-{arm}" for seed in (11, 12) for arm in ARMS])
        self.assertEqual([left != "" for _, _, left in told], [True] * 11 + [False])

    def test_the_chosen_runs_from_other_seeds_and_alike(self):
        starts = {}
        for arm in self.result["arms"]:
            self.assertEqual([run["seed"] for run in arm["runs"]], [11, 12])
            for run in arm["runs"]:
                folder = pathlib.Path(run["folder"])
                self.assertGreater(run["completion_tokens"], 0)
                self.assertIn("test", {row["dataset"] for row in self.answers(folder.name)})
                resolved = (folder / "resolved.toml").read_text()
                self.assertIn(f"seed = {run['seed']}", resolved)
                key, value = arm["tried"][arm["chosen"]]["settings"].split("=")
                self.assertRegex(resolved, rf"{key.split('.')[-1]} = {float(value):g}")
                starts.setdefault(run["seed"], set()).add(json.loads((folder / "stages.json").read_text())[0]["folder"])
        self.assertEqual([len(folders) for folders in starts.values()], [1, 1], "all arms of a seed start from one checkpoint")
        self.assertEqual(len(set.union(*starts.values())), 2)

    def test_arms_and_baselines_are_compared(self):
        comparison = self.result["comparison"]
        names = [arm["name"] for arm in comparison["arms"]]
        self.assertEqual(names[:3], ARMS)
        self.assertIn("frozen_readout", names)
        self.assertIn("answer_probability_platt", names)
        self.assertEqual(comparison["questions"], 200)
        baselines = {arm["name"]: arm["brier"]["value"] for arm in comparison["arms"][3:]}
        self.assertEqual(self.result["best_baseline"], min(baselines, key=baselines.get))
        pairs = {(d["name"], d["against"]) for d in comparison["differences"]}
        self.assertEqual(pairs, {("rlcr", "rlvr"), ("readout", "rlvr")} | {(arm, self.result["best_baseline"]) for arm in ARMS})
        for d in comparison["differences"]:
            self.assertGreaterEqual(d["p_holm"], d["p"])
        # The same numbers by hand, from the runs' own answers.
        for arm in comparison["arms"][:3]:
            rights = [[row["label"] == "correct" for row in self.answers(f"seed-{seed}-{arm['name']}") if row["dataset"] == "test" and row["greedy"]] for seed in (11, 12)]
            self.assertAlmostEqual(arm["accuracy"]["value"], sum(sum(one) / len(one) for one in rights) / 2)
        self.assertEqual(len(self.result["verdict"]), 5)
        arms = [f"{name}={self.folder}/seed-11-{name},{self.folder}/seed-12-{name}" for name in ARMS]
        again = subprocess.run([CANDOR, "compare", *[word for arm in arms for word in ("--arm", arm)], "--json"], cwd=SOURCE, capture_output=True, text=True)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual([arm["brier"] for arm in json.loads(again.stdout)["arms"]], [arm["brier"] for arm in comparison["arms"][:3]])

    def test_it_is_shown_again_and_not_changed(self):
        stamp = (self.folder / "seed-11-rlvr/done.json").stat().st_mtime_ns
        stages, away = (pathlib.Path(self.temporary.name) / name for name in ("stages", "away"))
        stages.rename(away)  # what the policies that RL starts from were asked is kept: they are not needed again
        try:
            shown = self.call("--json", "--quiet")
        finally:
            away.rename(stages)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertEqual(json.loads(shown.stdout), self.result)
        self.assertEqual((self.folder / "seed-11-rlvr/done.json").stat().st_mtime_ns, stamp, "a finished run was run again")
        # A recipe keeps the text and the hash it began with, from a program that had fewer keys, where it means the same now.
        recipe = self.folder / "recipes/tune-1-rlvr.toml"
        text = recipe.read_text()
        self.assertEqual(text.count("\nfill_batches = 1"), 1)
        hash_now = lambda: self.call("--dry-run").stdout.split("\nprotocol ")[1].split()[0]
        try:
            for then, kept in ((text, True), (text.replace("\nfill_batches = 1", ""), False), (text.replace("\nfill_batches = 1", "\nfill_batches = 3"), True)):
                recipe.write_text(then)
                self.assertEqual(hash_now() == self.result["protocol"], kept)
        finally:
            recipe.write_text(text)
        changed = self.call("trainer.lr=5e-4")
        self.assertEqual(changed.returncode, 3, changed.stdout)
        self.assertIn("another", changed.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
