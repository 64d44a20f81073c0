"""A whole run whose second (or first) learner rank is stopped at a phase between steps: it is missed, the job starts again alone and the run
finishes. stopped_learner_test.py CANDOR SOURCE_FOLDER (a few minutes: label slow)

The phases inside a step are watchdog_test.py's."""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

CANDOR, SOURCE = (str(pathlib.Path(argument).resolve()) for argument in sys.argv[1:3])
PHASES = ("learner.plan/trainer-1", "learner.fetch/trainer-1", "learner.vote/trainer-0", "learner.publish/trainer-1", "learner.report/trainer-0",
          "checkpoint.shard/trainer-1", "checkpoint.manifest/trainer-0", "learner.reduce/trainer-1")
BOUND_S = 30.0
NOTICED = r"gave no sign of life for \d+ ms|has been stopped"  # by the other rank, or by candor run on this machine; whoever is first


def stopped_run(phase, folder):
    """(exit code, seconds from the stop to the first process that says so, output)"""
    name = phase.replace("/", "-")
    run, faults = folder / name, folder / f"{name}.faults"
    faults.mkdir()
    env = {**os.environ, "CANDOR_FAULT": f"{phase}=stop@2", "CANDOR_FAULT_DIR": str(faults)}
    with open(folder / f"{name}.out", "w+") as out:
        process = subprocess.Popen([CANDOR, "run", "recipes/tiny.toml", "--run-dir", str(run), f"stage_cache={folder}/stages", "trainer.ranks=2",
                                    "trainer.sharding=zero3", "trainer.steps=6", "trainer.checkpoint_every=2"], cwd=SOURCE, env=env, stdout=out, stderr=out)
        noticed = None
        while process.poll() is None:
            logs = "".join(log.read_text() for log in [*run.glob("logs/*.log"), folder / f"{name}.out"])
            if noticed is None and re.search(NOTICED, logs):
                noticed = time.time()
            time.sleep(0.2)
        out.seek(0)
        output = out.read()
    claimed = list(faults.iterdir())
    struck = int(claimed[0].read_text().split()[1]) / 1000 if claimed else None
    return process.returncode, noticed - struck if noticed and struck else None, output


class StoppedLearner(unittest.TestCase):
    def test_the_run_goes_on_after_a_stop_at_any_phase(self):
        with tempfile.TemporaryDirectory(prefix="candor-stopped-") as name, concurrent.futures.ThreadPoolExecutor(3) as pool:
            folder = pathlib.Path(name)
            subprocess.run([CANDOR, "run", "recipes/tiny.toml", "--run-dir", str(folder / "first"), f"stage_cache={folder}/stages", "trainer.steps=1"],
                           cwd=SOURCE, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # the stages before, once for all
            runs = {phase: pool.submit(stopped_run, phase, folder) for phase in PHASES}
            slowest = 0.0
            for phase, run in runs.items():
                code, seconds, output = run.result()
                with self.subTest(phase):
                    self.assertEqual(code, 0, output[-3000:])
                    self.assertIsNotNone(seconds, f"nobody noticed: {output[-3000:]}")
                    self.assertLess(seconds, BOUND_S)
                    slowest = max(slowest, seconds)
            print(f"candor-figure R5 run_hang_detected_s={slowest:.1f} s [bound={BOUND_S:.0f}]")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
