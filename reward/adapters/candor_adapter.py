"""The loop around a reward function: JSON lines in on stdin, JSON lines out on stdout.

A verifier of your own needs nothing else:

    from candor_adapter import serve            # or copy these few lines
    def grade(request):                         # {"id", "prompt", "completion", "answer" (None: the format broke), "row"}
        right = request["answer"] == request["row"]["answer"]
        return {"label": "correct" if right else "wrong", "rewards": {"brevity": 1.0 / (1 + len(request["completion"]))}}
    serve(grade)

What the function prints goes to stderr, so that it cannot garble the replies. An exception is an unknown label with the exception as its reason, never a wrong answer.
"""
import importlib
import importlib.util
import json
import math
import os
import sys


def serve(grade):
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # prints of C libraries, too
    sys.stdout = sys.stderr
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            text = json.dumps({**grade(request), "id": request["id"]}, allow_nan=False)
        except Exception as error:  # the user's code: anything may come, also what is no JSON
            text = json.dumps({"label": "unknown", "reason": f"{type(error).__name__}: {error}"[:500], "id": request["id"]})
        replies.write(text + "\n")
        replies.flush()


def load_function(spec):
    """'package.module:function' or 'path/to/file.py:function'."""
    place, colon, name = spec.rpartition(":")
    if not colon:
        sys.exit(f"'{spec}' names no function; write module:function or file.py:function")
    sys.path.insert(0, os.getcwd())
    if place.endswith(".py"):
        found = importlib.util.spec_from_file_location("candor_user_reward", place)
        if found is None or not os.path.exists(place):
            sys.exit(f"there is no file {place}")
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
    else:
        module = importlib.import_module(place)
    if not hasattr(module, name):
        sys.exit(f"{place} has no function '{name}'")
    return getattr(module, name)


def label_of(score, correct_above=None):
    """Three states from a score: None or NaN is unknown; in [0, 1] the score itself; otherwise correct above 0 (or above `correct_above`, when it is given)."""
    if score is None or math.isnan(float(score)):
        return "unknown"
    score = float(score)
    if correct_above is not None:
        return "correct" if score > correct_above else "wrong"
    if 0.0 <= score <= 1.0:
        return score
    return "correct" if score > 0 else "wrong"


def numbers(values):
    """The finite numbers of a dict, as rewards."""
    kept = {}
    for name, value in values.items():
        if isinstance(value, (bool, int, float)) and math.isfinite(float(value)):
            kept[name] = float(value)
    return kept
