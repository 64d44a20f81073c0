"""Runs of recipes/tiny.toml in deterministic mode that are disturbed by CANDOR_FAULT or by signals, and what must hold after them. Programs of this folder import it after putting tests/e2e
on their path; like processes.py it takes CANDOR and SOURCE_FOLDER from the command line.
"""
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

from processes import CANDOR, SOURCE, metric_lines, pids_of, steps_done

PROMPTS, GROUP = 8, 8  # of recipes/tiny.toml
SETTINGS = ["deterministic=true", "trainer.checkpoint_every=5", 'eval=[{name="dev",path="recipes/tiny/dev.jsonl",role="dev",every=20}]']
ROLES = ("rollout", "reward", "coordinator", "trainer")
DEADLINE_S = 60  # every injected fault ends in recovery within a minute


class Run:
    """One run of the recipe in its own folder."""

    def __init__(self, folder, steps, environment=None, resume=False, **settings):
        self.folder, self.steps = pathlib.Path(folder), steps
        self.path = self.folder / "run"
        self.faults = self.folder / "faults"
        self.faults.mkdir(parents=True, exist_ok=True)
        self.output, self.kills, self.seconds = "", [], 0.0
        words = [CANDOR, "run", "recipes/tiny.toml", "--run-dir", str(self.path), "--quiet", f"stage_cache={Undisturbed.folder}/stages", f"trainer.steps={steps}", *SETTINGS]
        words += [f"{name.replace('__', '.')}={value}" for name, value in settings.items()]
        words += ["--resume"] if resume else []
        self.started = time.monotonic()
        self.log = open(self.folder / "output", "w+")
        self.process = subprocess.Popen(words, cwd=SOURCE, stdout=self.log, stderr=subprocess.STDOUT, env=dict(os.environ, CANDOR_FAULT_DIR=str(self.faults), **(environment or {})))

    def read_output(self):
        self.log.flush()
        return (self.folder / "output").read_text()

    def watch(self, each=lambda: None):
        """Until the run ends; fails when no step comes for DEADLINE_S."""
        seen, since = -1, time.monotonic()
        while self.process.poll() is None:
            done = steps_done(self.path)
            if done != seen:
                seen, since = done, time.monotonic()
            if time.monotonic() - since > DEADLINE_S:
                self.end()
                raise AssertionError(f"no step after step {seen} for {DEADLINE_S} s\n{self.read_output()}\n{self.logs()}")
            each()
            time.sleep(0.02)
        self.seconds = time.monotonic() - self.started
        self.output = self.read_output()
        self.log.close()
        return self

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def logs(self):
        return "\n".join(f"--- {log.name}\n" + "\n".join(log.read_text().splitlines()[-15:]) for log in sorted((self.path / "logs").glob("*.log")))

    def fired(self):
        """Rule file name -> moment in seconds since 1970."""
        return {path.name: int(path.read_text().split()[1]) / 1000 for path in self.faults.iterdir()}

    def metric_lines(self):
        return metric_lines(self.path)

    def seconds_to_progress(self):
        """From each kill to the next step that was done."""
        steps = sorted(line["wall_s"] for line in self.metric_lines())
        return {name: next((step - moment for step in steps if step > moment), 0.0) for name, moment in self.fired().items()}

    def ledger(self):
        answer = subprocess.run([CANDOR, "ledger", str(self.path), "--json"], capture_output=True, text=True)
        if answer.returncode != 0:
            raise AssertionError(answer.stdout + answer.stderr)
        return json.loads(answer.stdout)

    def final_weights(self):
        return hashlib.sha256((self.path / "final" / "model.safetensors").read_bytes()).hexdigest()

    def kills_by_role(self):
        return {role: sum(1 for _, one in self.kills if one == role) for role in ROLES}


class Undisturbed:
    """Runs that nobody disturbs, one for each number of steps and settings."""

    folder = pathlib.Path(tempfile.gettempdir())
    _runs = {}

    @classmethod
    def of(cls, steps, **settings):
        key = (steps, json.dumps(settings, sort_keys=True))
        if key not in cls._runs:
            run = Run(cls.folder / f"undisturbed-{len(cls._runs)}", steps, **settings).watch()
            if run.process.returncode != 0:
                raise AssertionError(run.output)
            cls._runs[key] = run
        return cls._runs[key]


class FaultedRun(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="candor-fault-")

    def tearDown(self):
        for role in ROLES:
            self.assertEqual(pids_of(role, pathlib.Path(self.folder.name) / "run"), [], f"{role} was left behind")
        self.folder.cleanup()

    def faulted(self, kills, steps, action="kill", **settings):
        rules = ",".join(f"{point}/{process}={action}@{hit}" for point, process, hit in kills)
        run = Run(self.folder.name, steps, {"CANDOR_FAULT": rules}, **settings).watch()
        self.assertEqual(run.process.returncode, 0, run.output + run.logs())
        return run

    def randomly_killed(self, kills, steps, source, **settings):
        """SIGKILL to a random process whenever a random number of steps was done since the last."""
        run = Run(self.folder.name, steps, **settings)
        due = [3]

        def strike():
            if len(run.kills) >= kills or steps_done(run.path) < due[0]:
                return
            role = source.choice(ROLES)
            pids = pids_of(role, run.path)
            if not pids:
                return
            os.kill(source.choice(pids), signal.SIGKILL)
            run.kills.append((time.time(), role))
            due[0] = steps_done(run.path) + source.randint(1, max(1, steps // kills))
            time.sleep(source.random() * 0.3)

        run.watch(strike)
        self.assertEqual(run.process.returncode, 0, run.output + run.logs())
        self.assertGreaterEqual(len(run.kills), kills * 9 // 10, "the run ended before most kills")
        return run

    def assertEachObservedOnce(self, lines, steps):
        """Every step has one line of its newest segment, with as many observations as the same step of a run that nobody disturbed: all its traces with a label. (In a long run some of the
        tiny model's answers lose their form, and are missing rather than read.)"""
        newest = {line["step"]: line for line in lines}  # segments ascend
        self.assertEqual(sorted(newest), list(range(1, steps + 1)))
        want = {line["step"]: line for line in Undisturbed.of(steps).metric_lines()}
        for step, line in newest.items():
            for key in [f"calibration/train/{part}{count}" for part in ("", "slot/greedy/") for count in ("n", "missing", "abstained")]:
                self.assertEqual(line[key], want[step][key], f"step {step}: {key}")
        first = want[1]
        self.assertEqual(first["calibration/train/n"] + first["calibration/train/missing"] + first["calibration/train/abstained"], PROMPTS * GROUP)
        self.assertEqual(first["calibration/train/slot/greedy/n"], PROMPTS)

    def assertBooksAreClean(self, run):
        balance = run.ledger()
        self.assertTrue(balance["balances"], balance)
        self.assertEqual((balance["in_flight"], balance["finished"], balance["last_step"]), (0, True, run.steps), balance)
        self.assertEqual(balance["violations"], [])
        self.assertEqual({int(step): count for step, count in balance["trained_by_step"].items() if count > PROMPTS}, {})
        self.assertEachObservedOnce(run.metric_lines(), run.steps)
