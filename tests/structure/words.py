#!/usr/bin/env python3
"""No file names a path of the machine it was written on, and no program text holds a mark of unfinished work.

    words.py ROOT
"""

import pathlib
import re
import sys

import source_tree

# Written in pieces, so that this file does not hold what it looks for.
EVERYWHERE = {
    re.compile(r"(?<![\w./-])(?:\.\./)*" + "sha" + r"red/(?!_)"): "a path outside the repository",
    re.compile("/wo" + r"rk/\w"): "an absolute path of one machine",
    re.compile(r"(?<![\w.}])/(?:ho" + "me|ro" + "ot|Us" + r"ers)/[\w.]"): "an absolute home path",
}
IN_CODE = {re.compile(r"\b(?:TO" + "DO|FIX" + "ME|X" + r"XX)\b"): "a mark of unfinished work"}
CODE_SUFFIXES = {".h", ".cc", ".rs", ".py", ".sh", ".cmake", ".proto"}
BINARY_SUFFIXES = {".png", ".jpg", ".gz", ".zst", ".bin", ".safetensors", ".npy", ".npz"}
MACHINE_MADE = {"Cargo.lock", "tokenizer.json"}


def problems_in(root):
    problems = []
    for path in source_tree.project_files(root):
        pure = pathlib.PurePath(path)
        if pure.suffix in BINARY_SUFFIXES or pure.name in MACHINE_MADE:
            continue
        rules = {**EVERYWHERE, **(IN_CODE if pure.suffix in CODE_SUFFIXES else {})}
        for number, line in enumerate(source_tree.read(root, path).splitlines(), 1):
            problems += [f"{path}:{number}: {why}: {match.group(0)}" for rule, why in rules.items() if (match := rule.search(line))]
    return problems


if __name__ == "__main__":
    sys.exit(source_tree.report(problems_in(sys.argv[1]), "words"))
