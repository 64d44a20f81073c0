#!/usr/bin/env python3
"""The urn world: questions whose right confidence is known exactly. "urn rrrrbb..." holds 4 red, 0 green and 2 blue balls and 4 without a colour; one ball is drawn, and naming its
colour is right. So an answer is right with its count / 10, the best one with the largest of the three (0, .1, ..., .9: one value in every tenth, and each can be written with one digit), and "n"
(none) is never right.

A second world has several solutions: "of a c f h" is answered rightly in training by each of the four letters, while a row of its test set wants one of them, drawn. Whoever has kept all
four finds it in several tries (pass@k); whoever says only one does not.

usage: urn.py OUT_FOLDER [--visits N] [--test N] [--seed S]     writes train.jsonl, test.jsonl, dev.jsonl, form.jsonl, and the same of the second world as several-*.jsonl
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

BALLS = 10
COLOURS = "rgb"
ANSWERS = COLOURS + "n"
LETTERS = "abcdefgh"


def number(below, *coordinates):
    """An integer in [0, below), a function of its coordinates."""
    digest = hashlib.sha256(repr(coordinates).encode()).digest()
    return int.from_bytes(digest[:8], "big") % below


URNS = [[(r, g, b) for r in range(BALLS + 1) for g in range(BALLS + 1 - r) for b in range(BALLS + 1 - r - g) if max(r, g, b) == best] for best in range(BALLS)]


def chances(urn):
    return {**{colour: count / BALLS for colour, count in zip(COLOURS, urn)}, "n": 0.0}


def balls(urn):
    return "".join(colour * count for colour, count in zip(COLOURS, urn)) + "." * (BALLS - sum(urn))


def draw(all_balls, *coordinates):
    """The colour of a ball, or "" for one without."""
    return all_balls[number(BALLS, *coordinates)].strip(".")


def visit(seed, name, row):
    best = number(BALLS, seed, name, row, "difficulty")  # difficulty spread evenly over [0, 1)
    urn = URNS[best][number(len(URNS[best]), seed, name, row, "urn")]
    ball = draw(balls(urn), seed, name, row, "ball")
    return {"id": f"{name}-{row}", "prompt": f"urn {balls(urn)}", "answer": [ball] if ball else [], "chance": chances(urn), "slice": f"p={best}/{BALLS}"}


SOLUTIONS = list(itertools.combinations(LETTERS, 4))


def several(seed, name, row):
    solutions = SOLUTIONS[number(len(SOLUTIONS), seed, name, row, "solutions")]
    wanted = [solutions[number(len(solutions), seed, name, row, "wanted")]] if name == "several-test" else list(solutions)
    return {"id": f"{name}-{row}", "prompt": "of " + " ".join(solutions), "answer": wanted, "chance": {letter: 1 / len(solutions) for letter in solutions}}


def urn_form_row(seed, row):
    """Any answer with any confidence: it teaches the form and nothing else."""
    answer = ANSWERS[number(len(ANSWERS), seed, "form", row, "answer")]
    return {"id": f"form-{row}", "prompt": visit(seed, "form", row)["prompt"],
            "completion": f"<answer>{answer}</answer>\n<confidence>0.{number(10, seed, 'form', row, 'confidence')}</confidence>"}


def several_form_row(seed, row):
    """Half of the answers are any letter, half one of the four: the policy knows all solutions, each as well, and says wrong ones too."""
    visited = several(seed, "several-form", row)
    letters = LETTERS if number(2, seed, "several-form", row, "any") else "".join(visited["chance"])
    return {"id": f"several-form-{row}", "prompt": visited["prompt"], "completion": f"<answer>{letters[number(len(letters), seed, 'several-form', row, 'answer')]}</answer>"}


def count_row(seed, row):
    """What a policy may know beforehand: how many balls there are of a colour ("urn rrg r?": 2), and which colour there is most of ("urn rrg most?": r2). Neither what to answer when a
    ball is drawn nor how sure to be follows from it without being learned."""
    visited = visit(seed, "count", row)
    best = max(ANSWERS, key=visited["chance"].get)
    colour = COLOURS[number(len(COLOURS), seed, "count", row, "colour")]
    most = number(3, seed, "count", row, "most") == 0
    counts = {answer: round(chance * BALLS) for answer, chance in visited["chance"].items()}
    return {"id": f"count-{row}", "prompt": visited["prompt"] + (" most?" if most else f" {colour}?"), "completion": f"{best}{counts[best]}" if most else str(counts[colour])}


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
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--grade", action="store_true")
    arguments = parser.parse_args()
    if arguments.grade:
        return grade(arguments.seed)
    if arguments.out is None:
        parser.error("name a folder to write to, or --grade")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for before, world in (("", visit), ("several-", several)):
        for name, count in (("train", arguments.visits), ("test", arguments.test), ("dev", 400)):
            write(arguments.out / f"{before}{name}.jsonl", [world(arguments.seed, before + name, row) for row in range(count)])
    write(arguments.out / "form.jsonl", [urn_form_row(arguments.seed, row) for row in range(3200)] + [count_row(arguments.seed, row) for row in range(9600)])
    write(arguments.out / "several-form.jsonl", [several_form_row(arguments.seed, row) for row in range(6400)])


if __name__ == "__main__":
    main()
