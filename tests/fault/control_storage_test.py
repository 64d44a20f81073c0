#!/usr/bin/env python3
"""R1 for the ledger and the spool: each storage call of a coordinator and a reward worker fails in each way, and nothing that was acknowledged is lost.

    control_storage_test.py STORAGE_FAULTS_SO STORAGE_DRIVER [all | full-disk]

Without `all` every tenth call is tried. `full-disk`: the run lies on a tmpfs of 2 MB that is made larger afterwards (needs root).
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

MODES = ["kill", "torn", "short", "enospc", "eio"]
COUNT = 5
SIGABRT, SIGKILL = -6, -9  # RocksDB aborts on some I/O errors (Debian builds it with assertions): the coordinator is crash-only


def driver(program, *arguments, faults=None, timeout=30):
    environment = dict(os.environ, **(faults or {}))
    return subprocess.run([program, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=timeout)


def try_point(library, program, base, mode, call):
    """"" when nothing that was acknowledged is lost."""
    with tempfile.TemporaryDirectory() as folder:
        run, acks = pathlib.Path(folder, "run"), pathlib.Path(folder, "acks")
        shutil.copytree(base / "run", run)
        shutil.copy(base / "acks", acks)
        faults = {"LD_PRELOAD": library, "CANDOR_IO_PATH": str(run), "CANDOR_IO_FAULT": f"{mode}@{call}"}
        died = driver(program, "commit", run, acks, COUNT, faults=faults)
        if died.returncode not in (0, 3, 4, SIGABRT, SIGKILL):
            return f"{mode}@{call}: the driver ended with {died.returncode}: {died.stderr[-400:]}"
        checked = driver(program, "check", run, acks)
        if checked.returncode != 0:
            return f"{mode}@{call}: check {checked.returncode}: {checked.stderr[-400:]} (driver {died.returncode}: {died.stderr[-300:]})"
    return ""


def every_call(library, program, stride):
    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder)
        (base / "run").mkdir()
        assert driver(program, "commit", base / "run", base / "acks", COUNT).returncode == 0
        count_run = pathlib.Path(folder, "count")
        shutil.copytree(base / "run", count_run)
        shutil.copy(base / "acks", base / "acks2")
        count_file = base / "calls"
        counted = driver(program, "commit", count_run, base / "acks2", COUNT,
                         faults={"LD_PRELOAD": library, "CANDOR_IO_PATH": str(count_run), "CANDOR_IO_COUNT": str(count_file)})
        assert counted.returncode == 0, counted.stderr
        calls = int(count_file.read_text())
        assert calls > 40, calls
        points = [(mode, call) for i, mode in enumerate(MODES) for call in range(1 + i % stride, calls + 1, stride)]
        bad = [problem for mode, call in points if (problem := try_point(library, program, base, mode, call))]
        # The control: a ledger that loses its acknowledged records is noticed.
        shutil.rmtree(base / "run" / "ledger")
        if driver(program, "check", base / "run", base / "acks").returncode == 0:
            bad.append("the check does not notice a lost ledger")
    print(f"candor-figure R1 control_storage_points={len(points)} points bad={len(bad)} of {calls} calls x {len(MODES)} faults")
    return bad


def full_disk(program):
    with tempfile.TemporaryDirectory() as folder:
        mount, acks = pathlib.Path(folder, "disk"), pathlib.Path(folder, "acks")
        mount.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)], capture_output=True).returncode != 0:
            print("no right to mount a tmpfs: skipped")
            sys.exit(77)
        try:
            filled = driver(program, "commit", mount / "run", acks, 100000, timeout=60)
            if filled.returncode not in (3, 4, SIGABRT):
                return [f"a full disk ended the driver with {filled.returncode}: {filled.stderr[-300:]}"]
            subprocess.run(["mount", "-o", "remount,size=64m", str(mount)], check=True)
            checked = driver(program, "check", mount / "run", acks)
            acked = sum(1 for _ in acks.open())
            print(f"candor-figure R1 full_disk_acknowledged={acked} records lost={0 if checked.returncode == 0 else 'some'}")
            return [] if checked.returncode == 0 and acked > 50 else [f"after the disk grew: {checked.returncode} {checked.stderr[-300:]}, {acked} acked"]
        finally:
            subprocess.run(["umount", "-l", str(mount)], check=False)


def main():
    library, program = sys.argv[1:3]
    what = sys.argv[3] if len(sys.argv) > 3 else ""
    bad = full_disk(program) if what == "full-disk" else every_call(library, program, 1 if what == "all" else 17)
    print("\n".join(bad[:20]) if bad else "control storage: holds")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
