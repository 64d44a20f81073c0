"""recipes/paper: every recipe is explained without its model and data, with rows that `candor data` made of small files, and submits; one of each kind learns on the tiny model.

usage: paper_recipes_test.py CANDOR SOURCE_FOLDER
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

CANDOR = str(pathlib.Path(sys.argv.pop(1)).resolve())
SOURCE = pathlib.Path(sys.argv.pop(1)).resolve()
RECIPES = sorted(path.name for path in (SOURCE / "recipes/paper").glob("*.toml") if not path.name.endswith("-base.toml"))
SMALL = ["--train-rows", "24", "--dev-rows", "4", "--test-rows", "4"]


def hotpot(first, count):
    rows = []
    for i in range(first, first + count):
        context = [[f"Title {i}.{k}", [f"It is the {k}th of {i}.", " More."]] for k in range(10)]
        rows.append({"_id": f"q{i}", "question": f"Which one is {i}?", "answer": f"the {i}th", "supporting_facts": [[f"Title {i}.1", 0], [f"Title {i}.4", 1]], "context": context, "type": "bridge", "level": "hard"})
    return json.dumps(rows)


class PaperRecipes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="candor-paper-")
        cls.folder = pathlib.Path(cls.temporary.name)
        (cls.folder / "train.json").write_text(hotpot(0, 40))
        (cls.folder / "dev.json").write_text(hotpot(100, 20))
        (cls.folder / "math.jsonl").write_text("".join(json.dumps({"problem": f"{i} + 0 = ?", "answer": str(i), "source": "made", "llama8b_solve_rate": 0.5}) + "\n" for i in range(40)))
        cls.ok("data", "hotpotqa", cls.folder / "train.json", cls.folder / "dev.json", "--out", cls.folder / "hotpotqa", *SMALL, "--vanilla-rows", "4")
        cls.ok("data", "bigmath", cls.folder / "math.jsonl", "--out", cls.folder / "bigmath", *SMALL)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    @classmethod
    def ok(cls, *words):
        answer = subprocess.run([CANDOR, *map(str, words)], cwd=SOURCE, capture_output=True, text=True, timeout=120)
        assert answer.returncode == 0, f"{words}\n{answer.stdout}{answer.stderr}"
        return answer.stdout

    def with_rows(self, recipe):
        """The recipe on the small files, its own paths replaced; the tiny model, whose slot tokens begin with a blank."""
        data = self.folder / recipe.split("-")[0]
        evals = ", ".join(f'{{name = "{name}", path = "{data}/{name}.jsonl", role = "{role}"}}' for name, role in (("test", "held_out"), ("dev", "dev")))
        words = ["model=recipes/tiny/model", "prepare.command=[]", "prepare.creates=[]", f'data.train=[{{path = "{data}/train.jsonl"}}]', f"eval=[{evals}]"]
        return words + (['format.slot_high=" high"', 'format.slot_low=" low"'] if recipe.endswith("-2026.toml") else [])

    def test_there_are_the_published_runs_and_ours(self):
        kinds = ["2026", "rlcr", "rlcr-code", "rlvr", "rlvr-code"]
        self.assertEqual(RECIPES, sorted([f"{data}-{kind}.toml" for data in ("bigmath", "hotpotqa") for kind in kinds] + ["bigmath-sft-rlcr-code.toml"]))

    def test_each_is_explained_without_model_and_data(self):
        for recipe in RECIPES:
            said = self.ok("check", f"recipes/paper/{recipe}", "prepare.creates=['no/such/file']")
            self.assertIn("not looked at", said)
            self.assertIn("Nothing known speaks against it", said, recipe)
            if "rlvr" not in recipe:
                self.assertIn("the probability that this answer is right", said)

    def test_each_is_whole_with_prepared_rows(self):
        for recipe in RECIPES:
            said = self.ok("check", f"recipes/paper/{recipe}", *self.with_rows(recipe))
            self.assertNotIn("not looked at", said)
            self.assertIn("Nothing known speaks against it", said, recipe)

    def test_the_settings_are_those_of_the_paper(self):
        said = self.ok("run", "recipes/paper/hotpotqa-rlcr-code.toml", "--dry-run")
        for line in ("group_size = 32", "prompts_per_step = 64", "steps = 312", "lr = 1e-06", "warmup_steps = 16", "temperature = 0.7", "max_new_tokens = 1536", 'channel = "rlcr_code"', 'advantage = "group_mean"', "seed = 43"):
            self.assertIn(line, said)
        said = self.ok("run", "recipes/paper/bigmath-rlvr.toml", "--dry-run")
        for line in ("prompts_per_step = 72", "steps = 208", "lr = 5e-06", "warmup_steps = 42", 'schedule = "linear"', "mask_truncated = true", "max_new_tokens = 4096", 'confidence = "none"'):
            self.assertIn(line, said)

    def test_preparing_says_what_is_missing(self):
        answer = subprocess.run(["recipes/paper/prepare.sh", "hotpotqa", "no-such-model"], cwd=SOURCE, capture_output=True, text=True)
        self.assertEqual(answer.returncode, 1)
        self.assertIn("models/no-such-model/config.json is missing", answer.stderr)

    def test_each_kind_learns_a_step(self):
        small = ["rollout.max_new_tokens=24", "rollout.workers=1", "rollout.kv_memory_mb=256", "trainer.ranks=1", "trainer.sharding=none", "trainer.steps=2", "trainer.prompts_per_step=3", "trainer.group_size=4", "format.system_prompt=''",
                 "trainer.tokens_per_microbatch=2048", "coordinator.linger_s=1", "trainer.transfer=files", "trainer.warmup_steps=0", "dtype=fp32", "eval=[]"]
        for recipe in ("bigmath-2026.toml", "bigmath-rlcr-code.toml", "bigmath-rlvr.toml"):
            run = self.folder / recipe
            words = [word for word in self.with_rows(recipe) if not word.startswith("eval=")] + [word for word in small if "transfer" not in word] + ["trainer.relay_bind=tcp://127.0.0.1:0"]
            self.ok("run", f"recipes/paper/{recipe}", "--run-dir", run, "--quiet", *words)
            steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            self.assertEqual([step["step"] for step in steps], [1, 2], recipe)


if __name__ == "__main__":
    unittest.main(verbosity=2)
