"""The learner's own watchdog, with real ranks under mpirun: watchdog_test.py CANDOR_TORCH SOURCE_FOLDER

Three ranks of the tiny model learn; one is stopped (SIGSTOP) or killed at a phase of a step. The others must end by themselves: with exit code
75 within max(30 s, 5 x median step) of a hang, within 5 s of a death. Nothing else watches: neither mpirun nor Slurm notices a stopped rank,
and Slurm may never notice a lost machine."""

import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

CANDOR_TORCH, SOURCE = sys.argv[1:3]
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", "3"]
PHASES = ("forward", "backward", "reduce", "step", "stepped")
HANG_BOUND_S, EXIT_BOUND_S = 30.0, 5.0  # R5; a step of the tiny model takes milliseconds


class Job:
    """A job in which rank 1 meets a fault. Each rank's exit code and its last line are kept, and when it ended."""

    def __init__(self, fault):
        self.folder = tempfile.TemporaryDirectory()
        env = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMIX_", "SLURM_", "CANDOR_"))}
        env.update(CANDOR_FAULT=fault, CANDOR_FAULT_DIR=self.folder.name, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
        rank = f'"$@"; code=$?; echo $code >{self.folder.name}/code.$OMPI_COMM_WORLD_RANK; exit $code'
        command = [CANDOR_TORCH, "bench", "shard", f"{SOURCE}/recipes/tiny/model", "--sharding", "zero3", "--device", "cpu", "--steps", "1000",
                   "--rank-out", self.folder.name]
        self.process = subprocess.Popen([*MPIRUN, "sh", "-c", rank, "sh", *command], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def finish(self, point):
        """(exit code of the job, seconds from the fault to its end, output)"""
        output, _ = self.process.communicate(timeout=60)
        ended = time.time()
        claimed = list(pathlib.Path(self.folder.name).glob(f"*{point}*"))
        assert claimed, f"no rank came to {point}: {output}"
        struck_ms = int(claimed[0].read_text().split()[1])
        codes = {int(p.suffix[1:]): int(p.read_text()) for p in pathlib.Path(self.folder.name).glob("code.*")}
        self.folder.cleanup()
        return self.process.returncode, ended - struck_ms / 1000, output, codes


class Watchdog(unittest.TestCase):
    def test_a_stopped_rank_is_missed_at_every_phase(self):
        jobs = {phase: Job(f"learner.{phase}/trainer-1=stop@3") for phase in PHASES}  # side by side: they mostly wait
        slowest = 0.0
        for phase, job in jobs.items():
            code, seconds, output, codes = job.finish(f"learner.{phase}")
            self.assertEqual(code, 75, f"{phase}: {output}")
            self.assertIn(75, codes.values(), f"{phase}: {codes}")
            self.assertRegex(output, r"rank 1 gave no sign of life for \d+ ms", phase)
            self.assertLess(seconds, HANG_BOUND_S, phase)
            slowest = max(slowest, seconds)
        print(f"candor-figure R5 learner_hang_detected_s={slowest:.1f} s [bound={HANG_BOUND_S:.0f}]")

    def test_a_dead_rank_ends_the_job_at_once(self):
        slowest = 0.0
        for phase in ("forward", "reduce"):
            code, seconds, output, _ = Job(f"learner.{phase}/trainer-1=kill@3").finish(f"learner.{phase}")
            self.assertNotEqual(code, 0, output)
            self.assertLess(seconds, EXIT_BOUND_S, phase)
            slowest = max(slowest, seconds)
        print(f"candor-figure R5 learner_exit_detected_s={slowest:.1f} s [bound={EXIT_BOUND_S:.0f}]")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
