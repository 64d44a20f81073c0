#!/usr/bin/env python3
"""The urn world: questions whose right confidence is known exactly. "urn rrrrbb..." holds 4 red, 0 green and 2 blue balls and 3 without a colour; one ball is drawn, and naming its
colour is right. So an answer is right with its count / 9, the best one with the largest of the three (0, 1/9, ..., 1: one value in every tenth), and "n" (none) is never right.

A second world has several solutions: "of a c f h" is answered rightly in training by each of the four letters, while a row of its test set wants one of them, drawn. Whoever has kept all
four finds it in several tries (pass@k); whoever says only one does not.

usage: urn.py OUT_FOLDER [--visits N] [--test N] [--seed S]     writes train.jsonl, test.jsonl, dev.jsonl, format.jsonl, and the same of the second world as several-*.jsonl
       urn.py --grade [--seed S]                                 a verifier (candor's line protocol) that draws for every trace on its own

In the written rows one visit of a question is one row with its ball already drawn, a function of (seed, set, row): all traces of the visit share it, and nobody who does not read the
field `answer` can know it. `chance` holds every answer's probability, for `candor compare --truth`. Nothing but Python's own library is needed.
"""
import argparse
import hashlib
import itertools
import json
import pathlib
import sys

BALLS = 9
COLOURS = "rgb"
ANSWERS = COLOURS + "n"
LETTERS = "abcdefgh"


def number(below, *coordinates):
    """An integer in [0, below), a function of its coordinates."""
    digest = hashlib.sha256(repr(coordinates).encode()).digest()
    return int.from_bytes(digest[:8], "big") % below


URNS = [[(r, g, b) for r in range(BALLS + 1) for g in range(BALLS + 1 - r) for b in range(BALLS + 1 - r - g) if max(r, g, b) == best] for best in range(BALLS + 1)]


def chances(urn):
    return {**{colour: count / BALLS for colour, count in zip(COLOURS, urn)}, "n": 0.0}


def balls(urn):
    return "".join(colour * count for colour, count in zip(COLOURS, urn)) + "." * (BALLS - sum(urn))


def draw(all_balls, *coordinates):
    """The colour of a ball, or "" for one without."""
    return all_balls[number(BALLS, *coordinates)].strip(".")


def visit(seed, name, row):
    best = number(BALLS + 1, seed, name, row, "difficulty")  # difficulty spread evenly over [0, 1]
    urn = URNS[best][number(len(URNS[best]), seed, name, row, "urn")]
    ball = draw(balls(urn), seed, name, row, "ball")
    return {"id": f"{name}-{row}", "prompt": f"urn {balls(urn)}", "answer": [ball] if ball else [], "chance": chances(urn), "slice": f"p={best}/{BALLS}"}


SOLUTIONS = list(itertools.combinations(LETTERS, 4))


def several(seed, name, row):
    solutions = SOLUTIONS[number(len(SOLUTIONS), seed, name, row, "solutions")]
    wanted = [solutions[number(len(solutions), seed, name, row, "wanted")]] if name == "several-test" else list(solutions)
    return {"id": f"{name}-{row}", "prompt": "of " + " ".join(solutions), "answer": wanted, "chance": {letter: 1 / len(solutions) for letter in solutions}}


def format_row(seed, row, world, answers, name):
    """Any answer with any confidence: it teaches the form and nothing else."""
    answer = answers[number(len(answers), seed, name, row, "answer")]
    return {"id": f"{name}-{row}", "prompt": world(seed, name, row)["prompt"],
            "completion": f"<answer>{answer}</answer>\n<confidence>0.{number(100, seed, name, row, 'confidence'):02d}</confidence>"}


def count_row(seed, row):
    """What a policy may know beforehand: to count. Neither which answer is best nor how sure to be follows from it without being learned."""
    urn = visit(seed, "count", row)["prompt"]
    colour = COLOURS[number(len(COLOURS), seed, "count", row, "colour")]
    return {"id": f"count-{row}", "prompt": f"{urn} {colour}?", "completion": str(urn.count(colour) - "urn ".count(colour))}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def grade(seed):
    for line in sys.stdin:
        request = json.loads(line)
        row = request.get("row") or {}
        ball = draw(row["prompt"].split()[1], seed, row["id"], request["id"])
        print(json.dumps({"id": request["id"], "label": "correct" if ball and request.get("answer") == ball else "wrong"}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=pathlib.Path)
    parser.add_argument("--visits", type=int, default=20000)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--grade", action="store_true")
    arguments = parser.parse_args()
    if arguments.grade:
        return grade(arguments.seed)
    if arguments.out is None:
        parser.error("name a folder to write to, or --grade")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for before, world, answers in (("", visit, ANSWERS), ("several-", several, LETTERS)):
        for name, count in (("train", arguments.visits), ("test", arguments.test), ("dev", 200)):
            write(arguments.out / f"{before}{name}.jsonl", [world(arguments.seed, before + name, row) for row in range(count)])
        form = [format_row(arguments.seed, row, world, answers, before + "format") for row in range(800)]
        write(arguments.out / f"{before}format.jsonl", form if before else form + [count_row(arguments.seed, row) for row in range(2400)])


if __name__ == "__main__":
    main()
