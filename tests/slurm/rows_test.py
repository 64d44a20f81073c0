"""What a cluster does to a run, row by row: each is a fault that was seen on a real Slurm, and what must come of it. Rows run at the same time on one cluster, each on nodes of its own; the rows that kill the controller
have a cluster of their own.

usage: [CANDOR_SLURM_ROWS=all] rows_test.py CANDOR SOURCE_FOLDER [ROW ...]
"""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import cluster
from slurm_case import CANDOR, SOURCE, SKIPPED, Run

ROW_S = 90  # no row takes longer
SMALL = ["trainer.steps=40", "sft.epochs=2", "trainer.checkpoint_every=5"]


class Row:
    """One fault on nodes of its own: `first` is where coordinator, rewards and learners begin, `others` are the rest."""

    def __init__(self, on, root, name, nodes):
        self.on, self.name, self.nodes = on, name, nodes
        self.folder = root / name

    def extra(self, learners, rollouts, more=()):
        places = {"coordinator": self.nodes[-1], "rewards": self.nodes[-1], "learners": learners, "rollouts": rollouts}
        lines = [f"{role}: --nodelist={where}" if isinstance(where, str) else f"{role}: {' '.join(where)}" for role, where in places.items()]
        return "slurm.extra=" + json.dumps([*lines, *more])

    def away_from(self, *allowed):
        return "--exclude=" + ",".join(name for name in self.on.nodes if name not in allowed)

    def run(self, *overrides):
        self.current = Run(self.on, self.folder, *SMALL, f"name={self.name}", *overrides)
        self.current.submit()
        return self.current

    def restarts(self, role):
        return int(self.on.job(self.current.jobs[role]).get("Restarts", -1))

    def finish(self):
        self.current.wait_until_done(ROW_S)
        answer = subprocess.run([CANDOR, "ledger", str(self.folder), "--json"], capture_output=True, text=True)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        balance = json.loads(answer.stdout)
        assert balance["in_flight"] == 0, balance

    def launches(self):
        """How often the ranks were started."""
        return len(list((self.folder / "checkpoints").glob("epoch.*")))


def expect(holds, words):
    if not holds:
        raise AssertionError(words)


def rollout_node_lost(row):
    """Array tasks: the lost one is put back, the learners go on without a restart."""
    a, b, c = row.nodes
    run = row.run("rollout.workers=2", row.extra(c, [f"--exclusive {row.away_from(a, b)}"]))
    run.wait_for_step(3)
    row.on.kill_node(run.node_of("rollouts"))
    before = run.steps()
    run.wait_for_step(before + 5, 30)
    row.finish()
    expect(row.restarts("learners") == 0 and row.launches() == 1, "the learners were restarted")


def learner_node_lost(row):
    """Slurm notices after half a minute, puts the job back, and it goes on from its checkpoint on a spare node."""
    a, b, c = row.nodes
    run = row.run(row.extra([f"--exclusive {row.away_from(a, b)}"], c), "trainer.steps=60")
    run.wait_for_step(6)
    lost = run.node_of("learners")
    row.on.kill_node(lost)
    began, before = time.monotonic(), run.steps()
    run.wait_for("the learners on the spare node", lambda: row.restarts("learners") >= 1, 60)
    run.wait_for_step(before + 1)
    print(f"candor-figure R6 slurm_node_loss_to_progress={time.monotonic() - began:.1f} s bound=60", flush=True)
    row.finish()


def learner_node_rebooted_unnoticed(row):
    """A node that is back before SlurmdTimeout: Slurm never notices, the job stays RUNNING for ever; the ranks' own watchdog must end them."""
    a, b, c = row.nodes
    run = row.run(row.extra(["--nodes=2", "--ntasks-per-node=1", row.away_from(a, b)], c), "trainer.steps=60")
    run.wait_for_step(6)
    second = b if row.on.job(run.jobs["learners"])["BatchHost"] == a else a
    row.on.kill_node(second)
    row.on.boot_node(second)
    before = run.steps()
    run.wait_for_step(before + 1)
    row.finish()
    expect(row.launches() >= 2, "the ranks were never started again")


def stale_pmix_socket(row):
    """srun says 0 for a step that never ran ("Address already in use"): no done-record, so it is started again as a new step."""
    a, _, c = row.nodes
    run = row.run(row.extra(a, c))
    run.wait_for("the learners' job", lambda: row.on.job(run.jobs["learners"]).get("JobState") == "RUNNING", 30)
    spool = row.on.folder / "spool" / a
    for name in (f"stepd.slurm.pmix.{run.jobs['learners']}.0",):
        subprocess.run([sys.executable, "-c", f"import socket; socket.socket(socket.AF_UNIX).bind({str(spool / name)!r})"], check=True)
    row.finish()
    log = (row.folder / "logs" / "trainer.log").read_text()
    expect("Address already in use" in log, "the trap did not close: the stale socket was never met\n" + log[-2000:])
    expect("starting it again" in (row.folder / "logs" / "job-learners.log").read_text(), "no second launch")


def silent_for_eight_seconds(row):
    """A short cut of the network between the learners' nodes: they wait, and nobody is started again."""
    a, b, c = row.nodes
    run = row.run(row.extra(["--nodes=2", "--ntasks-per-node=1", row.away_from(a, b)], c))
    run.wait_for_step(6)
    second = b if row.on.job(run.jobs["learners"])["BatchHost"] == a else a
    row.on.freeze_node(second)
    before = run.steps()
    time.sleep(8)
    expect(run.steps() <= before + 1, "the learners went on without their peer: the fault did not bite")
    row.on.thaw_node(second)
    row.finish()
    expect(row.launches() == 1 and row.restarts("learners") == 0, "the learners were restarted")


def requeued(row):
    """`scontrol requeue` of the learners: the next life goes on where the checkpoint is."""
    a, _, c = row.nodes
    run = row.run(row.extra(a, c), "trainer.steps=60")
    run.wait_for_step(7)
    row.on.run("scancel", run.jobs["rollouts"])  # as if they had found nobody for idle_exit_min
    row.on.run("scontrol", "requeue", run.jobs["learners"])
    run.wait_for("the second life", lambda: row.restarts("learners") == 1, 30)
    row.finish()
    expect(row.launches() >= 2, "no second launch")
    expect("calling the rollouts back" in (row.folder / "logs" / "job-learners.log").read_text(), "nobody called the rollouts back")


def learners_cancelled(row):
    """Nobody stays for learners that are gone: every other job leaves after idle_exit_min."""
    a, _, c = row.nodes
    run = row.run(row.extra(a, c), "slurm.idle_exit_min=1", "trainer.steps=400")
    run.wait_for_step(3)
    row.on.run("scancel", run.jobs["learners"])
    for role in ("rollouts", "coordinator", "rewards"):
        run.wait_for(f"the {role} to leave", lambda job=run.jobs[role]: row.on.job(job).get("JobState") == "COMPLETED", ROW_S)
    expect(run.verdict() != "done", "the run is not done")


def preempted(row):
    """A job of a higher partition takes the node: USR1 to the script, a checkpoint, its own requeue, and back when the node is free."""
    a, _, c = row.nodes
    run = row.run(row.extra(["--exclusive", row.away_from(a)], c), "trainer.steps=80")
    run.wait_for_step(8)
    high = row.on.run("sbatch", "--parsable", "--partition=high", "--nodelist=" + a, "--exclusive", "--wrap", "sleep 5").stdout.strip()
    run.wait_for("the pre-emption", lambda: row.restarts("learners") >= 1, 40)
    expect("pre-emption is near: asking for a requeue" in (row.folder / "logs" / "job-learners.log").read_text(), "the job did not ask for its requeue itself")
    run.wait_for("the end of the higher job", lambda: row.on.job(high).get("JobState") == "COMPLETED", 30)
    row.finish()


def time_limit(row):
    """Whole minutes, announced up to a minute early."""
    a, _, c = row.nodes
    run = row.run(row.extra(a, c, ["learners: --time=1"]), "slurm.warn_s=40", "trainer.steps=400", "eval.0.n=4")
    run.wait_for("the announcement and the requeue", lambda: row.restarts("learners") >= 1, 75)
    expect(list((row.folder / "checkpoints").glob("step_*")), "no checkpoint was written before the limit")


def task_cancelled(row):
    """One task of the array is taken away for good: others write its groups."""
    a, _, c = row.nodes
    run = row.run(row.extra(a, c), "rollout.workers=2")
    run.wait_for_step(3)
    row.on.run("scancel", run.jobs["rollouts"] + "_0")
    row.finish()
    expect(row.launches() == 1, "the learners were restarted")


def rank_killed_in_a_collective(row):
    """srun alone would hang for ever; -K1 ends the step, and the supervisor starts a new one within the job."""
    a, _, c = row.nodes
    run = row.run(row.extra(a, c), "trainer.steps=60")
    run.wait_for_step(6)
    ranks = row.on.in_node(a, "pgrep", "-f", "candor-torch trainer").stdout.split()
    expect(ranks, "no rank was found")
    began, before = time.monotonic(), run.steps()
    row.on.in_node(a, "kill", "-KILL", ranks[-1])
    run.wait_for_step(before + 1, 40)
    print(f"candor-figure R6 slurm_rank_kill_to_progress={time.monotonic() - began:.1f} s bound=15", flush=True)
    row.finish()
    expect(row.restarts("learners") == 0, "the job was put back for a lost rank")
    expect(row.launches() == 2, f"{row.launches()} launches")


def slurmd_killed_alone(row):
    """Steps live on without their slurmd."""
    a, _, c = row.nodes
    run = row.run(row.extra(a, c))
    run.wait_for_step(5)
    row.on.kill_slurmd(a)
    time.sleep(2)
    row.on.start_slurmd(a)
    row.finish()
    expect(row.launches() == 1, "the learners were restarted")


def two_incarnations(row):
    """The learners' job twice at once, as a controller that lost its memory runs it: the later one goes on, the earlier one leaves and writes no more."""
    a, b, c = row.nodes
    run = row.run(row.extra(a, c), "trainer.steps=60")
    run.wait_for_step(6)
    second = row.on.run("sbatch", "--parsable", "--nodelist=" + b, row.folder / "jobs" / "learners.sbatch").stdout.strip()
    run.wait_for("the first one to leave", lambda: row.on.job(run.jobs["learners"]).get("JobState") == "COMPLETED", 60)
    expect(run.verdict() != "done", "the run was over before the second one came")
    expect("has taken over" in (row.folder / "logs" / "job-learners.log").read_text(), "the first one did not say why it left")
    row.finish()
    run.wait_for("the second one", lambda: row.on.job(second).get("JobState") == "COMPLETED", 30)


def rollouts_join(row):
    """`candor join --slurm`: one more array, whose rollouts write groups beside the others."""
    a, b, c = row.nodes
    run = row.run(row.extra(a, c), "trainer.steps=80")
    run.wait_for_step(3)
    answer = row.on.run(CANDOR, "join", row.folder, "--rollouts", 1, "--slurm", cwd=SOURCE)
    expect("rollouts 1 to 1" in answer.stdout, answer.stdout)
    log = row.folder / "logs" / "rollout-1.log"
    run.wait_for("the joined rollout at work", lambda: log.exists() and "weights version=" in log.read_text(), 60)
    row.finish()


def controller_killed_early(row):
    """The controller dies 3 s after the start with one slurmd: it may run the job again beside its live steps, or hold it. Whatever it does, the books balance and the run ends once the job is let go."""
    run = row.run(row.extra(row.nodes[0], row.nodes[2]), "trainer.steps=60")
    run.wait_for("the learners' job", lambda: row.on.job(run.jobs["learners"]).get("JobState") == "RUNNING", 30)
    time.sleep(3)
    row.on.kill_controller()
    row.on.kill_slurmd(row.nodes[0])
    time.sleep(12)
    row.on.start_slurmd(row.nodes[0])
    row.on.start_controller()

    def done():  # what the runbook says to do
        for name, state in row.on.states().items():
            if "drain" in state or "down" in state:
                row.on.run("scontrol", "update", f"nodename={name}", "state=resume", check=False)
        for job in run.jobs.values():
            if row.on.job(job).get("Reason") in ("launch_failed_requeued_held", "JobHeldAdmin", "JobHeldUser"):
                row.on.run("scontrol", "release", job, check=False)
        return (row.folder / "done.json").exists() and run.verdict() == "done"

    run.wait_for("the signed done-record", done, ROW_S)
    row.finish()


def one_job(row):
    """`candor run` inside an allocation of several nodes places its roles on them."""
    a, b, c = row.nodes
    log = row.folder.parent / "one_job.log"
    script = f"{CANDOR} run recipes/tiny.toml --run-dir {row.folder} trainer.steps=20 sft.epochs=2 eval.0.n=40 eval.1.every=0 rollout.workers=2 stage_cache={row.folder.parent}/stages"
    job = row.on.run("sbatch", "--parsable", f"--nodelist={a},{b},{c}", "--nodes=3", "--exclusive", f"--chdir={SOURCE}", f"--output={log}", "--wrap", script).stdout.strip()
    used = set()

    def ended():
        used.update(row.on.run("squeue", "-h", "-s", "-j", job, "-o", "%N", check=False).stdout.split())
        return row.on.job(job).get("JobState") not in ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING")

    row.on.wait_for("the end of the job", ended, ROW_S)
    expect(Run(row.on, row.folder).verdict() == "done", log.read_text())
    expect({a, b, c} <= used, f"steps ran on {used} only")


ROWS = [rollout_node_lost, learner_node_lost, silent_for_eight_seconds]
# Played when they are named, or by CANDOR_SLURM_ROWS=all: they have not yet passed often enough to be everybody's.
MORE = [learners_cancelled, learner_node_rebooted_unnoticed, stale_pmix_socket, requeued, preempted, time_limit, task_cancelled, rank_killed_in_a_collective, slurmd_killed_alone, two_incarnations,
        rollouts_join, one_job]
ALONE = [controller_killed_early]  # on a cluster of its own


def play(on, root, function, nodes):
    row = Row(on, root, function.__name__, nodes)
    began = time.monotonic()
    try:
        function(row)
        problem = None
    except Exception as error:  # a row's failure is its result
        problem = f"{type(error).__name__}: {error}"
    finally:
        if hasattr(row, "current"):
            row.current.cancel()
    took = time.monotonic() - began
    print(f"{'ok    ' if problem is None else 'FAILED'} {function.__name__} {took:.0f} s" + (f"\n{problem}" if problem else ""), flush=True)
    return problem is None


def play_all(rows, root, at_once):
    with cluster.Cluster(root / "slurm", nodes=3 * at_once) as on, concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        free = [on.nodes[3 * i:3 * i + 3] for i in range(at_once)]

        def one(function):
            nodes = free.pop()
            try:
                return play(on, root, function, nodes)
            finally:
                for name in nodes:
                    if name not in on.daemons:
                        on.boot_node(name)
                free.append(nodes)

        return list(pool.map(one, rows))


def main():
    reason = cluster.why_not()
    if reason:
        print("skipped: " + reason)
        sys.exit(SKIPPED)
    wanted, everything = sys.argv[1:], os.environ.get("CANDOR_SLURM_ROWS") == "all"
    chosen = [row for row in [*ROWS, *MORE] if row.__name__ in wanted or (not wanted and (everything or row in ROWS))]
    alone = [row for row in ALONE if row.__name__ in wanted or (not wanted and everything)]
    with tempfile.TemporaryDirectory(prefix="candor-slurm-") as folder:
        root = pathlib.Path(folder)
        results = play_all(chosen, root / "shared", min(len(chosen), int(os.environ.get("CANDOR_SLURM_ROWS_AT_ONCE", "3")))) if chosen else []
        for row in alone:
            results += play_all([row], root / row.__name__, 1)
    print(f"{sum(results)} of {len(results)} rows")
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
