"""Nothing hangs (R15): a role that is stopped, a full disk, a key that is gone and a coordinator that cannot be reached each end in recovery or in an error that names what is wrong, within
a minute; and what is dead or silent is noticed in time (R5). `candor status` says who waits for whom meanwhile.

usage: hang_test.py CANDOR SOURCE_FOLDER everyday | all
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from processes import CANDOR, SOURCE, pids_of, steps_done  # noqa: E402
from faulted_run import DEADLINE_S, FaultedRun, Run, Undisturbed  # noqa: E402

MODE = sys.argv.pop(1) if len(sys.argv) > 1 else "everyday"


def status(run):
    answer = subprocess.run([CANDOR, "status", str(run.path), "--json"], capture_output=True, text=True, timeout=30)
    return answer.returncode, json.loads(answer.stdout)


class Hangs(FaultedRun):
    def wait(self, what, holds, seconds=DEADLINE_S):
        started = time.monotonic()
        while not holds():
            if time.monotonic() - started > seconds:
                text = self.run_now.read_output() + self.run_now.logs()
                self.fail(f"{what} within {seconds} s\n{text}")
            time.sleep(0.02)
        return time.monotonic() - started

    def begin(self, steps=100000, **settings):
        self.run_now = Run(self.folder.name, steps, **settings)
        self.addCleanup(self.stop_run)
        self.wait("step 5", lambda: steps_done(self.run_now.path) >= 5, 120)
        return self.run_now

    def stop_run(self):
        if self.run_now.process.poll() is None:
            self.run_now.end()
        self.run_now.log.close()

    def tearDown(self):
        self.stop_run()
        super().tearDown()


class StoppedRoles(Hangs):
    def check_stopped(self, role):
        """SIGSTOP to one process of the role; the run must do steps again."""
        run = self.begin(coordinator__hang_timeout_s=8, rollout__workers=2 if MODE == "all" else 1)
        pid = pids_of(role, run.path)[-1]
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(lambda: pathlib.Path(f"/proc/{pid}").exists() and os.kill(pid, signal.SIGKILL))
        stopped = time.time()
        if role in ("rollout", "reward"):
            noticed = self.wait("the silence is an alarm", lambda: any("worker_silent" == a["name"] for a in status(run)[1].get("coordinator", {}).get("alarms", [])), 20)
            print(f"candor-figure R5 {role}_silent_noticed={noticed:.1f} s bound=3_after_the_last_heartbeat", flush=True)
            self.assertLess(noticed, 6)
        self.wait("the stopped process ends", lambda: not pathlib.Path(f"/proc/{pid}").exists() or pathlib.Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] == "Z")
        moment = time.time()
        self.wait("steps go on", lambda: run.metric_lines() and run.metric_lines()[-1]["wall_s"] > moment + 0.2)
        print(f"candor-figure R15 {role}_stopped_to_step={time.time() - stopped:.1f} s bound=60", flush=True)
        self.assertRegex(run.read_output(), r"hangs: it has been (stopped|not)|hangs: it has not answered|coordinator hangs|hangs")

    def test_rollout(self):
        self.check_stopped("rollout")

    @unittest.skipUnless(MODE == "all", "slow")
    def test_reward(self):
        self.check_stopped("reward")

    @unittest.skipUnless(MODE == "all", "slow")
    def test_coordinator(self):
        self.check_stopped("coordinator")

    @unittest.skipUnless(MODE == "all", "slow")
    def test_trainer(self):
        self.check_stopped("trainer")


class Deaths(Hangs):
    @unittest.skipUnless(MODE == "all", "slow")
    def test_a_dead_learner_is_noticed_and_the_others_stay(self):
        run = self.begin()
        before = {role: pids_of(role, run.path) for role in ("rollout", "reward", "coordinator")}
        os.kill(pids_of("trainer", run.path)[0], signal.SIGKILL)
        noticed = self.wait("the death is told", lambda: re.search(r"trainer (was killed|ended)", run.read_output()), 20)
        print(f"candor-figure R5 learner_exit_noticed={noticed:.2f} s bound=5", flush=True)
        self.assertLess(noticed, 5)
        moment = time.time()
        self.wait("steps go on", lambda: run.metric_lines()[-1]["wall_s"] > moment)
        self.assertEqual(before, {role: pids_of(role, run.path) for role in before}, "rollouts, rewards and coordinator stay warm")
        print("candor-figure R6 other_roles_restarted_by_a_learner's_death=0 processes bound=0", flush=True)
        learners = pids_of("trainer", run.path)
        for role in ("rollout", "reward"):
            os.kill(pids_of(role, run.path)[0], signal.SIGKILL)
            moment = time.time()
            self.wait("steps go on", lambda: run.metric_lines()[-1]["wall_s"] > moment + 0.2)
        self.assertEqual(learners, pids_of("trainer", run.path))
        print("candor-figure R6 learner_restarts_by_a_worker's_death=0 restarts bound=0", flush=True)


class NamedErrors(Hangs):
    def test_status_without_a_coordinator(self):
        run = self.begin()
        code, live = status(run)
        self.assertEqual((code, live["live"]), (0, True), live)
        self.assertEqual({m["role"] for m in live["coordinator"]["members"]}, {"rollout", "reward", "trainer"})
        self.assertIn("waiting", live["coordinator"])
        self.assertTrue({"coordinator", "reward-0", "rollout-0", "trainer", "run"} <= {p["name"] for p in live["processes"]}, live["processes"])
        run.end()
        code, dead = status(run)
        self.assertEqual((code, dead["live"]), (4, False), dead)
        self.assertGreaterEqual(dead["ledger"]["step"], 5)
        self.assertIn("--resume", dead["advice"])
        self.assertIn("coordinator", [log["name"] for log in dead["logs"]])
        text = subprocess.run([CANDOR, "status", str(run.path)], capture_output=True, text=True).stdout
        self.assertIn("no coordinator answers", text)
        self.assertIn("what to do", text)

    @unittest.skipUnless(MODE == "all", "slow")
    def test_a_key_that_is_gone(self):
        run = self.begin()
        (run.path / "keys" / "rollout.key").unlink()
        for pid in pids_of("rollout", run.path):
            os.kill(pid, signal.SIGKILL)
        self.wait("the run ends", lambda: run.process.poll() is not None)
        self.assertNotEqual(run.process.returncode, 0)
        self.assertIn("keys", run.read_output())
        print("candor-figure R15 lost_key=named_error bound=60_s", flush=True)

    @unittest.skipUnless(MODE == "all", "slow")
    def test_a_full_disk(self):
        mount = pathlib.Path(self.folder.name) / "small"
        mount.mkdir()  # the ledger alone sets 18 MB aside for its log
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(mount)], capture_output=True).returncode != 0:
            self.skipTest("no right to mount a tmpfs")
        try:
            self.fill_and_free(mount)
        finally:  # before tearDown removes the folder that it is mounted in
            self.stop_run()
            subprocess.run(["umount", "-l", str(mount)], capture_output=True)

    def fill_and_free(self, mount):
        self.run_now = run = Run(mount, 100000)
        self.wait("step 5", lambda: steps_done(run.path) >= 5, 120)
        filler = mount / "filler"
        with open(filler, "wb") as file:
            try:
                while file.write(b"0" * 65536):
                    file.flush()
            except OSError:
                pass
        named = self.wait("the full disk is named", lambda: re.search(r"[Nn]o space|free (some )?space|ENOSPC", run.logs() + run.read_output() + "".join((run.path / "logs" / n).read_text(errors="replace") for n in ("coordinator.log", "reward-0.log", "trainer.log"))))
        print(f"candor-figure R15 full_disk_named={named:.1f} s bound=60", flush=True)
        filler.unlink()
        if run.process.poll() is None:
            moment = time.time()
            self.wait("steps go on once there is space", lambda: run.metric_lines()[-1]["wall_s"] > moment + 0.5)
            print(f"candor-figure R15 full_disk_recovered={time.time() - moment:.1f} s bound=60", flush=True)

    @unittest.skipUnless(MODE == "all", "slow")
    def test_a_coordinator_that_cannot_be_reached(self):
        """A worker by hand whose coordinator is gone says so and keeps trying; it ends on SIGTERM at once."""
        run = self.begin()
        run.end()
        worker = subprocess.Popen([CANDOR, "reward", "--run-dir", str(run.path), "--index", "7"], cwd=SOURCE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        log = run.path / "logs" / "reward-7.log"
        named = self.wait("the worker names what it waits for", lambda: log.exists() and "coordinator away" in log.read_text(), 30)
        print(f"candor-figure R15 unreachable_coordinator_named={named:.1f} s bound=60", flush=True)
        worker.terminate()
        self.assertEqual(worker.wait(20) in (0, 130), True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="candor-hang-") as shared:
        Undisturbed.folder = pathlib.Path(shared)
        unittest.main(verbosity=2)
