"""One row of the Slurm table: a fault on nodes of its own, and what must come of it."""
import json
import subprocess
import time

from slurm_case import CANDOR, Run

LATE_S = 90  # what a row waits for comes within that, on a busy machine too
SMALL = ["trainer.steps=40", "sft.epochs=2", "trainer.checkpoint_every=5"]


class Row:
    """A row has three nodes of the cluster to itself; the last one is where coordinator, rewards and others that it does not care about go."""

    def __init__(self, on, root, name, nodes):
        self.on, self.name, self.nodes = on, name, nodes
        self.folder = root / name

    def extra(self, *more, **places):
        """slurm.extra: a node, or a list of sbatch options, for each role."""
        home = self.nodes[-1]
        places = {"coordinator": home, "rewards": home, "learners": home, "rollouts": home, **places}
        lines = [f"{role}: {' '.join([f'--nodelist={where}'] if isinstance(where, str) else where)}" for role, where in places.items()]
        return "slurm.extra=" + json.dumps([*lines, *more])

    def away_from(self, *allowed):
        return "--exclude=" + ",".join(name for name in self.on.nodes if name not in allowed)

    def run(self, *overrides):
        self.current = Run(self.on, self.folder, *SMALL, f"name={self.name}", *overrides)
        self.current.submit()
        return self.current

    def restarts(self, role):
        return int(self.on.job(self.current.jobs[role]).get("Restarts", -1))

    def state(self, role):
        return self.on.job(self.current.jobs[role]).get("JobState")

    def log(self, name):
        file = self.folder / "logs" / f"{name}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def roles(self, *nodes):
        """(node, role, environment, process) of the run's processes on these nodes; a launcher is no process of the run."""
        found = []
        for node in nodes or self.nodes:
            for words, environment, process in self.on.programs(node):
                if words[0].rsplit("/", 1)[-1] in ("candor", "candor-torch") and str(self.folder) in words and words[1] not in ("job", "run", "join"):
                    found.append((node, words[1] + (words[words.index("--index") + 1] if "--index" in words else ""), environment, process))
        return found

    def launches(self):
        """How often the ranks were started."""
        return len(list((self.folder / "checkpoints").glob("epoch.*")))

    def wait_for_next_launch(self, launches, figure=None, bound_s=None, since=None):
        """The ranks are started once more and finish a step; `figure` is the time from `since` to that."""
        run = self.current
        run.wait_for(f"launch {launches + 1} of the ranks", lambda: self.launches() > launches, LATE_S)
        before = run.steps()
        run.wait_for(f"a step behind {before}", lambda: run.steps() > before or (self.folder / "done.json").exists(), LATE_S)
        if figure:
            print(f"candor-figure R6 {figure}={time.monotonic() - since:.1f} s bound={bound_s}", flush=True)

    def balance(self):
        answer = subprocess.run([CANDOR, "ledger", str(self.folder), "--json"], capture_output=True, text=True)
        expect(answer.returncode == 0, answer.stdout + answer.stderr)
        balance = json.loads(answer.stdout)
        expect(balance["in_flight"] == 0, str(balance))

    def finish(self):
        self.current.wait_until_done(LATE_S)
        self.balance()

    def unhurt(self):
        """Nobody started the learners again."""
        expect(self.launches() == 1 and self.restarts("learners") == 0, f"{self.launches()} launches, {self.restarts('learners')} restarts of the learners")


def expect(holds, words):
    if not holds:
        raise AssertionError(words)
