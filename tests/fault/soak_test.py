"""Three minutes (or SOAK_SECONDS) with a fault every ten seconds: memory and open files of the processes that stay do not grow, and the books are clean (R14). Steps take about half a
second, as a small real run's do; the fault is the death of a worker or a learner rank, or a pause of a second of a process that stays.

usage: soak_test.py CANDOR SOURCE_FOLDER
"""
import os
import pathlib
import random
import signal
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from processes import pids_of, steps_done  # noqa: E402
from faulted_run import FaultedRun, Run, Undisturbed  # noqa: E402

SECONDS = int(os.environ.get("SOAK_SECONDS", "180"))
FAULT_EVERY_S, WARM_S = 10, 40
RSS_SLOPE_MAX = 1.0  # MB a minute


def rss_mb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def files(pid):
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


def slope(points):
    """Least squares, per minute."""
    n, mx, my = len(points), sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)
    return 60 * sum((x - mx) * (y - my) for x, y in points) / max(1e-9, sum((x - mx) ** 2 for x, _ in points)) if n > 1 else 0.0


def indexed(role, index, run):
    return [pid for pid in pids_of(role, run.path) if pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[-2:-1] == [str(index).encode()]]


class Soak(FaultedRun):
    def test_nothing_grows(self):
        run = Run(self.folder.name, 100000, {"CANDOR_FAULT": "learner.step=delay:500"}, rollout__workers=2, reward__workers=2)
        self.addCleanup(run.log.close)
        try:
            self.soak(run)
        finally:
            run.end()
        balance = run.ledger()
        self.assertTrue(balance["balances"], balance)
        print("candor-figure R14 ledger_violations=0 bound=0", flush=True)

    def soak(self, run):
        deadline = time.monotonic() + 120
        while steps_done(run.path) < 3:
            self.assertLess(time.monotonic(), deadline, run.logs())
            time.sleep(0.1)
        stay = {"coordinator": pids_of("coordinator", run.path)[0], "reward-0": indexed("reward", 0, run)[0], "rollout-0": indexed("rollout", 0, run)[0], "run": run.process.pid}
        source, begun, faults = random.Random(1), time.monotonic(), 0
        samples, opened = {name: [] for name in stay}, {name: [] for name in stay}
        while (now := time.monotonic() - begun) < SECONDS:
            if now >= (faults + 1) * FAULT_EVERY_S:
                self.strike(run, stay, source)
                faults += 1
            for name, pid in stay.items():
                self.assertTrue(pathlib.Path(f"/proc/{pid}/status").exists(), f"{name} ended\n" + run.read_output())
                if now > WARM_S:
                    samples[name].append((now, rss_mb(pid)))
                    opened[name].append((now, files(pid)))
            time.sleep(1)
        print(f"{faults} faults, {steps_done(run.path)} steps in {SECONDS} s", flush=True)
        for name in stay:
            grown, more = slope(samples[name]), slope(opened[name])
            print(f"candor-figure R14 {name}_rss_slope={grown:.2f} MB/min bound={RSS_SLOPE_MAX} fds_slope={more:.2f} /min (RSS {samples[name][-1][1]:.0f} MB, {opened[name][-1][1]} fds)", flush=True)
        for name in stay:
            self.assertLess(slope(samples[name]), RSS_SLOPE_MAX, name)
            self.assertLess(abs(slope(opened[name])), 2, name)

    def strike(self, run, stay, source):
        kind = source.choice(["rollout", "reward", "trainer", "pause"])
        if kind == "pause":
            pid = stay[source.choice(["coordinator", "reward-0", "rollout-0"])]
            os.kill(pid, signal.SIGSTOP)
            time.sleep(1)
            return os.kill(pid, signal.SIGCONT)
        for pid in (pids_of("trainer", run.path)[:1] if kind == "trainer" else indexed(kind, 1, run)):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="candor-soak-") as shared:
        Undisturbed.folder = pathlib.Path(shared)
        unittest.main(verbosity=2)
