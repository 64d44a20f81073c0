"""What a cluster does to a run, row by row: each is a fault that was seen on a real Slurm, and what must come of it. Rows run at the same time on one cluster, each on nodes of its own; the rows that kill the controller
and the one for sites that announce nothing have clusters of their own.

usage: [CANDOR_SLURM_ROWS=ROW,ROW] rows_test.py CANDOR SOURCE_FOLDER [ROW ...]      all rows without a name; CANDOR_SLURM_ROWS_AT_ONCE=3
"""
import concurrent.futures
import os
import pathlib
import sys
import tempfile
import threading
import time

import cluster
import rows_of_jobs
import rows_of_nodes
import rows_of_placement
import rows_of_the_controller
from slurm_case import SKIPPED
from slurm_row import Row

SHARED = [row for theme in (rows_of_nodes, rows_of_jobs, rows_of_placement) for row in theme.ROWS]
ALONE = [*rows_of_the_controller.ROWS, rows_of_jobs.preempted_without_notice]
GPUS = 4  # of each node


def play(on, root, function, nodes):
    row = Row(on, root, function.__name__, nodes)
    began = time.monotonic()
    try:
        function(row)
        problem = None
    except Exception as error:  # a row's failure is its result
        problem = f"{type(error).__name__}: {error}"
        if hasattr(row, "current") and "--- " not in problem:
            problem += "\n" + row.current.logs()
    finally:
        if hasattr(row, "current"):
            row.current.cancel()
    took = time.monotonic() - began
    print(f"{'ok    ' if problem is None else 'FAILED'} {function.__name__} {took:.0f} s" + (f"\n{problem}" if problem else ""), flush=True)
    return problem is None


def play_all(rows, root, at_once, **options):
    """Each row on three nodes of its own. Nodes that it lost are up again before the next one has them."""
    if not rows:
        return []
    with cluster.Cluster(root / "slurm", nodes=3 * at_once, gpus=GPUS, **options) as on, concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        free, lock = [on.nodes[3 * i:3 * i + 3] for i in range(at_once)], threading.Lock()

        def one(function):
            with lock:
                nodes = free.pop()
            try:
                return play(on, root, function, nodes)
            finally:
                for name in nodes:
                    if name not in on.daemons:
                        on.boot_node(name)
                    on.thaw_node(name)
                with lock:
                    free.append(nodes)

        return list(pool.map(one, rows))


def main():
    reason = cluster.why_not()
    if reason:
        print("skipped: " + reason)
        sys.exit(SKIPPED)
    wanted = [name for name in [*sys.argv[1:], *os.environ.get("CANDOR_SLURM_ROWS", "").split(",")] if name and name != "all"]
    unknown = set(wanted) - {row.__name__ for row in SHARED + ALONE}
    if unknown:
        sys.exit(f"no row is called {', '.join(sorted(unknown))}; there are " + ", ".join(row.__name__ for row in SHARED + ALONE))
    chosen, alone = ([row for row in rows if not wanted or row.__name__ in wanted] for rows in (SHARED, ALONE))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="candor-slurm-") as folder:
        root = pathlib.Path(folder)
        results = play_all(chosen, root / "shared", min(len(chosen), int(os.environ.get("CANDOR_SLURM_ROWS_AT_ONCE", "3"))))
        for row in alone:
            results += play_all([row], root / row.__name__, 1, notice=row is not rows_of_jobs.preempted_without_notice)
    print(f"{sum(results)} of {len(results)} rows in {time.monotonic() - began:.0f} s")
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
