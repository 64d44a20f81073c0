"""`candor sweep` on the tiny recipe through real processes: listed, stopped in its second point, gone on with, shown without running again.

usage: sweep_test.py CANDOR SOURCE_FOLDER
"""
import json
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

from processes import CANDOR, SOURCE, steps_done


class SweepRun(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="candor-sweep-")
        self.sweep = pathlib.Path(self.folder.name) / "sweep"
        self.command = [CANDOR, "sweep", "recipes/tiny.toml", "trainer.lr=1e-3,1e-9", "trainer.steps=8", "trainer.ranks=1", "sft.epochs=4",
                        f"stage_cache={self.folder.name}/stages", "--dir", str(self.sweep)]

    def tearDown(self):
        self.folder.cleanup()

    def call(self, *more):
        return subprocess.run([*self.command, *more], cwd=SOURCE, capture_output=True, text=True, timeout=240)

    def ok(self, *more):
        answer = self.call(*more)
        self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)
        return answer.stdout

    def stop_in_the_second_point(self):
        process = subprocess.Popen([*self.command, "--keep-checkpoints"], cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        deadline = time.monotonic() + 180
        while steps_done(self.sweep / "lr-1e-9") < 2:
            self.assertIsNone(process.poll(), process.stdout.read() if process.poll() is not None else "")
            self.assertLess(time.monotonic(), deadline, "the second point's second step was not reached")
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
        self.assertNotEqual(process.returncode, 0, output)
        self.assertIn("the same command goes on", output)

    def test_a_sweep_is_listed_stopped_gone_on_with_and_shown(self):
        listed = self.ok("--dry-run")
        self.assertIn("lr-1e-9", listed)
        self.assertIn("2 left", listed)
        self.assertFalse(self.sweep.exists(), "a dry run leaves nothing")
        self.stop_in_the_second_point()
        states = {point["name"]: point["state"] for point in json.loads((self.sweep / "sweep.json").read_text())["points"]}
        self.assertEqual(states, {"lr-1e-3": "finished", "lr-1e-9": "interrupted"})
        self.assertIn("1 left", self.ok("--dry-run"))
        self.assertTrue((self.sweep / "lr-1e-3/checkpoints/latest").exists(), "this call was told to keep them")
        self.assertTrue((self.sweep / "lr-1e-9/checkpoints/latest").exists(), "the other point must go on")
        first_done = (self.sweep / "lr-1e-3/done.json").stat().st_mtime_ns
        points = json.loads(self.ok("--json"))["points"]
        self.assertEqual([point["state"] for point in points], ["finished", "finished"])
        self.assertEqual((self.sweep / "lr-1e-3/done.json").stat().st_mtime_ns, first_done, "a finished point was run again")
        for point in points:
            after = json.loads((self.sweep / point["name"] / "summary.json").read_text())["after"]["held_out"]
            self.assertEqual((point["accuracy"], point["brier"], point["brier_interval"]), (after["accuracy"], after["brier"], after["brier_interval"]))
            beaten = any(other["accuracy"] >= point["accuracy"] and other["brier"] <= point["brier"] and
                         (other["accuracy"], other["brier"]) != (point["accuracy"], point["brier"]) for other in points)
            self.assertEqual(point["pareto"], not beaten)
            self.assertEqual(steps_done(self.sweep / point["name"]), 8)
        left = {name.name for name in (self.sweep / "lr-1e-9").iterdir()}
        self.assertFalse(left & {"checkpoints", "weights"}, "what only going on would need was kept")
        self.assertLessEqual({"final", "ledger", "metrics.jsonl", "report.html"}, left)
        self.assertNotEqual(points[0]["brier"], points[1]["brier"], "the setting changed nothing")
        page = (self.sweep / "sweep.html").read_text()
        self.assertEqual(page.count("<circle"), 2)
        self.assertNotIn("http", page)
        self.assertIn("finished", self.ok())
        self.check_arms()
        other = self.call("trainer.group_size=4")
        self.assertNotEqual(other.returncode, 0)
        self.assertIn("group_size", other.stderr)

    def check_arms(self):
        page = self.sweep / "arms.html"
        runs = [str(self.sweep / name) for name in ("lr-1e-3", "lr-1e-9")]
        compared = subprocess.run([CANDOR, "compare", "--seeds", "--json", "--html", str(page), *runs], cwd=SOURCE, capture_output=True, text=True, timeout=60)
        self.assertEqual(compared.returncode, 0, compared.stderr)
        arms = json.loads(compared.stdout)["arms"]
        self.assertEqual([(arm["name"], arm["runs"]) for arm in arms], [("lr-1e-3", ["lr-1e-3"]), ("lr-1e-9", ["lr-1e-9"])])
        after = json.loads((self.sweep / "lr-1e-3/summary.json").read_text())["after"]["held_out"]
        self.assertAlmostEqual(arms[0]["figures"]["accuracy"]["value"], after["accuracy"], places=9)
        self.assertAlmostEqual(arms[0]["figures"]["brier"]["value"], after["brier"], places=9)
        self.assertIn("lr-1e-9", page.read_text())

    def test_a_file_of_arms_is_listed_round_by_round(self):
        arms = pathlib.Path(self.folder.name) / "arms.toml"
        arms.write_text(f'seeds = 2\n[[arm]]\nrecipe = "{SOURCE}/recipes/tiny.toml"\n[[arm]]\nrecipe = "{SOURCE}/recipes/objectives/rlvr.toml"\nseeds = 1\n')
        listed = subprocess.run([CANDOR, "sweep", str(arms), "--dry-run"], cwd=SOURCE, capture_output=True, text=True, timeout=60)
        self.assertEqual(listed.returncode, 0, listed.stderr)
        self.assertEqual([line.split()[1] for line in listed.stdout.splitlines()[:3]], ["tiny_seed-1", "rlvr_seed-1", "tiny_seed-2"])


if __name__ == "__main__":
    unittest.main()
