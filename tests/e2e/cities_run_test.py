"""A short piece of the main job with the real model: every role is killed with -9 while it runs, and what the logs say of it afterwards: the ledger balances, sequences joined and left in
mid-decode, pages were used again, zero3 never held more than two gathered units, and generation went on while the learner learned.

usage: cities_run_test.py CANDOR SOURCE_FOLDER
"""
import re
import unittest
from datetime import datetime

from processes import RunCase, start

STEPS = 8


def moments(log, pattern):
    """Times of the lines that match, in seconds."""
    return [datetime.fromisoformat(line.split()[0]).timestamp() for line in log.read_text().splitlines() if re.search(pattern, line)]


class CitiesRun(RunCase):
    step_deadline_s = 180
    deadline_s = 900

    def test_survives_kills_of_every_role(self):
        settings = [f"trainer.steps={STEPS}", "trainer.prompts_per_step=16", "trainer.checkpoint_every=2", "trainer.sharding=zero3", "trainer.warmup_steps=0", "eval=[]"]
        process = start("recipes/cities.toml", self.run, *settings)
        self.step_deadline_s = 900  # the stages before RL
        self.wait_for_step(process, 1)
        self.step_deadline_s = CitiesRun.step_deadline_s
        for step, role in ((2, "rollout"), (3, "coordinator"), (4, "reward"), (5, "trainer")):
            self.wait_for_step(process, step)
            self.kill(role)
        self.finish(process)
        balance = self.ledger()
        self.assertEqual((balance["in_flight"], balance["finished"]), (0, True), balance)
        self.assertGreaterEqual(balance["trained"], 1)
        rollout, trainer = self.run / "logs" / "rollout-0.log", self.run / "logs" / "trainer-0.log"
        engine = re.findall(r"joins=(\d+) leaves=(\d+) running_max=(\d+).*pages_reused=(\d+)", rollout.read_text())[-1]
        joins, leaves, running, reused = map(int, engine)
        print(f"joins {joins}, leaves {leaves}, at most {running} at once, pages reused {reused}")
        self.assertGreater(joins, running, "sequences joined after others had left")
        self.assertGreater(reused, 0)
        units = [int(n) for n in re.findall(r"gathered_units_peak=(\d+)", trainer.read_text())]
        print(f"gathered units at most {max(units)}")
        self.assertLessEqual(max(units), 2)
        # A rollout takes new weights when it begins a wave; with staleness 1 it does so between two steps of the learner, not only right after one.
        steps, loads = moments(trainer, r"info trainer-0 step="), moments(rollout, r"weights version=")
        waits = [max((s for s in steps if s <= load), default=load) for load in loads]
        overlapping = sum(1 for load, step in zip(loads, waits) if load - step > 0.05)
        print(f"{overlapping} of {len(loads)} waves began while the learner was in a step")
        self.assertGreater(overlapping, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
