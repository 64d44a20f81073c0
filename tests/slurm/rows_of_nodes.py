"""Rows: what happens to nodes."""
import time

from slurm_case import Run
from slurm_row import LATE_S, expect


def rollout_node_lost(row):
    """Array tasks: the lost one is put back, the learners go on without a restart."""
    a, b, c = row.nodes
    run = row.run("rollout.workers=2", "trainer.steps=60", row.extra(rollouts=["--exclusive", row.away_from(a, b)]))
    run.wait_for_step(3)
    row.on.kill_node(run.node_of("rollouts"))
    before = run.steps()
    run.wait_for_step(before + 5, LATE_S)
    row.finish()
    row.unhurt()


def learner_node_lost(row):
    """Slurm notices after half a minute, puts the job back, and it goes on from its checkpoint on a spare node."""
    a, b, c = row.nodes
    run = row.run(row.extra(learners=["--exclusive", row.away_from(a, b)]), "trainer.steps=60")
    run.wait_for_step(6)
    launches = row.launches()
    row.on.kill_node(run.node_of("learners"))
    row.wait_for_next_launch(launches, "slurm_node_loss_to_progress", 60, time.monotonic())
    expect(row.restarts("learners") >= 1, "the job was not put back")
    row.finish()


def coordinator_node_lost(row):
    """Learners, rollouts and rewards wait for it and keep what they have; it goes on from its ledger on a spare node."""
    a, b, c = row.nodes
    run = row.run(row.extra(coordinator=["--exclusive", row.away_from(a, b)]), "trainer.steps=80")
    run.wait_for_step(6)
    row.on.kill_node(run.node_of("coordinator"))
    began = time.monotonic()
    run.wait_for("the coordinator's second life", lambda: row.restarts("coordinator") >= 1, LATE_S)
    before = run.steps()
    run.wait_for_step(before + 1, LATE_S)
    print(f"candor-figure R6 slurm_coordinator_node_loss_to_progress={time.monotonic() - began:.1f} s bound=60", flush=True)
    row.finish()
    row.unhurt()


def learner_node_rebooted_unnoticed(row):
    """A node that is back before SlurmdTimeout: Slurm never notices, the job stays RUNNING for ever; the ranks' own watchdog must end them."""
    a, b, c = row.nodes
    run = row.run(row.extra(learners=["--nodes=2", "--ntasks-per-node=1", row.away_from(a, b)]), "trainer.steps=60")
    run.wait_for_step(6)
    second = b if row.on.job(run.jobs["learners"])["BatchHost"] == a else a
    launches = row.launches()
    row.on.kill_node(second)
    row.on.boot_node(second)
    row.wait_for_next_launch(launches)
    row.finish()
    expect(row.restarts("learners") == 0, "Slurm noticed: the fault was another one")


def batch_node_rebooted(row):
    """The node of the job's script reboots at once: Slurm finds the script gone, late, and puts the job back."""
    a, _, c = row.nodes
    run = row.run(row.extra(learners=a), "trainer.steps=400")
    run.wait_for_step(6)
    launches = row.launches()
    row.on.kill_node(a)
    row.on.boot_node(a)
    time.sleep(12)  # BatchStartTimeout; the controller compares its jobs with a node's when that registers, which by itself takes 40 to 90 s
    row.on.kill_slurmd(a)
    row.on.start_slurmd(a)
    row.wait_for_next_launch(launches)
    expect(row.restarts("learners") >= 1, "the job was not put back")


def silent_for_eight_seconds(row):
    """A short cut of the network between the learners' nodes: they wait, and nobody is started again."""
    a, b, c = row.nodes
    run = row.run(row.extra(learners=["--nodes=2", "--ntasks-per-node=1", row.away_from(a, b)]))
    run.wait_for_step(6)
    second = b if row.on.job(run.jobs["learners"])["BatchHost"] == a else a
    row.on.freeze_node(second)
    time.sleep(1)
    before = run.steps()
    time.sleep(7)
    expect(run.steps() <= before + 1, "the learners went on without their peer: the fault did not bite")
    row.on.thaw_node(second)
    row.finish()
    row.unhurt()


def cut_off_node_comes_back(row):
    """Slurm gives the learners of a silent node up and runs the job again elsewhere; then the node's old ranks wake, and Slurm cannot tell them: the fence does, before they write a thing."""
    a, b, c = row.nodes
    run = row.run(row.extra(learners=["--exclusive", row.away_from(a, b)]), "trainer.steps=150")
    run.wait_for_step(6)
    lost = run.node_of("learners")
    launches = row.launches()
    row.on.freeze_node(lost)
    row.wait_for_next_launch(launches)
    expect("trainer" in {role for _, role, _, _ in row.roles(lost)}, "no rank of the first life is left: the fault did not bite")
    row.on.thaw_node(lost, but_slurmd=True)
    run.wait_for("the end of the first life", lambda: not row.roles(lost), 45)
    row.on.thaw_node(lost)
    expect("has taken over" in row.log("job-learners"), "the first life did not say why it left\n" + row.log("job-learners"))
    row.finish()
    # What Slurm hears of the first life's end it may take for the second's, whose job and steps have the same numbers: the ranks are then started once more.
    print(f"cut_off_node_comes_back: {row.launches()} launches\n" + "\n".join(line for line in row.log("job-learners").splitlines() if not line.startswith("step")), flush=True)
    expect(row.launches() <= launches + 2 and row.restarts("learners") == 1, f"{row.launches()} launches: the second life was disturbed")


def slurmd_killed_alone(row):
    """Steps live on without their slurmd."""
    a, _, c = row.nodes
    run = row.run(row.extra(learners=a))
    run.wait_for_step(5)
    row.on.kill_slurmd(a)
    time.sleep(2)
    row.on.start_slurmd(a)
    row.finish()
    row.unhurt()


def one_heterogeneous_job_would_die_whole(row):
    """Why there are four jobs: Slurm ends every component of a heterogeneous job when one of them loses its node. `candor submit` never asks for one."""
    a, b, c = row.nodes
    script = row.folder.parent / "het.sh"
    script.write_text(f"#!/bin/bash\n#SBATCH --nodelist={a} --ntasks=1 --requeue --output=/dev/null\n#SBATCH hetjob\n#SBATCH --nodelist={b} --ntasks=1 --no-kill\nsleep 600\n")
    job = row.on.run("sbatch", "--parsable", script).stdout.strip()
    row.on.wait_for("the heterogeneous job", lambda: row.on.job(job).get("JobState") == "RUNNING", LATE_S)
    row.on.kill_node(b)
    row.on.wait_for("the end of the component that lost nothing", lambda: row.on.job(job).get("JobState") != "RUNNING" or row.on.job(job).get("Restarts") != "0", LATE_S)
    row.on.run("scancel", job, check=False)
    scripts = Run(row.on, row.folder).submit("--dry-run").stdout
    expect("--- " in scripts and "hetjob" not in scripts, scripts)


ROWS = [learner_node_lost, coordinator_node_lost, batch_node_rebooted, cut_off_node_comes_back, learner_node_rebooted_unnoticed, one_heterogeneous_job_would_die_whole, rollout_node_lost,
        silent_for_eight_seconds, slurmd_killed_alone]
