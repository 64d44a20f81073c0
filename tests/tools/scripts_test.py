"""The shell scripts: every one explains itself, and set-up's refusals name what is wrong and change nothing."""

import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = ["run.sh", "test.sh", ".ci/run", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tools").glob("*.sh"))]


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, **options)


class Scripts(unittest.TestCase):
    def test_every_script_is_runnable_and_has_help(self):
        self.assertGreaterEqual(len(SCRIPTS), 6)
        for name in SCRIPTS:
            with self.subTest(name):
                result = run(ROOT / name, "--help")
                self.assertEqual((result.returncode, result.stderr), (0, ""))
                self.assertGreater(len(result.stdout), 40)
                self.assertIn("set -euo pipefail", (ROOT / name).read_text(encoding="utf-8"))

    def test_an_unknown_option_is_refused(self):
        self.assertEqual(run(ROOT / "tools/setup.sh", "--no-such-option").returncode, 2)


class SetUp(unittest.TestCase):
    """On a copy of what set-up reads, so that nothing here is changed."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        shutil.copytree(ROOT / "tools", self.root / "tools", ignore=shutil.ignore_patterns("__pycache__"))
        (self.root / "text/rust").mkdir(parents=True)
        shutil.copy(ROOT / "text/rust/Cargo.lock", self.root / "text/rust")

    def tearDown(self):
        self.folder.cleanup()

    def test_the_plan_names_every_step_and_does_none(self):
        result = run(self.root / "tools/setup.sh", "--plan", "--gpu", "--parity")
        self.assertEqual(result.returncode, 0, result.stderr)
        for word in ["Debian packages", "LibTorch", "CUDA libraries", "transformers", "prepare", "crates", "to download", "memory", "minutes"]:
            self.assertIn(word, result.stdout)
        self.assertFalse((self.root / ".deps").exists())

    def test_fuzzers_need_packages_that_others_do_not(self):
        (self.root / "tools/debian-packages.txt").write_text("")
        versions = self.root / "tools/versions.env"
        versions.write_text(versions.read_text() + "FUZZ_DEBIAN_PACKAGES='no-such-package another'\n")
        self.assertIn("0 missing", run(self.root / "tools/setup.sh", "--plan").stdout)
        self.assertIn("2 missing", run(self.root / "tools/setup.sh", "--plan", "--fuzz").stdout)

    def test_a_folder_that_is_no_torch_is_refused(self):
        result = run(self.root / "tools/setup.sh", "--torch", str(self.root))
        self.assertEqual(result.returncode, 1)
        self.assertIn("libtorch_cpu.so", result.stderr)
        self.assertFalse((self.root / ".deps").exists())

    def test_a_named_torch_is_used_and_remembered(self):
        for name in ["lib/libtorch_cpu.so", "include/ATen/ATen.h"]:
            (self.root / "t" / name).parent.mkdir(parents=True)
            (self.root / "t" / name).touch()
        (self.root / ".deps").mkdir()
        (self.root / ".deps/torch.path").write_text(str(self.root / "t") + "\n")
        result = run(self.root / "tools/setup.sh", "--plan")
        self.assertIn(f"given  LibTorch: {self.root / 't'}", result.stdout)
        self.assertNotIn("given", run(self.root / "tools/setup.sh", "--plan", "--torch", "none").stdout)

    def test_no_system_names_what_is_missing(self):
        (self.root / "tools/debian-packages.txt").write_text("no-such-package-of-any-kind  a test\n")
        script = (self.root / "tools/setup.sh").read_text(encoding="utf-8")
        for name in ["torch", "prepare", "crates"]:  # taken as done, so that nothing is downloaded
            script = script.replace(f"needs_{name}() {{", f"needs_{name}() {{ return 1; ", 1)
        (self.root / "tools/setup.sh").write_text(script, encoding="utf-8")
        result = run(self.root / "tools/setup.sh", "--no-system")
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn("no-such-package-of-any-kind", result.stderr)


if __name__ == "__main__":
    unittest.main()
