"""What the Slurm tests share: one cluster for all rows of a program, and runs of the tiny recipe that are submitted to it. The program's first two arguments are CANDOR and SOURCE_FOLDER."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

import cluster

CANDOR = str(pathlib.Path(sys.argv.pop(1)).resolve())
SOURCE = pathlib.Path(sys.argv.pop(1)).resolve()
SKIPPED = 77  # ctest's SKIP_RETURN_CODE


class Run:
    """One run of the tiny recipe in a folder that all nodes see."""

    def __init__(self, on, folder, *overrides):
        self.on, self.folder = on, pathlib.Path(folder)
        self.overrides = ["layout=jobs", f"stage_cache={self.folder.parent}/stages", "eval.0.n=40", "eval.1.n=20", "eval.1.every=0", "slurm.idle_exit_min=5",
                          "slurm.extra=[\"rollouts: --cpus-per-task=1\"]", *overrides]
        self.jobs = {}
        self.user = []  # a command that calls another one as somebody else

    def submit(self, *arguments, check=True):
        answer = self.on.run(*self.user, CANDOR, "submit", "recipes/tiny.toml", "--run-dir", self.folder, *self.overrides, *arguments, cwd=SOURCE, check=check)
        self.jobs = dict(re.findall(r"^(\w+) +job (\d+)$", answer.stdout, re.M))
        return answer

    def steps(self):
        metrics = self.folder / "metrics.jsonl"
        return len([line for line in metrics.read_text().splitlines() if line.endswith("}")]) if metrics.exists() else 0

    def verdict(self):
        return self.on.run(CANDOR, "job", "verdict", "--run-dir", self.folder).stdout.strip()

    def node_of(self, role):
        # an array shows its tasks one by one
        text = self.on.run("squeue", "-h", "-r", "-j", self.jobs[role], "-o", "%N").stdout.split()
        return text[0] if text else ""

    def logs(self):
        found = sorted((self.folder / "logs").glob("*.log"))
        return "\n".join(f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:]) for log in found)

    def wait_for(self, what, holds, deadline_s):
        try:
            self.on.wait_for(what, holds, deadline_s)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.on.run('squeue', '-l', check=False).stdout}\n{self.logs()}") from None

    def wait_for_step(self, step, deadline_s=75):
        self.wait_for(f"step {step}", lambda: self.steps() >= step, deadline_s)

    def wait_until_done(self, deadline_s=85):
        self.wait_for("the signed done-record", lambda: (self.folder / "done.json").exists() and self.verdict() == "done", deadline_s)

    def cancel(self):
        submitted = self.folder / "jobs" / "submitted.json"
        if submitted.exists():
            self.on.run("scancel", *[job["id"] for job in json.loads(submitted.read_text())], check=False)


class SlurmCase(unittest.TestCase):
    nodes = 4
    shared = None

    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory(prefix="candor-slurm-")
        cls.root = pathlib.Path(cls.holder.name)
        cls.shared = cluster.Cluster(cls.root / "slurm", cls.nodes)
        cls.shared.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.shared.__exit__(None, None, None)
        cls.holder.cleanup()

    def make_run(self, name, *overrides, on=None):
        run = Run(on or self.shared, self.root / name, *overrides)
        self.addCleanup(run.cancel)
        return run

    def balance(self, run):
        answer = subprocess.run([CANDOR, "ledger", str(run.folder), "--json"], capture_output=True, text=True)
        self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)
        return json.loads(answer.stdout)


def main():
    reason = cluster.why_not()
    if reason:
        print("skipped: " + reason)
        sys.exit(SKIPPED)
    os.environ.pop("CANDOR_HOST", None)
    began = time.monotonic()
    result = unittest.main(verbosity=2, exit=False).result
    print(f"{result.testsRun} rows in {time.monotonic() - began:.0f} s")
    sys.exit(not result.wasSuccessful())
