"""A run that is told to end while it fine-tunes (SIGUSR1 is how Slurm announces a time limit or a pre-emption): the stage keeps what it learned, the next start goes on from there, and the
stage ends with the bits of one that was never stopped.

usage: stopped_stage_test.py CANDOR SOURCE_FOLDER
"""
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import time
import unittest

from processes import CANDOR, SOURCE, RunCase

SETTINGS = ["sft.steps=12", "trainer.steps=2", "eval=[]", "deterministic=true"]


class StoppedStage(RunCase):
    def begin(self, *arguments):
        """Steps of a quarter of a second."""
        command = [CANDOR, "run", "recipes/tiny.toml", "--run-dir", str(self.run), f"stage_cache={self.folder.name}/stages", *SETTINGS, *arguments]
        return subprocess.Popen(command, cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ, CANDOR_FAULT="learner.step=delay:250"))

    def stage_weights(self, folder):
        stages = json.loads((pathlib.Path(folder) / "stages.json").read_text())
        return hashlib.sha256((pathlib.Path(stages[0]["folder"]) / "model" / "model.safetensors").read_bytes()).hexdigest()

    def stop_in_the_stage(self, signum):
        process = self.begin(*(["--resume"] if (self.run / "recipe.toml").exists() else []))
        lines = []
        while not any(" 3/12" in line or " 8/12" in line for line in lines[-1:]):  # one in each tenth of the way is told of
            line = process.stdout.readline()
            self.assertTrue(line, "the stage ended early:\n" + "".join(lines))
            lines.append(line)
        process.send_signal(signum)
        rest, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, "".join(lines) + rest)
        self.assertTrue(list((self.run / "unfinished").glob("sft-*/sft/checkpoints/step_*")), rest)
        return "".join(lines)

    def test_a_stage_goes_on_where_it_was(self):
        whole = self.run.parent / "whole"
        answer = subprocess.run([CANDOR, "run", "recipes/tiny.toml", "--run-dir", str(whole), f"stage_cache={self.folder.name}/other", *SETTINGS], cwd=SOURCE, capture_output=True, text=True)
        self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)
        self.assertNotIn("goes on", self.stop_in_the_stage(signal.SIGUSR1))
        self.assertIn("sft goes on after step", self.stop_in_the_stage(signal.SIGTERM))
        process = self.begin("--resume")
        output = self.finish(process)
        self.assertIn("sft goes on after step", output)
        self.assertNotIn("sft 3/12", output)
        self.assertEqual(self.stage_weights(self.run), self.stage_weights(whole))
        self.assertFalse((self.run / "unfinished").exists())

    def test_what_is_kept_belongs_to_one_training(self):
        keep, out = self.run.parent / "keep", self.run.parent / "out"
        command = [CANDOR, "sft", "recipes/tiny/model", "recipes/tiny/format.jsonl", str(out), "--recipe", "recipes/tiny.toml", "--keep", str(keep), "sft.steps=500"]
        process = subprocess.Popen(command, cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        self.assertIn("the same command goes on from there", output)
        other = subprocess.run([*command, "sft.lr=1e-4"], cwd=SOURCE, capture_output=True, text=True, timeout=60)
        self.assertEqual(other.returncode, 3, other.stderr)
        self.assertIn("belongs to another model, other rows or other settings", other.stderr)
        deadline = time.monotonic() + 60
        again = subprocess.Popen(command, cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        first = again.stdout.readline()
        again.send_signal(signal.SIGINT)
        again.communicate(timeout=60)
        self.assertLess(time.monotonic(), deadline)
        self.assertIn("sft goes on after step", first)


if __name__ == "__main__":
    unittest.main(verbosity=2)
