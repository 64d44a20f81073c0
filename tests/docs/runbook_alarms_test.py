"""deploy/runbook.md has a first action for every alarm that the coordinator raises. usage: runbook_alarms_test.py SOURCE_FOLDER"""
import pathlib
import re
import sys


def raised(source):
    """Names in `alarms.push_back({"name", ...` and in a choice of two."""
    return set(re.findall(r'alarms\s*\.push_back\(\s*\{(?:[^"{}]*\? )?"(\w+)"', source)) | set(re.findall(r'push_back\(\{[^"{}]*\? "\w+" : "(\w+)"', source))


def rows(runbook):
    """Names in backticks in the first cell of a row that speaks of an alarm."""
    return {name for cell in re.findall(r"^\| ([^|]*\balarms? [^|]*)\|", runbook, re.M) for name in re.findall(r"`(\w+)`", cell)}


def main():
    root = pathlib.Path(sys.argv[1])
    alarms, known = raised((root / "coordinator/alarms.cc").read_text()), rows((root / "deploy/runbook.md").read_text())
    assert {"worker_silent", "over_confident", "under_confident", "form_lost"} <= alarms, alarms
    assert rows("| alarm `a` | x |\n| `b` | alarm |\n") == {"a"}, "the check cannot fail"
    if alarms != known:
        sys.exit(f"deploy/runbook.md lacks {sorted(alarms - known)} and has {sorted(known - alarms)}, which coordinator/alarms.cc does not raise")


main()
