"""The tiny recipe through the real processes: a rollout and the coordinator are killed in the middle, the run still ends, and the ledger accounts for every group.

usage: tiny_run_test.py CANDOR SOURCE_FOLDER
"""
import json
import signal
import subprocess
import unittest

from processes import CANDOR, SOURCE, RunCase, pids_of, start


class TinyRun(RunCase):
    def start(self, *arguments):
        return start("recipes/tiny.toml", self.run, f"stage_cache={self.folder.name}/stages", *arguments)

    def test_survives_kills_and_balances(self):
        process = self.start()
        for step, role in ((10, "rollout"), (20, "coordinator"), (30, "reward"), (40, "trainer")):
            self.wait_for_step(process, step)
            self.kill(role)
        output = self.finish(process)
        self.assertIn("report:", output)
        for name in ("summary.json", "report.html", "done.json", "final/config.json", "final/confidence.json"):
            self.assertTrue((self.run / name).exists(), name)
        balance = self.ledger()
        self.assertEqual(balance["in_flight"], 0, balance)
        summary = json.loads((self.run / "summary.json").read_text())
        before, after = summary["before"]["held_out"], summary["after"]["held_out"]
        self.assertEqual(after["n"], 200)
        self.assertLess(after["brier"], before["brier"], "the slot learned nothing")
        # A second run over a finished one shows its result.
        again = subprocess.run([CANDOR, "run", "recipes/tiny.toml", "--run-dir", str(self.run)], cwd=SOURCE, capture_output=True, text=True)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertIn("finished run", again.stdout)

    def test_stops_cleanly_and_resumes(self):
        process = self.start()
        self.wait_for_step(process, 15)
        self.assert_no_secret_is_seen()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, output)
        for role in ("rollout", "coordinator", "reward", "trainer"):
            self.assertEqual(pids_of(role, self.run), [], f"{role} was left behind")
        refused = subprocess.run([CANDOR, "run", "recipes/tiny.toml", "--run-dir", str(self.run)], cwd=SOURCE, capture_output=True, text=True)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("--resume", refused.stderr)
        resumed = self.start("--resume")
        self.finish(resumed)
        self.assertEqual(self.ledger()["in_flight"], 0)

    def test_a_run_whose_last_evaluation_is_not_done_may_ask_for_more_steps(self):
        few = ["eval.0.n=20", "eval.1.n=10", "eval.1.every=0"]
        self.finish(self.start("trainer.steps=3", *few))
        first = (self.run / "final/model.safetensors").read_bytes()
        # What a kill between the last step and the end of the evaluation leaves; with that of another one, half of it is there.
        (self.run / "done.json").unlink()
        (self.run / "eval/after.jsonl").rename(self.run / "stale.jsonl")
        (self.run / "eval/after.jsonl").write_text("")
        output = self.finish(self.start("trainer.steps=5", *few, "--resume"))
        self.assertIn("going on behind step 3, which was the last: now to step 5", output)
        self.assertEqual(self.ledger()["last_step"], 5)
        self.assertEqual(json.loads((self.run / "rl-done.json").read_text())["steps"], 5)
        self.assertNotEqual((self.run / "final/model.safetensors").read_bytes(), first, "the policy of step 3 is still the result")
        self.assertTrue((self.run / "eval/after.jsonl").read_text(), "the answers of step 3 are still the result")
        self.assertEqual(self.ledger()["in_flight"], 0)

    def test_without_an_eval_there_is_no_table(self):
        for word in ("there is no table", "holds a finished run"):
            answer = subprocess.run([CANDOR, "run", "recipes/tiny.toml", "--run-dir", str(self.run), f"stage_cache={self.folder.name}/stages", "trainer.steps=3", "eval=[]"], cwd=SOURCE,
                                    capture_output=True, text=True, timeout=120)
            self.assertEqual(answer.returncode, 0, answer.stderr)
            self.assertIn(word, answer.stdout)

    def test_bad_input_is_named(self):
        cases = [(["trainer.stepz=3"], "did you mean `steps`"), (["model=nowhere"], "nowhere"), (["eval.7.name=x"], "`eval` is a list of 2"),
                 (["objective.0.target=0.5"], "nothing reads `objective[0].target`"), (["data.train.0.path=no.jsonl"], "no.jsonl")]
        for overrides, words in cases:
            answer = subprocess.run([CANDOR, "run", "recipes/tiny.toml", "--run-dir", str(self.run) + "-bad", f"stage_cache={self.folder.name}/s", *overrides], cwd=SOURCE,
                                    capture_output=True, text=True, timeout=60)
            self.assertNotEqual(answer.returncode, 0, overrides)
            self.assertIn(words, answer.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
