"""Collectives over real processes: collective_test.py COLLECTIVE_RANK FAKE_GPU_FOLDER mpi|tcp|nccl

The conformance suite at 2, 3 and 4 ranks, then every way to break it: ranks that disagree are told so by name, ranks that hang or die are
noticed within the bound, and every rank that lives ends with ErrorCode::kCollective (exit code 75)."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM, FAKES, BACKEND = sys.argv[1:4]
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n"]
BOUND_S = 8.0  # deadline 2 s, silence 1.5 s, and a busy machine


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMIX_", "SLURM_", "CANDOR_"))}
    if BACKEND == "nccl":
        env["LD_LIBRARY_PATH"] = FAKES
    return {**env, **more}


class Ranks:
    """Ranks that find each other over a file rendezvous, as plain processes, so that each can be looked at."""

    def __init__(self, ranks, scenario, **more):
        self.folder = tempfile.TemporaryDirectory()
        more.setdefault("CANDOR_RENDEZVOUS", "file:" + self.folder.name)
        self.processes = [
            subprocess.Popen([PROGRAM, BACKEND, scenario], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             env=environment(CANDOR_RANK=str(rank), CANDOR_WORLD_SIZE=str(ranks), **more))
            for rank in range(ranks)
        ]

    def finish(self, skip=(), timeout=60):
        """[(exit code, output)] of all ranks but `skip`, which are killed in the end."""
        end = time.monotonic() + timeout
        results = []
        for rank, process in enumerate(self.processes):
            if rank in skip:
                results.append((None, ""))
                continue
            try:
                output, _ = process.communicate(timeout=max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                output = process.communicate()[0] + " [still running]"
            results.append((process.returncode, output))
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self.folder.cleanup()
        return results


def mpirun(ranks, scenario, **more):
    done = subprocess.run([*MPIRUN, str(ranks), PROGRAM, BACKEND, scenario], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=120, env=environment(**more))
    return done.returncode, done.stdout


class Conformance(unittest.TestCase):
    def test_the_suite_at_2_3_and_4_ranks(self):
        for ranks in (2, 3, 4):
            if BACKEND != "tcp":
                code, output = mpirun(ranks, "conform")
                self.assertEqual((code, output.count(": passed")), (0, ranks), output)
            if BACKEND != "mpi":
                for code, output in Ranks(ranks, "conform").finish():
                    self.assertEqual(code, 0, output)
                    self.assertIn(f"over {BACKEND}: passed", output)


class Broken(unittest.TestCase):
    """What a rank sees when another one errs. Over MPI the launcher ends the job with the first rank that fails, so outputs are read together."""

    def run_scenario(self, scenario, ranks=2, skip=(), **more):
        if BACKEND == "mpi":
            code, output = mpirun(ranks, scenario, **more)
            self.assertNotEqual(code, 0, output)
            return [output]
        results = Ranks(ranks, scenario, **more).finish(skip=skip)
        for rank, (code, output) in enumerate(results):
            if rank not in skip:
                self.assertEqual(code, 75, f"{scenario} rank {rank}: {output}")
                self.assertLess(float(re.search(r"\[([0-9.]+) s\]", output).group(1)), BOUND_S, output)
        return [output for rank, (_, output) in enumerate(results) if rank not in skip]

    def assert_some_say(self, outputs, pattern):
        self.assertTrue(any(re.search(pattern, output) for output in outputs), outputs)

    def test_a_wrong_count_is_named(self):
        self.assert_some_say(self.run_scenario("wrong_count"), r"ranks disagree.*all_reduce.*8.*all_reduce.*4|ranks disagree.*all_reduce.*4.*all_reduce.*8")

    def test_a_wrong_type_is_named(self):
        self.assert_some_say(self.run_scenario("wrong_type"), r"ranks disagree.*all_gather")

    def test_a_wrong_order_is_named(self):
        self.assert_some_say(self.run_scenario("wrong_order", ranks=3), r"ranks disagree.*(all_reduce.*all_gather|all_gather.*all_reduce)")

    def test_a_rank_that_hangs_meets_the_deadline(self):
        self.assert_some_say(self.run_scenario("hang", skip=(1,)), r"waited \d+ ms for its peers")

    def test_an_abort_from_another_thread_ends_the_wait(self):
        for output in self.run_scenario("abort"):
            self.assertRegex(output, "abort")

    def test_a_rank_that_is_slow_is_not_lost_and_waiting_is_cheap(self):
        for scenario in ("slow", "idle"):
            results = [mpirun(2, scenario)] if BACKEND == "mpi" else Ranks(2, scenario).finish()
            for code, output in results:
                self.assertEqual(code, 0, output)


class LostRank(Broken):
    """Only where each rank can be seen by itself."""

    def test_a_rank_that_is_stopped_is_missed(self):
        for output in self.run_scenario("stop", ranks=3, skip=(2,)):
            self.assertRegex(output, r"gave no sign of life|is gone|waited \d+ ms|disagree|aborted")

    def test_a_rank_that_dies_is_missed_at_once(self):
        for scenario in ("die", "leave"):
            outputs = self.run_scenario(scenario, ranks=3, skip=(2,))
            self.assert_some_say(outputs, "rank 2 is gone|closed|network error")


class Tcp(unittest.TestCase):
    def test_a_place_of_host_and_port_needs_the_secret(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "secret"
            path.write_text("0123456789abcdef0123\n")
            path.chmod(0o600)
            place = f"tcp:127.0.0.1:{20000 + os.getpid() % 20000}"
            for code, output in Ranks(3, "conform", CANDOR_RENDEZVOUS=place, CANDOR_RENDEZVOUS_SECRET_FILE=str(path)).finish():
                self.assertEqual(code, 0, output)
            for code, output in Ranks(2, "conform", CANDOR_RENDEZVOUS=place).finish():
                self.assertNotEqual(code, 0)
                self.assertIn("needs a secret", output)
            path.chmod(0o644)
            for code, output in Ranks(2, "conform", CANDOR_RENDEZVOUS=place, CANDOR_RENDEZVOUS_SECRET_FILE=str(path)).finish():
                self.assertIn("chmod 600", output)

    def test_an_old_meeting_file_misleads_nobody(self):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "rendezvous").write_text("127.0.0.1 1 0000\n")
            for code, output in Ranks(2, "conform", CANDOR_RENDEZVOUS="file:" + folder).finish():
                self.assertEqual(code, 0, output)
            self.assertEqual(list(pathlib.Path(folder).iterdir()), [])

    def test_a_bad_place_and_a_bad_rank_are_named(self):
        for place, word in (("nowhere", "not a place"), ("tcp:x", "not a place")):
            for code, output in Ranks(2, "conform", CANDOR_RENDEZVOUS=place).finish():
                self.assertIn(word, output)


class FakeNccl(Broken):
    """Rules of NCCL and faults that only the stand-in can make."""

    def test_wrong_grouping_is_named(self):
        self.assert_some_say(self.run_scenario("wrong_grouping"), r"ranks disagree in round")

    def test_two_sends_outside_a_group_hang(self):
        self.assert_some_say(self.run_scenario("ungrouped"), r"send of .* waited \d+ ms")

    def test_host_memory_is_refused(self):
        for output in self.run_scenario("host_memory"):
            self.assertIn("not on the device", output)

    def test_an_asynchronous_error_aborts(self):
        outputs = self.run_scenario("faulted", CANDOR_FAKE_NCCL="error:1:4")
        self.assertRegex(outputs[1], "an injected error")

    def test_a_device_that_hangs_meets_the_deadline(self):
        for output in self.run_scenario("faulted", CANDOR_FAKE_NCCL="hang:1:4"):
            self.assertRegex(output, r"waited \d+ ms|is gone|aborted")

    def test_a_rank_that_dies_inside_a_call(self):
        self.assert_some_say(self.run_scenario("faulted", skip=(1,), CANDOR_FAKE_NCCL="die:1:4"), "rank 1 is gone|closed")

    def test_a_start_that_hangs_or_fails(self):
        outputs = self.run_scenario("faulted", CANDOR_FAKE_NCCL="init-hang:0")
        self.assert_some_say(outputs, "ncclCommInitRank")
        for output in outputs:  # on a busy machine a rank may meet its deadline while it waits for the other one
            self.assertRegex(output, r"ncclCommInitRank|barrier waited \d+ ms")
        self.assert_some_say(self.run_scenario("faulted", CANDOR_FAKE_NCCL="init-error:1"), "an injected error at the start")

    def test_without_a_device_it_says_so(self):
        for code, output in Ranks(2, "conform", CANDOR_FAKE_GPUS="0").finish():
            self.assertEqual(code, 77)
            self.assertIn("there is no GPU here", output)


CASES = {"mpi": [Conformance, Broken], "tcp": [Conformance, LostRank, Tcp], "nccl": [Conformance, LostRank, FakeNccl]}

if __name__ == "__main__":
    suite = unittest.TestSuite()
    seen = set()
    for case in CASES[BACKEND]:
        for name in unittest.defaultTestLoader.getTestCaseNames(case):
            if name not in seen:
                seen.add(name)
                suite.addTest(case(name))
    sys.exit(not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful())
