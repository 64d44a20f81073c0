"""The Slurm rows of every day: from `candor submit` to the signed done-record; on the way a rollout's node is lost, which costs its task and nothing else, and the learners hear that their time is nearly up, write a
checkpoint, put themselves back into the queue and go on.

usage: everyday_test.py CANDOR SOURCE_FOLDER
"""
from slurm_case import SlurmCase, main


def restarts(case, job):
    return int(case.shared.job(job).get("Restarts", -1))


class Everyday(SlurmCase):
    nodes = 4

    def test_submit_lose_a_node_be_preempted_and_finish(self):
        run = self.make_run("every day's run", "name=every day", "trainer.steps=60", "rollout.workers=2", f"state_dir={self.root}/state", 'slurm.extra=["rollouts: --exclusive", "learners: --nodelist=n1", "coordinator: --nodelist=n1", "rewards: --nodelist=n1"]')
        answer = run.submit()
        self.assertEqual(sorted(run.jobs), ["coordinator", "learners", "rewards", "rollouts"], answer.stdout)
        run.wait_for_step(3)
        # The loss of a rollout's node: its task is put back by Slurm; nobody waits for that.
        self.shared.kill_node(run.node_of("rollouts"))
        # Half of the time limit's warning: USR1 to the script.
        self.shared.run("scancel", "--batch", "--signal=USR1", run.jobs["learners"])
        run.wait_for("the learners' requeue", lambda: restarts(self, run.jobs["learners"]) == 1, 30)
        before = run.steps()
        self.assertTrue(list((run.folder / "checkpoints").glob("step_*")), "no checkpoint was written before the requeue")
        run.wait_for_step(before + 3)
        run.wait_until_done()
        for role in ("coordinator", "rewards"):  # everybody leaves with the run
            run.wait_for(f"the end of the {role}", lambda job=run.jobs[role]: self.shared.job(job).get("JobState") == "COMPLETED", 30)
        self.assertEqual(restarts(self, run.jobs["coordinator"]), 0)
        self.assertEqual(self.balance(run)["in_flight"], 0)
        self.assertIn("finished run", run.submit().stdout)
        # There is no accounting here, and nothing asked for it.
        self.assertNotEqual(self.shared.run("sacct", check=False).returncode, 0)

    def test_dry_run_submits_and_writes_nothing(self):
        run = self.make_run("dry", "slurm.time=00:30:00")
        text = run.submit("--dry-run").stdout
        for words in ("layout jobs", "after the coordinator has started", "--signal=B:USR1@", "--time=00:30:00", "scontrol requeue"):
            self.assertIn(words, text)
        self.assertFalse(run.folder.exists())
        self.assertEqual(self.shared.run("squeue", "-h", "-o", "%Z %o").stdout.count("/dry/"), 0)


if __name__ == "__main__":
    main()
