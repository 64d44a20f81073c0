"""Learning without mpirun or srun: two ranks meet at a file or a port and write the same bits as two ranks under mpirun.
rendezvous_test.py CANDOR_TORCH SOURCE_FOLDER"""

import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import unittest

CANDOR_TORCH, SOURCE = sys.argv[1:3]
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", "2"]


class Rendezvous(unittest.TestCase):
    def command(self, out):
        return [CANDOR_TORCH, "sft", "recipes/tiny/model", "recipes/tiny/format.jsonl", str(out), "--recipe", "recipes/tiny.toml", "--quiet",
                "sft.steps=3", "sft.sharding=zero2", "device=cpu"]

    def ranks(self, out, **where):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMIX_", "SLURM_", "CANDOR_"))}
        processes = [subprocess.Popen(self.command(out), cwd=SOURCE, env={**clean, "CANDOR_RANK": str(rank), "CANDOR_WORLD_SIZE": "2", **where},
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for rank in range(2)]
        for process in processes:
            output, _ = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0, output)
        return (out / "model.safetensors").read_bytes()

    def test_a_file_a_port_and_mpirun_learn_the_same_bits(self):
        with tempfile.TemporaryDirectory(prefix="candor-meet-") as name:
            folder = pathlib.Path(name)
            subprocess.run([*MPIRUN, *self.command(folder / "mpi")], cwd=SOURCE, check=True, timeout=60)
            want = (folder / "mpi" / "model.safetensors").read_bytes()
            self.assertNotEqual(want, pathlib.Path(SOURCE, "recipes/tiny/model/model.safetensors").read_bytes(), "nothing was learned")
            self.assertTrue(self.ranks(folder / "file", CANDOR_RENDEZVOUS=f"file:{folder}") == want)
            (folder / "secret").write_text("a secret of twenty letters\n")
            (folder / "secret").chmod(0o600)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            place = {"CANDOR_RENDEZVOUS": f"tcp:127.0.0.1:{port}", "CANDOR_RENDEZVOUS_SECRET_FILE": str(folder / "secret")}
            self.assertTrue(self.ranks(folder / "port", **place) == want)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
