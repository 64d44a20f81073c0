"""Exact resume (R3): in deterministic mode a run that is interrupted at any phase of a step ends with the same bits as one that nobody disturbed: weights, averaged weights, optimizer state,
what became of every group, and the calibration record. And when the newest checkpoint turns out to be damaged, or all of them, the run goes back and ends with the same bits as well.

usage: exact_resume.py CANDOR SOURCE_FOLDER everyday | all
"""
import hashlib
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from faulted_run import CANDOR, DEADLINE_S, FaultedRun, Run, Undisturbed, steps_done  # noqa: E402

MODE = sys.argv.pop(1) if len(sys.argv) > 1 else "everyday"
STEPS = 20
LEDGER = ("issued", "trained", "evaluated", "dropped", "dropped_by_reason", "trained_by_step", "in_flight", "last_step", "finished", "violations")
EVERYDAY = [("learner.plan", "trainer-0", 3), ("learner.fetch", "trainer-1", 4), ("learner.reduce", "trainer-0", 12), ("learner.step", "trainer-1", 3), ("checkpoint.shard", "trainer-1", 1),
            ("checkpoint.manifest", "trainer-0", 1), ("checkpoint.rename", "trainer-0", 1), ("coordinator.commit", "coordinator", 40), ("rollout.send", "rollout-0", 10)]
ALL = [
    [("learner.plan", "trainer-1", 2), ("learner.vote", "trainer-0", 2), ("learner.forward", "trainer-0", 3), ("learner.forward", "trainer-1", 2), ("learner.backward", "trainer-0", 4),
     ("learner.reduce", "trainer-1", 5), ("learner.stepped", "trainer-0", 2), ("learner.stepped", "trainer-1", 6)],
    [("weights.streamed", "trainer-0", 3), ("weights.manifest", "trainer-0", 3), ("weights.renamed", "trainer-0", 2), ("learner.publish", "trainer-0", 3), ("learner.report", "trainer-0", 3),
     ("learner.reported", "trainer-0", 4)],
    # A new life counts anew and writes three or four checkpoints more: only the first of each moment is sure to come.
    [("checkpoint.shard", "trainer-0", 1), ("checkpoint.manifest", "trainer-0", 1), ("checkpoint.rename", "trainer-0", 1), ("checkpoint.pointer", "trainer-0", 1),
     ("checkpoint.retention", "trainer-0", 1), ("checkpoint.announce", "trainer-0", 1)],
    [("rollout.load", "rollout-0", 2), ("rollout.generate", "rollout-0", 25), ("rollout.sent", "rollout-0", 4), ("reward.score", "reward-0", 60), ("reward.spool", "reward-0", 5),
     ("reward.acked", "reward-0", 5), ("coordinator.committed", "coordinator", 30), ("coordinator.line", "coordinator", 3), ("coordinator.clone", "coordinator", 1)],
]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def end_of(run):
    """All that must not depend on what happened on the way."""
    newest = {line["step"]: line for line in run.metric_lines()}
    record = {step: {key: value for key, value in line.items() if key.startswith(("calibration/", "labels/")) or key in ("loss/all", "optim/grad_norm")} for step, line in newest.items()}
    evals = {}
    for line in (run.path / "evals.jsonl").read_text().splitlines():
        row = json.loads(line)
        evals[row["step"]] = {key: value for key, value in row.items() if key != "wall_s"}
    checkpoint = run.path / "checkpoints" / f"step_{run.steps:08d}"
    manifest = json.loads((checkpoint / "manifest.json").read_text())["body"]
    books = run.ledger()
    return {"weights": run.final_weights(), "optimizer": {file.name: sha256(file) for file in sorted(checkpoint.glob("rank_*.safetensors"))}, "updates": manifest["updates"],
            "cursor": manifest["books"]["prompt_cursor"], "rng": manifest["books"]["rng"], "ledger": {key: books[key] for key in LEDGER}, "record": record, "evals": evals}


class ExactResume(FaultedRun):
    def assertSameEnd(self, run):
        want, got = end_of(Undisturbed.of(STEPS)), end_of(run)
        self.assertEqual(len(want["optimizer"]), 2)
        for key, value in want.items():
            self.assertEqual(got[key], value, key)

    def disturb(self, kills):
        run = self.faulted(kills, STEPS)
        fired = run.fired()
        self.assertEqual([f"{point}.{process}" for point, process, _ in kills if f"{point}.{process}" not in fired], [], "moments that were never reached\n" + run.output)
        self.assertSameEnd(run)
        return len(kills)


@unittest.skipUnless(MODE == "everyday", "everyday")
class SomePhases(ExactResume):
    def test_kills(self):
        started = time.monotonic()
        kills = self.disturb(EVERYDAY)
        print(f"candor-figure R3 kills={kills} differing=0 bound=0 seconds={time.monotonic() - started:.0f}", flush=True)

    def test_the_checkpoints_are_listed_and_exported(self):
        run = Undisturbed.of(STEPS)
        listed = subprocess.run([CANDOR, "checkpoint", "ls", str(run.path), "--json"], capture_output=True, text=True)
        self.assertEqual(listed.returncode, 0, listed.stderr)
        rows = json.loads(listed.stdout)
        self.assertEqual([(row["step"], row["state"], row["current"]) for row in rows], [(20, "complete", True), (15, "complete", False)])
        self.assertGreater(rows[0]["ledger_sequence"], rows[1]["ledger_sequence"])
        self.assertIn("brier", rows[0]["figures"])
        lines = run.metric_lines()
        stalls, seconds = [line.get("checkpoint/stall_s", 0) for line in lines], [line["time/step"] for line in lines if "time/step" in line]
        self.assertEqual(sum(1 for stall in stalls if stall > 0), 3, "snapshots after steps 5, 10 and 15 are seen in the steps after them")
        self.assertEqual({line.get("checkpoint/failed", 0) for line in lines}, {0})
        print(f"candor-figure R8 stall_max={max(stalls):.4f} s bound=0.2 share_of_training={sum(stalls) / sum(seconds):.4f} bound=0.01", flush=True)
        exported = pathlib.Path(self.folder.name) / "exported"
        answer = subprocess.run([CANDOR, "checkpoint", "export", str(run.path), str(exported), "--dtype", "fp32"], capture_output=True, text=True)
        self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)
        self.assertEqual(sha256(exported / "model.safetensors"), run.final_weights(), "the checkpoint of the last step holds the final policy")
        self.assertTrue((exported / "confidence.json").exists())
        missing = subprocess.run([CANDOR, "checkpoint", "export", str(run.path), str(exported), "--step", "7"], capture_output=True, text=True)
        self.assertNotEqual(missing.returncode, 0)
        self.assertIn("there is no checkpoint of step 7", missing.stderr)

    def test_the_comparison_can_fail(self):
        ours, other = end_of(Undisturbed.of(STEPS)), end_of(Undisturbed.of(STEPS, seed=2))
        for key in ("weights", "optimizer", "record", "rng"):
            self.assertNotEqual(ours[key], other[key], key)


@unittest.skipUnless(MODE == "all", "all")
class EveryPhase(ExactResume):
    def test_kills(self):
        kills = 0
        for group in ALL:
            with self.subTest(kills=group):
                self.setUp()
                kills += self.disturb(group)
                self.tearDown()
        print(f"candor-figure R3 kills={kills} differing=0 bound=0", flush=True)


class DamagedCheckpoints(ExactResume):
    """Stops a run, damages its newest checkpoints and goes on."""

    def go_on_after_damage(self, how_many):
        run = Run(self.folder.name, STEPS)
        deadline = time.monotonic() + DEADLINE_S
        while steps_done(run.path) < 13 and time.monotonic() < deadline:
            self.assertIsNone(run.process.poll(), run.read_output())
            time.sleep(0.02)
        run.process.send_signal(signal.SIGINT)
        run.process.wait(60)
        checkpoints = sorted((run.path / "checkpoints").glob("step_*"))
        self.assertEqual(len(checkpoints), 2, "keep_last")
        for checkpoint in checkpoints[-how_many:]:
            shard = checkpoint / "rank_1.safetensors"
            data = bytearray(shard.read_bytes())
            data[len(data) // 2] ^= 1
            shard.write_bytes(data)
        verified = subprocess.run([CANDOR, "checkpoint", "verify", str(run.path)], capture_output=True, text=True)
        self.assertEqual(verified.returncode, 3, verified.stdout + verified.stderr)
        self.assertIn("rank_1.safetensors", verified.stdout)
        self.assertIn("is damaged between bytes", verified.stdout)
        again = Run(self.folder.name, STEPS, resume=True).watch()
        self.assertEqual(again.process.returncode, 0, again.output + again.logs())
        self.assertIn("cannot be used, trying the one before it", (again.path / "logs" / "trainer-0.log").read_text())
        self.assertSameEnd(again)
        self.assertGreater(again.ledger()["segments"], 1)

    def test_the_newest_is_damaged(self):
        self.go_on_after_damage(1)

    @unittest.skipUnless(MODE == "all", "all")
    def test_all_are_damaged(self):
        self.go_on_after_damage(2)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="candor-exact-") as shared:
        Undisturbed.folder = pathlib.Path(shared)
        unittest.main(verbosity=2, exit=True)
