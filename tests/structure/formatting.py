#!/usr/bin/env python3
"""Every .h and .cc is as clang-format leaves it. Exit 77 (skipped) where there is no clang-format of the pinned major version.

    formatting.py ROOT [--fix]
"""

import concurrent.futures
import pathlib
import re
import subprocess
import sys

import source_tree

MAJOR = 14  # Debian 12's; another version formats differently
SKIPPED = 77


def find_clang_format():
    for name in [f"clang-format-{MAJOR}", "clang-format"]:
        try:
            version = subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            continue
        if re.search(rf"version {MAJOR}\.", version):
            return name
    return None


def check(tool, root, path):
    text = source_tree.read(root, path)
    formatted = subprocess.run([tool, "--style=file", f"--assume-filename={pathlib.Path(root) / path}"], input=text, capture_output=True, text=True, check=False)
    if formatted.returncode != 0:
        return f"{path}: {formatted.stderr.strip()}"
    if formatted.stdout == text:
        return None
    pairs = zip(text.splitlines(), formatted.stdout.splitlines())
    line = next((number for number, (old, new) in enumerate(pairs, 1) if old != new), 1)
    return f"{path}:{line}: not formatted; run clang-format -i {path}"


def problems_in(root, tool):
    sources = [path for path in source_tree.project_files(root) if pathlib.PurePath(path).suffix in {".h", ".cc"}]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return [found for found in pool.map(lambda path: check(tool, root, path), sources) if found]


def main():
    root, tool = sys.argv[1], find_clang_format()
    if tool is None:
        print(f"no clang-format {MAJOR} here: not checked")
        return SKIPPED
    if "--fix" in sys.argv:
        sources = [str(pathlib.Path(root) / path) for path in source_tree.project_files(root) if pathlib.PurePath(path).suffix in {".h", ".cc"}]
        return subprocess.run([tool, "-i", *sources], check=False).returncode
    return source_tree.report(problems_in(root, tool), "formatting")


if __name__ == "__main__":
    sys.exit(main())
