"""The tiny recipe through the real processes: a rollout and the coordinator are killed in the middle, the run still ends, and the ledger accounts for every group.

usage: tiny_run_test.py CANDOR SOURCE_FOLDER
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

CANDOR = str(pathlib.Path(sys.argv.pop(1)).resolve())
SOURCE = pathlib.Path(sys.argv.pop(1)).resolve()
DEADLINE_S = 240
STEP_DEADLINE_S = 60  # every injected fault ends in recovery within a minute


def steps_done(run):
    metrics = run / "metrics.jsonl"
    return len([line for line in metrics.read_text().splitlines() if line.endswith("}")]) if metrics.exists() else 0


def pids_of(role, run):
    """Processes of one role of this run, found by their command lines."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if role.encode() in words[1:2] and str(run).encode() in words:
            found.append(int(entry.name))
    return found


def start(run, folder, *overrides):
    command = [CANDOR, "run", "recipes/tiny.toml", "--run-dir", str(run), f"stage_cache={folder}/stages", *overrides]
    return subprocess.Popen(command, cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class TinyRun(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="candor-e2e-")
        self.run = pathlib.Path(self.folder.name) / "run"

    def tearDown(self):
        self.folder.cleanup()

    def logs(self):
        return "\n".join(f"--- {log.name}\n" + "\n".join(log.read_text().splitlines()[-12:]) for log in sorted((self.run / "logs").glob("*.log")))

    def wait_for_step(self, process, step):
        deadline = time.monotonic() + STEP_DEADLINE_S
        while steps_done(self.run) < step:
            self.assertIsNone(process.poll(), "the run ended early:\n" + (process.stdout.read() if process.poll() is not None else ""))
            if time.monotonic() > deadline:
                logs = self.logs()
                process.kill()
                self.fail(f"step {step} was not reached\n{logs}")
            time.sleep(0.02)

    def kill(self, role):
        pids = pids_of(role, self.run)
        self.assertTrue(pids, f"no {role} process was found")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def finish(self, process):
        output, _ = process.communicate(timeout=DEADLINE_S)
        self.assertEqual(process.returncode, 0, output)
        return output

    def ledger(self):
        answer = subprocess.run([CANDOR, "ledger", str(self.run), "--json"], capture_output=True, text=True)
        self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)
        return json.loads(answer.stdout)

    def test_survives_kills_and_balances(self):
        process = start(self.run, self.folder.name)
        for step, role in ((10, "rollout"), (20, "coordinator"), (30, "reward"), (40, "trainer")):
            self.wait_for_step(process, step)
            self.kill(role)
        output = self.finish(process)
        self.assertIn("report:", output)
        for name in ("summary.json", "report.html", "done.json", "final/config.json", "final/confidence.json"):
            self.assertTrue((self.run / name).exists(), name)
        balance = self.ledger()
        self.assertEqual(balance["in_flight"], 0, balance)
        summary = json.loads((self.run / "summary.json").read_text())
        before, after = summary["before"]["held_out"], summary["after"]["held_out"]
        self.assertEqual(after["n"], 200)
        self.assertLess(after["brier"], before["brier"], "the slot learned nothing")
        # A second run over a finished one shows its result.
        again = subprocess.run([CANDOR, "run", "recipes/tiny.toml", "--run-dir", str(self.run)], cwd=SOURCE, capture_output=True, text=True)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertIn("finished run", again.stdout)

    def test_stops_cleanly_and_resumes(self):
        process = start(self.run, self.folder.name)
        self.wait_for_step(process, 15)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, output)
        for role in ("rollout", "coordinator", "reward", "trainer"):
            self.assertEqual(pids_of(role, self.run), [], f"{role} was left behind")
        refused = subprocess.run([CANDOR, "run", "recipes/tiny.toml", "--run-dir", str(self.run)], cwd=SOURCE, capture_output=True, text=True)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("--resume", refused.stderr)
        resumed = start(self.run, self.folder.name, "--resume")
        self.finish(resumed)
        self.assertEqual(self.ledger()["in_flight"], 0)

    def test_bad_input_is_named(self):
        cases = [(["trainer.stepz=3"], "did you mean `steps`"), (["model=nowhere"], "nowhere"), (["eval.7.name=x"], "`eval` is a list of 2"),
                 (["objective.0.target=0.5"], "nothing reads `objective[0].target`"), (["data.train.0.path=no.jsonl"], "no.jsonl")]
        for overrides, words in cases:
            answer = subprocess.run([CANDOR, "run", "recipes/tiny.toml", "--run-dir", str(self.run) + "-bad", f"stage_cache={self.folder.name}/s", *overrides], cwd=SOURCE,
                                    capture_output=True, text=True, timeout=60)
            self.assertNotEqual(answer.returncode, 0, overrides)
            self.assertIn(words, answer.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
