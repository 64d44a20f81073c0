"""cmake --install makes a folder that can be moved: after a move, with an empty environment, its programs start, find everything relative to themselves and check their recipes.

usage: install_test.py CMAKE BUILD_FOLDER SOURCE_FOLDER
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

CMAKE, BUILD, SOURCE = sys.argv[1:4]
del sys.argv[1:4]
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}


def words(*command, **options):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, **options)


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if subprocess.run(["sh", "-c", "command -v patchelf"], capture_output=True).returncode != 0:
            raise unittest.SkipTest("no patchelf here")
        cls.folder = tempfile.TemporaryDirectory(prefix="candor-install-")
        made = pathlib.Path(cls.folder.name) / "made"
        answer = words(CMAKE, "--install", BUILD, "--prefix", made, env=dict(os.environ, CANDOR_INSTALL_TORCH="link"))
        assert answer.returncode == 0, answer.stdout + answer.stderr
        cls.prefix = pathlib.Path(cls.folder.name) / "moved" / "elsewhere"
        cls.prefix.parent.mkdir()
        made.rename(cls.prefix)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def candor(self, *arguments, **options):
        return words(self.prefix / "bin" / "candor", *arguments, env=ENVIRONMENT, **options)

    def test_the_moved_programs_start(self):
        answer = self.candor("--version")
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertIn("LibTorch", answer.stdout)

    def test_doctor_finds_candor_torch(self):
        answer = self.candor("doctor", cwd=self.folder.name)
        self.assertIn("candor-torch with LibTorch", answer.stdout)
        self.assertRegex(answer.stdout, r"ok +candor-torch with LibTorch")
        for line in ("open files (nofile)", "locked memory", "processes (nproc)", "user name spaces", "link(2)", "rename over a file", "fcntl lock", "write and fsync", "clock and file times",
                     "CUDA driver", "NCCL 2", "PMIx"):
            self.assertIn(line, answer.stdout)

    def test_recipes_and_modulefile_come_along(self):
        answer = self.candor("check", "recipes/tiny.toml", cwd=self.prefix / "share" / "candor")
        self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)
        modulefile = list((self.prefix / "share" / "modulefiles" / "candor").iterdir())[0].read_text()
        self.assertIn("ModulesCurrentModulefile", modulefile)

    def test_no_path_of_the_build_is_left(self):
        for program in ("candor", "candor-torch"):
            paths = re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", words("readelf", "-d", self.prefix / "bin" / program).stdout)
            self.assertEqual(len(paths), 1, paths)
            self.assertTrue(all(part.startswith("$ORIGIN") for part in paths[0].split(":")), paths)
        loaded = words("ldd", self.prefix / "bin" / "candor", env=ENVIRONMENT).stdout
        outside = [line for line in loaded.splitlines() if "=>" in line and str(self.prefix) not in line]
        self.assertTrue(all(re.search(r"lib(c|m|dl|pthread|rt|resolv)\.so", line) for line in outside), outside)

    def test_the_torch_of_elsewhere_is_found(self):
        (self.prefix / "lib" / "candor" / "torch").rename(self.prefix / "lib" / "candor" / "torch-away")
        try:
            self.assertNotEqual(self.candor("--version").returncode, 0)  # the control: without any it does not start
            torch = (self.prefix / "lib" / "candor" / "torch-away").resolve()
            answer = self.candor("--torch", torch, "--version")
            self.assertEqual(answer.returncode, 0, answer.stderr)
        finally:
            (self.prefix / "lib" / "candor" / "torch-away").rename(self.prefix / "lib" / "candor" / "torch")


class Copy(unittest.TestCase):
    """The default, and what an image is made of: LibTorch comes along, and nothing outside the folder but the C library is loaded."""

    def test_it_stands_alone(self):
        if subprocess.run(["sh", "-c", "command -v patchelf"], capture_output=True).returncode != 0:
            self.skipTest("no patchelf here")
        with tempfile.TemporaryDirectory(prefix="candor-install-") as folder:
            prefix = pathlib.Path(folder) / "candor"
            made = subprocess.run([CMAKE, "--install", BUILD, "--strip", "--prefix", prefix], env=dict(os.environ, CANDOR_INSTALL_TORCH="copy"), capture_output=True, text=True)
            self.assertEqual(made.returncode, 0, made.stdout + made.stderr)
            for program in ("candor", "candor-torch"):
                answer = words(prefix / "bin" / program, "--version", env=ENVIRONMENT)
                self.assertEqual(answer.returncode, 0, answer.stderr)
            loaded = words("ldd", prefix / "bin" / "candor-torch", env=ENVIRONMENT).stdout
            self.assertRegex(loaded, r"libtorch_cpu\.so => " + re.escape(str(prefix)))
            outside = [line for line in loaded.splitlines() if "=>" in line and str(prefix) not in line]
            self.assertTrue(all(re.search(r"lib(c|m|dl|pthread|rt|resolv|util)\.so", line) for line in outside), outside)


if __name__ == "__main__":
    unittest.main(verbosity=2)
