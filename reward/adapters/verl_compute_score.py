"""A verl reward function as a Candor verifier:

    command = ["python3", "reward/adapters/verl_compute_score.py", "my_package.my_module:compute_score"]

The function is called as verl calls it: compute_score(data_source=, solution_str=, ground_truth=, extra_info=), and returns a number or a dict with "score". Its score becomes the channel
"score", other numbers of the dict channels of their names. The label is the dict's "acc" when it has one, else the score: as it is within [0, 1], otherwise correct above 0, or above
--correct-above X. solution_str is the whole completion; --answer-only passes the parsed answer instead.
"""
import argparse

from candor_adapter import label_of, load_function, numbers, serve

RESERVED = ("accuracy", "soft", "format", "brier")  # channels that Candor fills itself


def ground_truth_of(row):
    model = row.get("reward_model")
    if isinstance(model, dict) and "ground_truth" in model:
        return model["ground_truth"]
    return row.get("answer", row.get("solution"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("function", help="module:function or file.py:function")
    parser.add_argument("--correct-above", type=float, default=None, metavar="X")
    parser.add_argument("--answer-only", action="store_true")
    options = parser.parse_args()
    function = load_function(options.function)

    def grade(request):
        row = request["row"] or {}
        text = request["completion"] if not options.answer_only else request["answer"] or ""
        result = function(data_source=row.get("data_source", ""), solution_str=text, ground_truth=ground_truth_of(row), extra_info=row.get("extra_info"))
        values = result if isinstance(result, dict) else {"score": result}
        label = label_of(values["acc"]) if values.get("acc") is not None else label_of(values.get("score"), options.correct_above)
        rewards = {("verl_" + name if name in RESERVED else name): value for name, value in numbers(values).items()}
        return {"label": label, "rewards": rewards}

    serve(grade)


if __name__ == "__main__":
    main()
