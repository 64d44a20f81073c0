"""Rows: what happens to Slurm's controller. Each has a cluster of its own."""
import time

from slurm_row import LATE_S, expect


def controller_killed_late(row):
    """A controller that is away for a while, of jobs that it has long known: nobody notices, and what asks it waits."""
    run = row.run(row.extra(learners=row.nodes[0]), "trainer.steps=150")
    run.wait_for_step(3)
    time.sleep(12)  # until the controller's own state is on disk
    row.on.kill_controller()
    before = run.steps()
    run.wait_for_step(before + 5, LATE_S)
    row.on.start_controller()
    expect(run.verdict() != "done", "the run was over before the controller came back: nothing was tested")
    row.finish()
    row.unhurt()
    expect(row.restarts("coordinator") == 0, "the coordinator was restarted")


def controller_killed_early(row):
    """The controller dies 3 s after the start with one slurmd: it may run a job again beside its live steps, hold it, or have forgotten it. Whatever it does, the books balance and the run ends once the job is let
    go or submitted again."""
    run = row.run(row.extra(learners=row.nodes[0]), "trainer.steps=300")
    run.wait_for("the learners' job", lambda: row.state("learners") == "RUNNING", LATE_S)
    time.sleep(3)
    row.on.kill_controller()
    row.on.kill_slurmd(row.nodes[0])
    time.sleep(12)
    expect(run.verdict() != "done", "the run was over before the controller came back: nothing was tested")
    row.on.start_slurmd(row.nodes[0])
    row.on.start_controller()

    def done():  # what the runbook says to do
        for name, state in row.on.states().items():
            if "drain" in state or "down" in state:
                row.on.run("scontrol", "update", f"nodename={name}", "state=resume", check=False)
        for job in run.jobs.values():
            if row.on.job(job).get("Reason") in ("launch_failed_requeued_held", "JobHeldAdmin", "JobHeldUser"):
                row.on.run("scontrol", "release", job, check=False)
        # forgotten by a controller that came back without its latest state: those jobs alone are submitted again
        forgotten = [role for role, job in run.jobs.items() if row.on.run("squeue", "-h", "-j", job, check=False).stdout == ""]
        if forgotten and run.verdict() != "done":
            print(f"controller_killed_early: forgotten: {' '.join(forgotten)}", flush=True)
            run.submit("--resume")
        return (row.folder / "done.json").exists() and run.verdict() == "done"

    run.wait_for("the signed done-record", done, LATE_S)
    row.balance()
    print(f"controller_killed_early: {row.launches()} launches of the ranks, {row.restarts('learners')} restarts of their job", flush=True)


ROWS = [controller_killed_late, controller_killed_early]
