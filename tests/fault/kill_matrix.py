"""The kill matrix: every role of a run dies by SIGKILL at every named moment (core/fault_point.h), in real processes under `candor run`; then the books must balance, no observation may be
lost or counted twice, and in deterministic mode the final weights must be those of a run that nobody disturbed.

usage: kill_matrix.py CANDOR SOURCE_FOLDER everyday | all | soak KILLS
"""
import json
import pathlib
import random
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from faulted_run import FaultedRun, Undisturbed  # noqa: E402

MODE = sys.argv.pop(1) if len(sys.argv) > 1 else "everyday"
SOAK_KILLS = int(sys.argv.pop(1)) if MODE == "soak" else 0

# point, process, the visit that dies. A process that is started again counts from one, so later rules of the same process need few visits.
EVERYDAY = [("rollout.generate", "rollout-0", 60), ("reward.spooled", "reward-0", 20), ("coordinator.commit", "coordinator", 40), ("learner.backward", "trainer-1", 8)]
ROLLOUT = [("lease.request", 3), ("lease.granted", 2), ("rollout.fetch", 2), ("rollout.load", 2), ("rollout.loaded", 2), ("rollout.generate", 25), ("rollout.send", 4), ("rollout.sent", 4), ("rollout.acked", 4)]
REWARD = [("reward.score", 60), ("reward.spool", 5), ("reward.spooled", 5), ("reward.acked", 5), ("reward.announce", 5), ("reward.announced", 5), ("reward.fetch", 5)]
COORDINATOR = [("coordinator.commit", 9), ("coordinator.committed", 9), ("coordinator.reply", 30), ("coordinator.line", 2), ("coordinator.clone", 1), ("coordinator.cloned", 1)]
LEARNER = [("learner.plan", 2), ("learner.fetch", 2), ("learner.vote", 2), ("learner.forward", 2), ("learner.backward", 2), ("learner.reduce", 9), ("learner.step", 2), ("learner.stepped", 2)]
FIRST_RANK = [("weights.chunk", 9), ("weights.streamed", 2), ("weights.manifest", 2), ("weights.rename", 2), ("weights.renamed", 2), ("learner.publish", 2), ("learner.report", 2), ("learner.reported", 2), ("checkpoint.shard", 1),
              ("checkpoint.manifest", 1), ("checkpoint.rename", 1), ("checkpoint.pointer", 1), ("checkpoint.announce", 2)]


def rules(points, process):
    return [(point, process, hit) for point, hit in points]


class KillMatrix(FaultedRun):
    def judge(self, run, kills):
        fired = run.fired()
        missing = [f"{point}.{process}" for point, process, _ in kills if f"{point}.{process}" not in fired]
        self.assertEqual(missing, [], "moments that were never reached\n" + run.output + run.logs())
        self.assertBooksAreClean(run)
        self.assertEqual(run.final_weights(), self.undisturbed.final_weights(), "the final weights differ from the undisturbed run's")

    def run_with(self, kills, steps, **settings):
        started = time.monotonic()
        self.undisturbed = Undisturbed.of(steps, **settings)
        run = self.faulted(kills, steps, **settings)
        self.judge(run, kills)
        print(f"{len(kills)} kills, {steps} steps, {time.monotonic() - started:.1f} s; slowest back to a step: {max(run.seconds_to_progress().values(), default=0):.1f} s", flush=True)
        print(f"candor-figure R2 violations=0 of {run.ledger()['issued']} groups after {len(kills)} kills bound=0, observations {steps * 64} of {steps * 64}", flush=True)
        print(f"candor-figure R3 final_weights_bit_equal=1 after {len(kills)} kills at named moments bound=1", flush=True)
        return run


@unittest.skipUnless(MODE == "everyday", "everyday")
class EachRoleOnce(KillMatrix):
    def test_each_role_dies_once(self):
        self.run_with(EVERYDAY, 30)

    # What the checks above are worth: a run of another seed does not pass for the same run, and books that lack a record do not balance.
    def test_the_checks_can_fail(self):
        ours, other = Undisturbed.of(6), Undisturbed.of(6, seed=2)
        self.assertNotEqual(ours.final_weights(), other.final_weights())
        lines = ours.metric_lines()
        with self.assertRaises(AssertionError):
            self.assertEachObservedOnce(lines[:-1], 6)
        with self.assertRaises(AssertionError):
            self.assertEachObservedOnce(lines[:-1] + [dict(lines[-1], **{"calibration/train/n": 1})], 6)


@unittest.skipUnless(MODE == "all", "all")
class EveryMoment(KillMatrix):
    def test_rollout(self):
        self.run_with(rules(ROLLOUT, "rollout-0"), 40)

    def test_reward(self):
        self.run_with(rules(REWARD, "reward-0"), 40)

    def test_coordinator(self):
        self.run_with(rules(COORDINATOR, "coordinator"), 40)

    def test_learner_rank_1(self):
        self.run_with(rules(LEARNER, "trainer-1"), 40)

    def test_learner_rank_0(self):
        self.run_with(rules(LEARNER, "trainer-0"), 40)

    def test_publication_and_checkpoint(self):
        self.run_with(rules(FIRST_RANK, "trainer-0") + rules([("checkpoint.shard", 1)], "trainer-1"), 40)


@unittest.skipUnless(MODE == "soak", "soak")
class RandomKills(KillMatrix):
    def test_random_kills(self):
        steps = 12 * SOAK_KILLS
        self.undisturbed = Undisturbed.of(steps)
        run = self.randomly_killed(SOAK_KILLS, steps, random.Random(1))
        self.assertBooksAreClean(run)
        self.assertEqual(run.final_weights(), self.undisturbed.final_weights())
        print(f"candor-figure R6 random_kills={len(run.kills)} kills bound=0_bad seconds={run.seconds:.0f} by_role={json.dumps(run.kills_by_role())}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="candor-kill-") as shared:
        Undisturbed.folder = pathlib.Path(shared)
        unittest.main(verbosity=2, exit=True)
