"""Every recipe of recipes/objectives through the real processes, two steps each: it is prepared, rolled out, scored and learned from as it stands in the file, and its books balance.
Recipes that ask a judge need an endpoint and are run by judge_run_test.py against one of the test's own.

usage: every_recipe_test.py CANDOR SOURCE_FOLDER
"""
import json
import math
import sys
import tomllib
import unittest

from processes import SOURCE, RunCase, start

STEPS = 2


class EveryRecipe(RunCase):
    def run_recipe(self, path):
        process = start(path, self.run, f"stage_cache={self.folder.name}/stages", f"trainer.steps={STEPS}", "trainer.ranks=1", "eval=[]")
        self.finish(process)
        lines = [json.loads(line) for line in (self.run / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual([line["step"] for line in lines], list(range(1, STEPS + 1)))
        for line in lines:
            broken = [key for key, value in line.items() if isinstance(value, float) and not math.isfinite(value)]
            self.assertEqual(broken, [], line)
        self.assertTrue(any(line["optim/grad_norm"] > 0 for line in lines), "no step moved a weight")
        balance = self.ledger()
        self.assertEqual((balance["in_flight"], balance["violations"]), (0, []), balance)
        print(f"{path}: {balance['trained']} groups trained, {balance['dropped']} dropped", flush=True)


def add(path):
    relative = path.relative_to(SOURCE)
    setattr(EveryRecipe, "test_" + path.stem.replace("-", "_"), lambda self: self.run_recipe(str(relative)))


for file in sorted((SOURCE / "recipes/objectives").glob("*.toml")):
    if not tomllib.loads(file.read_text()).get("judge"):
        add(file)

if __name__ == "__main__":
    sys.exit(unittest.main())
