"""What the end-to-end tests share: a run of a recipe as real processes that can be found, killed, stopped and audited. The calling program's first two arguments are CANDOR and
SOURCE_FOLDER; they are taken from its command line.
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


def metric_lines(run):
    """Those of a run's metrics that are there whole: behind the last line break stands what is being written, or what a full disk took of it."""
    metrics = run / "metrics.jsonl"
    return [json.loads(line) for line in metrics.read_text().rpartition("\n")[0].splitlines()] if metrics.exists() else []


def steps_done(run):
    """Distinct ones: a run that went back to a checkpoint writes a step's line once more."""
    return len({line["step"] for line in metric_lines(run)})


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


def start(recipe, run, *arguments):
    command = [CANDOR, "run", recipe, "--run-dir", str(run), *arguments]
    return subprocess.Popen(command, cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class RunCase(unittest.TestCase):
    step_deadline_s = 60  # every injected fault ends in recovery within a minute
    deadline_s = 240  # of a whole run

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="candor-e2e-")
        self.run = pathlib.Path(self.folder.name) / "run"

    def tearDown(self):
        self.folder.cleanup()

    def logs(self):
        return "\n".join(f"--- {log.name}\n" + "\n".join(log.read_text().splitlines()[-12:]) for log in sorted((self.run / "logs").glob("*.log")))

    def wait_for_step(self, process, step):
        deadline = time.monotonic() + self.step_deadline_s
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
        output, _ = process.communicate(timeout=self.deadline_s)
        self.assertEqual(process.returncode, 0, output)
        return output

    def ledger(self):
        answer = subprocess.run([CANDOR, "ledger", str(self.run), "--json"], capture_output=True, text=True)
        self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)
        return json.loads(answer.stdout)

    def assert_no_secret_is_seen(self):
        """Call it while the run is on: no key and no token in anybody's arguments or environment, nor in a file outside keys/."""
        secrets = [(self.run / "keys" / "token").read_bytes().strip()]
        secrets += [path.read_bytes().split(b"secret ")[1].strip() for path in (self.run / "keys").glob("*.key")]
        self.assertEqual(len(secrets), 6)
        places = [path for pattern in ("[0-9]*/cmdline", "[0-9]*/environ") for path in pathlib.Path("/proc").glob(pattern)]
        places += [path for path in self.run.rglob("*") if path.is_file() and "keys" not in path.parts]
        seen = 0
        for path in places:
            try:
                text = path.read_bytes()
            except OSError:
                continue
            seen += 1
            self.assertFalse(any(secret in text for secret in secrets), f"{path} holds a secret of the run")
        print(f"candor-figure R11 secrets_of_a_run_found=0 in {seen} places (arguments, environments, files)")
