"""Learners and rollouts that take turns on one device ([placement] colocate): the run ends as any other, both have had their turns, and never at once.

usage: colocate_run_test.py CANDOR SOURCE_FOLDER
"""
import glob
import os
import time
import unittest

from processes import RunCase, start


def holders(inode):
    """("READ" or "WRITE", waits) of every lock on the file, in one look."""
    with open("/proc/locks") as locks:
        words = [line.split() for line in locks]
    return [entry[3] for entry in words if len(entry) > 5 and entry[1] == "FLOCK" and entry[5].split(":")[2] == str(inode)]


class Colocated(RunCase):
    def test_turns_are_taken_and_never_shared(self):
        before = set(glob.glob("/dev/shm/candor-turn-*.use"))
        process = start("recipes/tiny.toml", self.run, "placement.colocate=true", "rollout.workers=2", "trainer.steps=25", "sft.epochs=2", "eval.0.n=40", "eval.1.every=0",
                        f"stage_cache={self.folder.name}/stages")
        seen = set()
        while process.poll() is None:
            files = set(glob.glob("/dev/shm/candor-turn-*.use")) - before
            for path in files:
                held = holders(os.stat(path).st_ino)
                self.assertFalse("WRITE" in held and len(held) > 1, f"a learner and {len(held) - 1} others hold the device at once")
                seen.update(held)
            time.sleep(0.001)
        self.finish(process)
        self.assertEqual(seen, {"READ", "WRITE"}, "somebody never had a turn")
        self.assertEqual(self.ledger()["in_flight"], 0)
        for path in set(glob.glob("/dev/shm/candor-turn-*")) - before:
            os.unlink(path)


if __name__ == "__main__":
    unittest.main(verbosity=2)
