"""tools/prepare_smollm2.py: the conversions against slow twins, the file format read back, and the built folder where it is present."""

import json
import pathlib
import struct
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import pins  # noqa: E402
import prepare_smollm2  # noqa: E402

try:
    import numpy as np
except ImportError:
    np = None

MODEL = ROOT / "models" / prepare_smollm2.NAME


def read_safetensors(path):
    """(header, bytes after it)"""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


@unittest.skipUnless(np is not None, "numpy is not installed in this Python")
class Conversions(unittest.TestCase):
    def test_bfloat16_is_the_nearest_ties_to_even(self):
        rng = np.random.default_rng(1)
        values = np.concatenate([rng.normal(size=2000), [0.0, -0.0, 1.0, 1.00390625, 1.01171875, -3.0e38]]).astype(np.float32)
        for value, bits in zip(values, prepare_smollm2.to_bfloat16(values)):
            exact = struct.unpack("<I", struct.pack("<f", value))[0]
            low, rest = exact >> 16, exact & 0xFFFF
            expected = low + (rest > 0x8000 or (rest == 0x8000 and low % 2 == 1))
            self.assertEqual(int(bits), expected, value)

    def test_rotary_rows_go_back_to_their_halves(self):
        heads, size = 3, 8
        original = np.arange(heads * size * 2).reshape(heads * size, 2)
        mixed = np.empty_like(original)  # llama.cpp's order: row 2i of a head is row i, row 2i + 1 is row i + half
        for head in range(heads):
            for i in range(size // 2):
                mixed[head * size + 2 * i] = original[head * size + i]
                mixed[head * size + 2 * i + 1] = original[head * size + size // 2 + i]
        self.assertFalse(np.array_equal(mixed, original))
        np.testing.assert_array_equal(prepare_smollm2.restore_rotary_order(mixed, heads), original)

    def test_the_written_file_reads_back(self):
        tensors = {"b": np.arange(6, dtype=np.uint16).reshape(2, 3), "a": np.arange(4, dtype=np.uint16)}
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.safetensors"
            prepare_smollm2.write_safetensors(tensors, path)
            header, body = read_safetensors(path)
        self.assertEqual(len(body), 20)
        for name, array in tensors.items():
            start, end = header[name]["data_offsets"]
            self.assertEqual(body[start:end], array.tobytes())
            self.assertEqual(header[name]["shape"], list(array.shape))


class Names(unittest.TestCase):
    def test_tensor_names(self):
        self.assertEqual(prepare_smollm2.hf_name("token_embd.weight"), "model.embed_tokens.weight")
        self.assertEqual(prepare_smollm2.hf_name("blk.12.attn_q.weight"), "model.layers.12.self_attn.q_proj.weight")


class WrongFiles(unittest.TestCase):
    def test_another_wheel_is_refused_and_leaves_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            wheel, out = pathlib.Path(folder) / "x.whl", pathlib.Path(folder) / "models" / "out"
            wheel.write_bytes(b"not the wheel")
            with self.assertRaisesRegex(SystemExit, "sha256"):
                prepare_smollm2.prepare(out, wheel, pins.read_pins())
            self.assertEqual(list(out.parent.iterdir()), [])


@unittest.skipUnless((MODEL / prepare_smollm2.STAMP).exists(), "models/SmolLM2-135M-Instruct is not built here: tools/prepare.sh")
class BuiltFolder(unittest.TestCase):
    def test_it_is_what_the_pins_say(self):
        pin = pins.read_pins()
        self.assertTrue(prepare_smollm2.is_prepared(MODEL, pin, verify=True))
        self.assertFalse(prepare_smollm2.is_prepared(MODEL, {**pin, "SMOLLM2_WHEEL_SHA256": "0"}, verify=False))

    def test_it_has_every_tensor(self):
        header, body = read_safetensors(MODEL / "model.safetensors")
        del header["__metadata__"]
        self.assertEqual(len(header), 272)
        self.assertEqual(max(entry["data_offsets"][1] for entry in header.values()), len(body))


if __name__ == "__main__":
    unittest.main()
