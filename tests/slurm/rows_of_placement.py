"""Rows: where processes go, and on which devices."""
import hashlib
import os
import signal
import subprocess

from slurm_case import CANDOR, SOURCE, Run
from slurm_row import LATE_S, SMALL, expect

TINY = ["recipes/tiny.toml", "trainer.steps=20", "sft.epochs=2", "eval.0.n=40", "eval.1.n=20", "eval.1.every=0"]


class Allocated:
    """`candor run` in a shell of salloc, which stands on no node of the allocation."""

    def __init__(self, row, options, *overrides):
        self.row, self.log = row, row.folder.parent / (row.name + ".log")
        command = ["salloc", f"--job-name={row.name}", *options, CANDOR, "run", *TINY, f"name={row.name}", f"stage_cache={row.folder.parent}/{row.name}-stages", "--run-dir", str(row.folder), *overrides]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, cwd=SOURCE, env=row.on.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)  # to candor, too
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.row.on.run("scancel", "--name=" + self.row.name, check=False)

    def until_done(self, watch=lambda: None):
        def ended():
            watch()
            return self.process.poll() is not None
        try:
            self.row.on.wait_for("the end of candor run", ended, LATE_S)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.log.read_text()}") from None
        expect(self.process.returncode == 0 and Run(self.row.on, self.row.folder).verdict() == "done", self.log.read_text())
        self.row.balance()


def devices(row, *nodes):
    return {(node, role, environment.get("CUDA_VISIBLE_DEVICES")) for node, role, environment, _ in row.roles(*nodes)}


def one_job(row):
    """`candor run` in a shell of salloc places the stages before RL and every role on the nodes of the allocation, and nothing where it was called."""
    a, b, c = row.nodes
    seen, steps = set(), set()
    with Allocated(row, [f"--nodelist={a},{b},{c}", "--nodes=3", "--exclusive"], "rollout.workers=2") as run:
        def look():
            seen.update((node, role) for node, role, _ in devices(row))
            steps.update(row.on.run("squeue", "-h", "-s", "--format=%j %N", check=False).stdout.splitlines())
        run.until_done(look)
    expect(f"stage {a}" in steps, f"no stage before RL was seen on {a}: {steps}")
    learners, writers = {node for node, role in seen if role == "trainer"}, {node for node, role in seen if role.startswith("rollout")}
    expect(learners == {a} and writers == {b, c}, f"learners on {learners}, rollouts on {writers}")
    expect({role for _, role in seen} >= {"coordinator", "reward0"}, str(seen))


def one_node_of_salloc(row):
    """One node suffices: its shell is still elsewhere."""
    seen = set()
    with Allocated(row, [f"--nodelist={row.nodes[0]}", "--nodes=1", "--exclusive"]) as run:
        run.until_done(lambda: seen.update((node, role) for node, role, _ in devices(row)))
    expect({node for node, _ in seen} == {row.nodes[0]} and {role for _, role in seen} >= {"trainer", "rollout0", "coordinator", "reward0"}, str(seen))


def allocation_outlives_a_node(row):
    """An allocation with --no-kill goes on without a node; what ran there is started on the others, and srun's 0 for a lost node is not believed."""
    a, b, c = row.nodes
    with Allocated(row, [f"--nodelist={a},{b},{c}", "--nodes=3", "--exclusive", "--no-kill"], "rollout.workers=2", "trainer.steps=400") as run:
        watched = Run(row.on, row.folder)
        watched.wait_for("step 5", lambda: watched.steps() >= 5, LATE_S)
        row.on.kill_node(c)
        watched.wait_for("the lost rollout on another node", lambda: ("rollout1" in {role for _, role, _ in devices(row, a, b)}), LATE_S)
        expect("nodes of a step are dead" in run.log.read_text(), run.log.read_text())
        before = watched.steps()
        watched.wait_for_step(before + 3, LATE_S)
        expect(row.launches() == 1, "the learners were restarted")


def one_job_submitted(row):
    """layout = "one_job": one job on one node, which is told of its end as the four are, and goes on. Learners take the first of its devices, rollouts the rest."""
    expect(row.on.gpus > 2, "no devices could be made here (mknod)")
    extra = f'slurm.extra=["--nodelist={row.nodes[0]}"]'
    run = row.run("layout=one_job", extra, "slurm.gres=gpu:3", "placement.trainer_gpus=2", "placement.rollout_gpus=1", "trainer.steps=60")
    expect(list(run.jobs) == ["all"], str(run.jobs))
    run.wait_for_step(6)
    seen = {role: which for _, role, which in devices(row)}
    expect(seen.get("trainer") == "0,1" and seen.get("rollout0") == "2", str(seen))
    launches = row.launches()
    row.on.run("scancel", "--batch", "--signal=USR1", run.jobs["all"])
    row.wait_for_next_launch(launches)
    expect(row.restarts("all") == 1, "the job did not ask for its requeue")
    row.finish()


def devices_of_separate_jobs(row):
    """Each job has the devices that it asked for, and all of them."""
    expect(row.on.gpus > 2, "no devices could be made here (mknod)")
    a, _, c = row.nodes
    run = row.run(row.extra(learners=a, rollouts=a), "rollout.workers=2", "placement.trainer_gpus=2", "placement.rollout_gpus=2", "trainer.steps=60")
    run.wait_for_step(6)
    seen = {role: set((which or "").split(",")) for _, role, which in devices(row)}
    expect([len(seen[role] - {""}) for role in ("trainer", "rollout0", "rollout1")] == [2, 1, 1], str(seen))
    expect(not seen["trainer"] & (seen["rollout0"] | seen["rollout1"]) and seen["rollout0"] != seen["rollout1"], f"one device was given out twice: {seen}")
    row.finish()


def devices_of_an_allocation(row):
    """Learners on the devices of the first node, a rollout on each device of the next; taking turns, all of them see all."""
    expect(row.on.gpus > 1, "no devices could be made here (mknod)")
    a, b, _ = row.nodes
    seen = set()
    with Allocated(row, [f"--nodelist={a},{b}", "--nodes=2", "--exclusive", "--gres=gpu:2"], "rollout.workers=2", "placement.trainer_gpus=2", "placement.rollout_gpus=2") as run:
        run.until_done(lambda: seen.update(devices(row)))
    where = {(node, role, which) for node, role, which in seen if role.startswith(("trainer", "rollout"))}
    expect(where == {(a, "trainer", "0,1"), (b, "rollout0", "0"), (b, "rollout1", "1")}, str(where))


def same_weights_over_layouts(row):
    """Two ranks on one node or on two: in deterministic mode the same bits."""
    a, b, c = row.nodes
    hashes = {}
    for name, options in (("together", ["--nodes=1", row.away_from(a)]), ("apart", ["--nodes=2", "--ntasks-per-node=1", row.away_from(a, b)])):
        run = Run(row.on, row.folder.parent / f"{row.name}-{name}", *SMALL, f"name={row.name}", "deterministic=true", "trainer.steps=12", row.extra(learners=options))
        run.submit()
        try:
            run.wait_until_done(LATE_S)
        finally:
            run.cancel()
        hashes[name] = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted((run.folder / "final").glob("*.safetensors"))}
    expect(hashes["together"] and hashes["together"] == hashes["apart"], str(hashes))


ROWS = [allocation_outlives_a_node, one_job_submitted, same_weights_over_layouts, one_job, devices_of_separate_jobs, devices_of_an_allocation, one_node_of_salloc]
