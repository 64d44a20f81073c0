"""Effective training time at RobustRL's 10 % failure injection (arXiv 2512.22492): with probability 0.1 each step, one process of a random role is killed. ETTR = the time that the same
steps take undisturbed / the time that they took. Steps are made as long as real ones by a pause in the learner (CANDOR_FAULT delay); a checkpoint follows each step.

usage: ettr_test.py CANDOR SOURCE_FOLDER
"""
import os
import pathlib
import random
import signal
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from processes import pids_of, steps_done  # noqa: E402
from faulted_run import ROLES, FaultedRun, Run, Undisturbed  # noqa: E402

STEPS, STEP_S, INJECTION = 40, 5.0, 0.1


class EffectiveTrainingTime(FaultedRun):
    def test_ten_percent_injection(self):
        source = random.Random(3)
        roles = [role for role in ROLES for _ in range(int(STEPS * INJECTION / len(ROLES)))]
        source.shuffle(roles)
        due = dict(zip(sorted(source.sample(range(2, STEPS - 1), len(roles))), roles))
        run = Run(self.folder.name, STEPS, {"CANDOR_FAULT": f"learner.step=delay:{int(STEP_S * 1000)}"}, rollout__workers=2, reward__workers=2, trainer__checkpoint_every=1)

        def strike():
            step = steps_done(run.path)
            if step in due and (pids := pids_of(due[step], run.path)):
                os.kill(source.choice(pids), signal.SIGKILL)
                run.kills.append((step, due.pop(step)))

        run.watch(strike)
        self.assertEqual(run.process.returncode, 0, run.output + run.logs())
        self.assertEqual(len(run.kills), len(roles))
        lines = {line["step"]: line["wall_s"] for line in run.metric_lines()}
        gaps = sorted(lines[step] - lines[step - 1] for step in range(2, STEPS + 1))
        undisturbed = gaps[len(gaps) // 2]  # most steps are
        ettr = undisturbed * (STEPS - 1) / (lines[STEPS] - lines[1])
        print(f"candor-figure R7 ettr={ettr:.3f} share bound=0.90 ({len(roles)} kills in {STEPS} steps of {undisturbed:.1f} s: {run.kills})", flush=True)
        self.assertGreaterEqual(ettr, 0.9)
        self.assertBooksAreClean(run)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="candor-ettr-") as shared:
        Undisturbed.folder = pathlib.Path(shared)
        unittest.main(verbosity=2)
