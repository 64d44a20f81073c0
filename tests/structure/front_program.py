#!/usr/bin/env python3
"""The front program starts at once and without torch, MPI and NCCL; the model's program is the one that needs torch (which shows that the check sees it).

    front_program.py CANDOR CANDOR_TORCH [SHARE]     its start takes at most this share of the other's
"""

import re
import subprocess
import sys
import time

HEAVY = re.compile(r"torch|c10|mpi|nccl|cuda|cudart", re.I)
RUNS = 10


def needed_libraries(program):
    """The names in the program's own NEEDED entries."""
    dynamic = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=True).stdout
    return re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)


def fastest_start_ms(program, code):
    best = float("inf")
    for _ in range(RUNS):
        start = time.perf_counter()
        done = subprocess.run([program, "--help"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert done.returncode == code, f"{program} --help ends with {done.returncode}"
        best = min(best, (time.perf_counter() - start) * 1000)
    return best


def main():
    front, with_torch = sys.argv[1:3]
    problems = [f"{front} is linked to {name}" for name in needed_libraries(front) if HEAVY.search(name)]
    if not any("torch" in name for name in needed_libraries(with_torch)):
        problems.append(f"{with_torch} shows no torch: this check would not see it in the front either")
    if len(sys.argv) > 3:
        took, other = fastest_start_ms(front, 0), fastest_start_ms(with_torch, 2)  # the other one points to the front
        print(f"candor --help: {took:.1f} ms, the fastest of {RUNS}; the program with torch starts in {other:.1f} ms")
        if not took <= float(sys.argv[3]) * other:
            problems.append(f"candor --help takes {took:.1f} ms, more than {sys.argv[3]} of {other:.1f} ms")
    print("\n".join(problems) if problems else "front program: holds")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
