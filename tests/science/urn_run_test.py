"""The urn arms' transformer through the real processes, one seed each: what docs/science.md says of many seeds, short enough for every day. Short: 30 steps of the read-out, and of
accuracy alone as its control. Whole: calibration at three times accuracy's weight, over all its steps.

usage: urn_run_test.py CANDOR SOURCE_FOLDER Short | Whole
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

CANDOR = str(pathlib.Path(sys.argv.pop(1)).resolve())
SOURCE = pathlib.Path(sys.argv.pop(1)).resolve()


class Urns(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory(prefix="candor-urns-")
        cls.folder = pathlib.Path(cls.holder.name)
        subprocess.run([sys.executable, SOURCE / "tests/science/urn.py", cls.folder], check=True, capture_output=True)

    @classmethod
    def tearDownClass(cls):
        cls.holder.cleanup()

    def learn(self, arm, *settings):
        """The run's figures, and those against the known chances."""
        data = [f'data.train=[{{path="{self.folder}/train.jsonl"}}]', f'eval=[{{name="test", path="{self.folder}/test.jsonl", n=600}}]',
                f'sft_rows.path="{self.folder}/form.jsonl"', f'stage_cache="{self.folder}/stages"', "prepare.command=[]", "prepare.creates=[]"]
        run = self.folder / arm
        answer = subprocess.run([CANDOR, "run", f"recipes/compare/urn-{arm}.toml", *data, *settings, "--run-dir", run], cwd=SOURCE, capture_output=True, text=True, timeout=540)
        self.assertEqual(answer.returncode, 0, answer.stdout[-3000:] + answer.stderr[-3000:])
        said = subprocess.run([CANDOR, "compare", "--json", "--truth", self.folder / "test.jsonl", run], cwd=SOURCE, capture_output=True, text=True, timeout=60)
        self.assertEqual(said.returncode, 0, said.stderr)
        figures = json.loads(said.stdout)
        return figures["runs"][0], figures["truth"][0]


class Short(Urns):
    def test_a_read_out_finds_the_chances_and_a_number_that_nothing_rewards_does_not(self):
        told, truth = self.learn("readout", "trainer.steps=30")
        drifting, off = self.learn("rlvr", "trainer.steps=30")
        self.assertGreater(told["auroc"], 0.75)
        self.assertLess(drifting["auroc"], 0.7, "the control discriminates")
        self.assertLess(truth["confidence_error"], 0.8 * off["confidence_error"])
        self.assertGreater(off["accuracy"], 0.25, "accuracy alone did not learn to answer")


class Whole(Urns):
    def test_calibration_that_outweighs_accuracy_learns_to_be_surely_wrong(self):
        _, truth = self.learn("heavy")
        self.assertLess(truth["accuracy"], 0.1)
        self.assertGreater(truth["surely_wrong"], 0.6)


if __name__ == "__main__":
    unittest.main()
