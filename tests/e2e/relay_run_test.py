"""The tiny recipe with weights that travel over the network: two rollouts pass chunks on to each other, one of them sends wrong bytes once and is killed later, and no wrong byte is ever loaded.

usage: relay_run_test.py CANDOR SOURCE_FOLDER
"""
import os
import re
import unittest

from processes import RunCase, start

RELAY = ["rollout.workers=2", "trainer.transfer=relay", "trainer.full_every=4", "trainer.steps=16"]


class RelayRun(RunCase):
    def start(self, *arguments, fault=""):
        os.environ["CANDOR_FAULT"] = fault
        try:
            return start("recipes/tiny.toml", self.run, f"stage_cache={self.folder.name}/stages", *RELAY, *arguments)
        finally:
            del os.environ["CANDOR_FAULT"]

    def rollout_logs(self):
        return "\n".join(path.read_text() for path in sorted((self.run / "logs").glob("rollout-*.log")))

    def test_wrong_bytes_and_a_killed_relay(self):
        process = self.start(fault="weights.serve/rollout-0=fail@3,weights.serve/rollout-1=fail@3")
        self.wait_for_step(process, 8)
        self.kill("rollout")
        self.finish(process)
        self.assertEqual(self.ledger()["in_flight"], 0)
        log = self.rollout_logs()
        relayed = sum(int(bytes_) for bytes_ in re.findall(r"from_relays=(\d+)", log))
        fetched = sum(int(bytes_) for bytes_ in re.findall(r"weights fetched version=\d+ bytes=(\d+)", log))
        self.assertGreater(relayed, fetched * 0.1, "the rollouts passed nothing on to each other")
        self.assertRegex(log, r"does not have its hash \(rollout-\d\); fetched again from another source")
        pauses = [float(seconds) for seconds in re.findall(r"pause_seconds=([\d.]+)", log)]
        self.assertGreater(len(pauses), 8)
        print(f"candor-figure weights relayed_share={relayed / fetched:.2f} swap_pause_median={sorted(pauses)[len(pauses) // 2]:.3f} s", flush=True)

    def test_encrypted(self):
        self.finish(self.start("trainer.encrypt=true", "trainer.steps=4"))
        self.assertEqual(self.ledger()["in_flight"], 0)
        self.assertRegex(self.rollout_logs(), r"weights fetched version=[1-4] ")
        self.assertNotIn("fetched again from another source", self.rollout_logs(), "the negative control: nobody sends wrong bytes here")


if __name__ == "__main__":
    unittest.main(verbosity=2)
