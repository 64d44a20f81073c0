"""Rows: what happens to jobs."""
import os
import re
import signal
import subprocess
import sys
import time

from slurm_case import CANDOR, SOURCE, Run
from slurm_row import LATE_S, SMALL, expect


def requeued(row):
    """`scontrol requeue` of the learners: the next life goes on where the checkpoint is, and writes on in the same log."""
    a, _, c = row.nodes
    run = row.run(row.extra(learners=a), "trainer.steps=60")
    run.wait_for_step(7)
    launches = row.launches()
    row.on.run("scancel", run.jobs["rollouts"])
    row.on.run("scontrol", "requeue", run.jobs["learners"])
    row.wait_for_next_launch(launches)
    row.finish()
    log = row.log("job-learners")
    expect("requeued 0 times: starts" in log and "requeued 1 times: starts" in log, "--open-mode=append: one of the lives is missing\n" + log)
    expect("calling the rollouts back" in log, "nobody called the rollouts back")


def preempted(row):
    """A job of a higher partition takes the node: USR1 to the script, a checkpoint, its own requeue, and back when the node is free."""
    a, _, c = row.nodes
    run = row.run(row.extra(learners=["--exclusive", row.away_from(a)]), "trainer.steps=80")
    run.wait_for_step(8)
    launches = row.launches()
    high = row.on.run("sbatch", "--parsable", "--partition=high", "--nodelist=" + a, "--exclusive", "--output=/dev/null", "--wrap", "sleep 5").stdout.strip()
    run.wait_for("the pre-emption", lambda: row.restarts("learners") >= 1, LATE_S)
    expect("pre-emption is near: asking for a requeue" in row.log("job-learners"), "the job did not ask for its requeue itself")
    expect(list((row.folder / "checkpoints").glob("step_*")), "no checkpoint was written before it left")
    run.wait_for("the end of the higher job", lambda: row.on.job(high).get("JobState") == "COMPLETED", LATE_S)
    row.wait_for_next_launch(launches)
    row.finish()


def preempted_without_notice(row):
    """The same where the site does not announce it: TERM to the steps only; the ranks write their checkpoint, and the job asks for its requeue all the same."""
    expect(not row.on.notice, "this cluster announces pre-emption")
    run = row.run(row.extra(learners=["--exclusive", row.away_from(row.nodes[0])]), "trainer.steps=200")
    run.wait_for_step(8)
    launches = row.launches()
    row.on.run("sbatch", "--parsable", "--partition=high", "--nodelist=" + row.nodes[0], "--exclusive", "--output=/dev/null", "--wrap", "sleep 5")
    run.wait_for("the pre-emption", lambda: row.restarts("learners") >= 1, LATE_S)
    expect(list((row.folder / "checkpoints").glob("step_*")), "no checkpoint was written before it left")
    row.wait_for_next_launch(launches)
    row.finish()


def time_limit(row):
    """Whole minutes, announced up to a minute early: a checkpoint, the job's own requeue, and the second life goes on behind it."""
    a, _, c = row.nodes
    run = row.run(row.extra("learners: --time=1", learners=a), "slurm.warn_s=12", "trainer.steps=400", "eval.0.n=4")  # announced 18 to 48 s after its start
    run.wait_for("the announcement and the requeue", lambda: row.restarts("learners") >= 1, LATE_S)
    expect("the time limit or pre-emption is near: asking for a requeue" in row.log("job-learners"), row.log("job-learners"))
    expect(list((row.folder / "checkpoints").glob("step_*")), "no checkpoint was written before the limit")
    before = run.steps()
    run.wait_for_step(before + 1, LATE_S)


def task_cancelled(row):
    """One task of the array is taken away for good: others write its groups."""
    a, _, c = row.nodes
    run = row.run(row.extra(learners=a), "rollout.workers=2")
    run.wait_for_step(3)
    row.on.run("scancel", run.jobs["rollouts"] + "_0")
    row.finish()
    row.unhurt()


def rank_killed_in_a_collective(row):
    """srun alone would hang for ever; -K1 ends the step, and the supervisor starts a new one within the job."""
    a, _, c = row.nodes
    run = row.run(row.extra(learners=a), "trainer.steps=60")
    run.wait_for_step(6)
    ranks = [process for _, role, _, process in row.roles(a) if role == "trainer"]
    expect(len(ranks) == 2, f"ranks: {ranks}")
    launches = row.launches()
    os.kill(ranks[-1], signal.SIGKILL)
    row.wait_for_next_launch(launches, "slurm_rank_kill_to_progress", 15, time.monotonic())
    row.finish()
    expect(row.restarts("learners") == 0, "the job was put back for a lost rank")
    expect(row.launches() == launches + 1, f"{row.launches()} launches")


def stale_pmix_socket(row):
    """A node that was rebooted keeps the PMIx socket of a step number. The step that meets it never runs, and srun returns 0: without our record that is no success, and a new step is started, whose
    number dodges the socket."""
    a, _, c = row.nodes
    run = row.run(row.extra("learners: --hold", learners=a))
    socket = row.on.folder / "spool" / a / f"stepd.slurm.pmix.{run.jobs['learners']}.0"
    subprocess.run([sys.executable, "-c", f"import socket; socket.socket(socket.AF_UNIX).bind({str(socket)!r})"], check=True)
    row.on.run("scontrol", "release", run.jobs["learners"])
    row.finish()
    slurmd = (row.on.folder / "log" / f"slurmd.{a}.log").read_text(errors="replace")
    expect(re.search(rf"{run.jobs['learners']}\.0.*Address already in use|Address already in use", slurmd), "the trap did not close: nobody met the stale socket\n" + slurmd[-3000:])
    log = row.log("job-learners")
    expect("trainer ended with exit code 75, starting it again" in log, "srun did not say 0 for a step that never ran, or nobody started it again\n" + log)
    expect(row.restarts("learners") == 0, "the job was put back")


def two_incarnations(row):
    """The learners' job twice at once, as a controller that lost its memory runs it: the later one goes on, the earlier one leaves and writes no more."""
    a, b, c = row.nodes
    run = row.run(row.extra(learners=a), "trainer.steps=80")
    run.wait_for_step(6)
    second = row.on.run("sbatch", "--parsable", "--nodelist=" + b, row.folder / "jobs" / "learners.sbatch").stdout.strip()
    run.wait_for("the first one to leave", lambda: row.state("learners") == "COMPLETED", LATE_S)
    expect(run.verdict() != "done", "the run was over before the second one came")
    expect("has taken over" in row.log("job-learners"), "the first one did not say why it left")
    expect(len(list((row.folder / "jobs").glob("learners.[0-9]*"))) == 2, "each took a number of its own")
    row.finish()
    run.wait_for("the second one", lambda: row.on.job(second).get("JobState") == "COMPLETED", LATE_S)


def rollouts_join(row):
    """`candor join --slurm`: one more array; `candor join` on another machine: one more rollout. Both write groups beside the others, and all leave with the run."""
    a, b, c = row.nodes
    run = row.run(row.extra(learners=a), "trainer.steps=150")
    run.wait_for_step(3)
    answer = row.on.run(CANDOR, "join", row.folder, "--rollouts", 1, "--slurm", cwd=SOURCE)
    expect("rollouts 1 to 1" in answer.stdout, answer.stdout)
    by_hand = subprocess.Popen([*row.on.enter(b), "env", f"--chdir={SOURCE}", CANDOR, "join", str(row.folder)], env=row.on.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for name in ("rollout-1", "rollout-2"):
            run.wait_for(f"{name} at work", lambda log=name: "weights version=" in row.log(log), LATE_S)
        row.finish()
        expect(by_hand.wait(timeout=30) == 0, "candor join ended with " + str(by_hand.returncode))
    finally:
        by_hand.kill()


def learners_cancelled(row):
    """Nobody stays for learners that are gone: every other job leaves after idle_exit_min."""
    a, _, c = row.nodes
    run = row.run(row.extra(learners=a), "slurm.idle_exit_min=0.2", "trainer.steps=400")
    run.wait_for_step(3)
    row.on.run("scancel", run.jobs["learners"])
    for role in ("rollouts", "coordinator", "rewards"):
        run.wait_for(f"the {role} to leave", lambda job=role: row.state(job) == "COMPLETED", LATE_S)
        expect("has been gone for 12 s" in row.log("job-" + role + ("" if role == "coordinator" else "-0")), row.log("job-" + role))
    expect(run.verdict().startswith("unfinished"), "the run is not done")


def rollouts_leave_while_learners_queue(row):
    """Rollouts hold devices: after idle_exit_min beside learners that queue they leave, the others stay; learners that start call them back. Learners that are cancelled in the queue leave nobody behind."""
    a, _, c = row.nodes
    run = row.run(row.extra("learners: --hold", learners=a), "slurm.idle_exit_min=0.2")
    run.wait_for("the rollouts to leave", lambda: row.state("rollouts") == "COMPLETED", LATE_S)
    expect("has been queueing for 12 s: the rollouts leave" in row.log("job-rollouts-0"), row.log("job-rollouts-0"))
    for role in ("coordinator", "rewards"):
        expect(row.state(role) == "RUNNING", f"{role}: {row.state(role)}")
    row.on.run("scontrol", "release", run.jobs["learners"])
    row.finish()
    expect("calling the rollouts back" in row.log("job-learners"), row.log("job-learners"))


def learners_cancelled_in_the_queue(row):
    """Who waits for learners that will never come leaves, too."""
    run = row.run(row.extra("learners: --hold"), "slurm.idle_exit_min=0.1")
    run.wait_for("the others' start", lambda: all(row.state(role) == "RUNNING" for role in ("rollouts", "coordinator", "rewards")), LATE_S)
    row.on.run("scancel", run.jobs["learners"])
    for role in ("rollouts", "coordinator", "rewards"):
        run.wait_for(f"the {role} to leave", lambda job=role: row.state(job) == "COMPLETED", LATE_S)


def another_user(row):
    """Whoever submits owns the run: its jobs are theirs, and nobody else reads its keys."""
    nobody = 65534
    as_nobody = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"]
    for folder in (row.folder.parent, *row.folder.parent.parents):
        if folder.stat().st_uid == os.geteuid() and folder.name.startswith(("candor-slurm-", "shared")):
            folder.chmod(0o711)
    if row.on.run(*as_nobody, CANDOR, "--version", cwd=SOURCE, check=False).returncode != 0:
        print("another_user: not tested, for nobody else may run " + CANDOR, flush=True)
        return
    home = row.folder.parent / "nobody"
    home.mkdir()
    os.chown(home, nobody, nobody)
    row.current = run = Run(row.on, home / "run", *SMALL, "name=another-user", "trainer.steps=10", row.extra(learners=row.nodes[0]))
    row.folder, run.user = run.folder, as_nobody
    run.submit()
    row.finish()
    expect(row.on.job(run.jobs["learners"])["UserId"].startswith("nobody"), str(row.on.job(run.jobs["learners"])))
    owners = {file.stat().st_uid for file in run.folder.rglob("*")}
    expect(owners == {nobody}, f"files of {owners}")
    expect(all(file.stat().st_mode & 0o077 == 0 for file in (run.folder / "keys").iterdir()), "others may read keys")


def template_prologue_container(row):
    """A template and a prologue of one's own reach every job; the roles, the stages before them and the evaluations run inside the container."""
    a, _, c = row.nodes
    template, programs = row.folder.parent / "own.sbatch", row.folder.parent / "bin"
    template.write_text((SOURCE / "deploy" / "slurm" / "job.sbatch").read_text().replace("set -u\n", "set -u\necho template of our own\n"))
    programs.mkdir()
    # stands for Apptainer, which the roles are started with: apptainer exec --bind FOLDER IMAGE PROGRAM ..
    (programs / "apptainer").write_text('#!/bin/bash\n[ "$1 $2" = "exec --bind" ] || exit 64\necho "$4 $5 $6 $3" >>"$TRACE"\nprogram=$5; shift 5\nexec "$(dirname "$CANDOR")/$program" "$@"\n')
    (programs / "apptainer").chmod(0o755)
    trace = row.folder.parent / "trace"
    prologue = f'slurm.prologue=["export PATH={programs}:$PATH TRACE={trace} CANDOR={CANDOR}", "echo prologue of $role"]'
    row.run(row.extra(learners=a), f"slurm.template={template}", prologue, "slurm.container=/images/candor.sif", "device=cpu", "trainer.steps=10", f"stage_cache={row.folder.parent}/stages-of-its-own")
    row.finish()
    for role in ("coordinator", "learners", "rollouts-0", "rewards-0"):
        log = row.log("job-" + role)
        expect("template of our own" in log and "prologue of " + role.split("-")[0] in log, log)
    inside = {" ".join(line.split()[:3]) for line in trace.read_text().splitlines()}
    for program in ("candor coordinator", "candor-torch trainer", "candor-torch rollout", "candor reward", "candor-torch sft", "candor-torch eval"):
        expect("/images/candor.sif " + program in inside, f"{program} ran outside of the container: {inside}")


ROWS = [rollouts_leave_while_learners_queue, learners_cancelled, time_limit, learners_cancelled_in_the_queue, preempted, requeued, two_incarnations, rollouts_join, rank_killed_in_a_collective,
        stale_pmix_socket, task_cancelled, another_user, template_prologue_container]
