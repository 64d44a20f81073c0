"""The fault library itself: each kind of fault does what it says at the call it is asked for, and nothing without being asked.

usage: storage_faults_test.py STORAGE_FAULTS_LIBRARY
"""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

LIBRARY = sys.argv.pop(1)
WRITER = """
import os, sys
fd = os.open(sys.argv[1] + "/a", os.O_WRONLY | os.O_CREAT)
data = b"0123456789"
while data:
    data = data[os.write(fd, data):]
os.fsync(fd)
os.rename(sys.argv[1] + "/a", sys.argv[1] + "/b")
"""


class StorageFaults(unittest.TestCase):
    def run_writer(self, fault):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        path = self.folder.name + "/data"
        os.mkdir(path)
        environment = {**os.environ, "LD_PRELOAD": LIBRARY, "CANDOR_IO_PATH": path, "CANDOR_IO_COUNT": self.folder.name + "/count", "CANDOR_IO_LOG": self.folder.name + "/log"}
        if fault:
            environment["CANDOR_IO_FAULT"] = fault
        ended = subprocess.run([sys.executable, "-c", WRITER, path], env=environment, capture_output=True, text=True)
        files = {name: pathlib.Path(path, name).read_bytes() for name in os.listdir(path)}
        return ended, files

    def read(self, name):
        with open(f"{self.folder.name}/{name}", encoding="utf-8") as file:
            return file.read()

    def test_counts_and_leaves_alone(self):
        ended, files = self.run_writer(None)
        self.assertEqual((ended.returncode, files), (0, {"b": b"0123456789"}), ended.stderr)
        self.assertEqual(self.read("count"), "4\n")
        self.assertEqual([line.split()[1] for line in self.read("log").splitlines()], ["open", "write", "fsync", "rename"])

    def test_kills(self):
        for at, left in ((1, {}), (2, {"a": b""}), (3, {"a": b"0123456789"}), (4, {"a": b"0123456789"})):
            ended, files = self.run_writer(f"kill@{at}")
            self.assertEqual((ended.returncode, files), (-signal.SIGKILL, left), at)

    def test_tears_shortens_and_fails(self):
        ended, files = self.run_writer("torn@2")
        self.assertEqual((ended.returncode, files), (-signal.SIGKILL, {"a": b"01234"}))
        ended, files = self.run_writer("short@2")
        self.assertEqual((ended.returncode, files), (0, {"b": b"0123456789"}))
        self.assertEqual(self.read("count"), "5\n")
        for fault, word in (("enospc@2", "No space left"), ("eio@3", "Input/output error"), ("full@1", "No space left")):
            ended, _ = self.run_writer(fault)
            self.assertEqual(ended.returncode, 1, fault)
            self.assertIn(word, ended.stderr)

    def test_refuses_nonsense(self):
        for fault in ("kill", "kill@0", "kil@1", "kill@1x"):
            ended, _ = self.run_writer(fault)
            self.assertEqual(ended.returncode, 2, fault)
            self.assertIn(fault, ended.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
