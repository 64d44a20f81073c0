"""math-verify (https://github.com/huggingface/Math-Verify) as a Candor verifier; used by kind = "math".

Its own time limits rest on SIGALRM and are switched off: Candor kills and restarts this process when an expression takes too long, and that completion is then unknown, not wrong.
"""
import logging
import sys

from candor_adapter import serve

try:
    from math_verify import parse, verify
except ImportError:
    sys.exit("the math verifier needs the package math-verify in this Python: pip install math-verify (" + sys.executable + ")")

logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns on every call that its timers are off


def accepted_of(row):
    model = row.get("reward_model")
    answers = model["ground_truth"] if isinstance(model, dict) and "ground_truth" in model else row.get("answer", row.get("solution"))
    return answers if isinstance(answers, list) else [answers]


def read(text):
    text = str(text)
    return parse(text if "\\boxed" in text else "\\boxed{" + text + "}", parsing_timeout=None)


def grade(request):
    if request["answer"] is None:
        return {"label": "wrong", "reason": "no answer in the required format"}
    answer = read(request["answer"])
    for accepted in accepted_of(request["row"] or {}):
        gold = read(accepted)
        if not gold:
            return {"label": "unknown", "reason": f"the accepted answer {accepted!r} cannot be parsed"}
        if answer and verify(gold, answer, timeout_seconds=None):
            return {"label": "correct"}
    return {"label": "wrong"}


if __name__ == "__main__":
    serve(grade)
