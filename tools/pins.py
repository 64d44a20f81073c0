"""The pinned versions of tools/versions.env, for the Python tools; the shell sources the same file."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def read_pins(path=ROOT / "tools" / "versions.env"):
    """KEY=VALUE lines as a dict; comments and blank lines are skipped."""
    pins = {}
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            pins[key.strip()] = value.strip()
    return pins
