#!/usr/bin/env python3
"""Fills the marked blocks of README.md from docs/results/: the main job's summary.json, its reliability diagram and the output of `candor compare`.

  fill_readme.py                    rewrites README.md from docs/results/
  fill_readme.py --check            exit code 1 when README.md says something else than docs/results/
  fill_readme.py --take RUN_DIR..   first copies the result of finished runs into docs/results/ (the first is the main job)
"""
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
KEYS = [("accuracy", "accuracy"), ("mean_confidence", "mean confidence"), ("brier", "Brier"), ("auroc", "AUROC"), ("augrc", "AUGRC"), ("ece", "ECE"), ("ece_null95", "its null 95 %")]


def shown(numbers, key):
    value = numbers.get(key)
    if value is None:
        return "-"
    low, high = (numbers.get(key + "_interval") or [None, None])[:2]
    return f"{value:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None else "")


def table(summary):
    rows = [("before RL", summary["before"]["held_out"])]
    if "warm_up" in summary:
        rows.append(("after the warm-up", summary["warm_up"]["held_out"]))
    if "after" in summary:
        rows.append(("after RL", summary["after"]["held_out"]))
    for moment in ("before", "after"):
        for name in ("answer_lookup", "answer_probability_platt"):
            if name in summary["baselines"].get(moment, {}):
                rows.append((f"{name.replace('_', ' ')}, {moment} RL (no training)", summary["baselines"][moment][name]))
    lines = ["| held-out cities, greedy answers | n | " + " | ".join(title for _, title in KEYS) + " |", "|---|---|" + "---|" * len(KEYS)]
    lines += [f"| {name} | {numbers['n']} | " + " | ".join(shown(numbers, key) for key, _ in KEYS) + " |" for name, numbers in rows]
    return "\n".join(lines + [""] + [f"* {sentence}" for sentence in summary["verdict"]])


def fill(text, name, body):
    begin, end = f"<!-- {name} begin -->", f"<!-- {name} end -->"
    head, rest = text.split(begin)
    return head + begin + "\n" + body + "\n" + end + rest.split(end)[1]


def filled(text):
    text = fill(text, "result", table(json.loads((RESULTS / "summary.json").read_text())) + picture())
    comparison = RESULTS / "compare.txt"
    return fill(text, "compare", "```\n" + comparison.read_text().rstrip("\n") + "\n```" if comparison.exists() else "")


def picture():
    alt = "Share right against stated confidence on held-out cities, before and after RL, with 95 % intervals"
    return f"\n\n![{alt}](docs/results/reliability.svg)" if (RESULTS / "reliability.svg").exists() else ""


def draw(run):
    """The reliability diagram of the held-out greedy answers before and after RL."""
    with tempfile.TemporaryDirectory() as folder:
        files = {moment: pathlib.Path(folder) / f"{moment}.jsonl" for moment in ("before", "after")}
        for moment, path in files.items():
            rows = [json.loads(line) for line in (run / "eval" / path.name).read_text().splitlines()]
            kept = [row for row in rows if row["role"] == "held_out" and row["greedy"] and row["confidence"] is not None and "correct" in row]
            path.write_text("".join(json.dumps({key: row[key] for key in ("prompt", "confidence", "correct")}) + "\n" for row in kept))
        subprocess.run([ROOT / "candor", "calibration", files["after"], "--versus", files["before"], "--svg", RESULTS / "reliability.svg"], check=True, capture_output=True)


def take(runs):
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "summary.json").write_bytes((pathlib.Path(runs[0]) / "summary.json").read_bytes())
    draw(pathlib.Path(runs[0]))
    candor = ROOT / "candor"
    if len(runs) > 1:
        (RESULTS / "compare.txt").write_text(subprocess.run([candor, "compare", *runs], check=True, capture_output=True, text=True).stdout)


def main():
    readme = ROOT / "README.md"
    if "--take" in sys.argv:
        take(sys.argv[sys.argv.index("--take") + 1:])
    text = readme.read_text()
    new = filled(text)
    if "--check" in sys.argv:
        if new != text:
            sys.exit("README.md is stale: run tools/fill_readme.py")
        return
    readme.write_text(new)


if __name__ == "__main__":
    main()
