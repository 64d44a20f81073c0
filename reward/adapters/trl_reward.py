"""A TRL reward function as a Candor verifier:

    command = ["python3", "reward/adapters/trl_reward.py", "my_package.my_module:my_reward"]

The function is called as TRL's trainers call it: my_reward(prompts=[..], completions=[..], **columns), a list of one each, and returns a list of numbers; None means unknown. Rows whose
prompt is a list of messages are passed as messages, completions as [{"role": "assistant", "content": ..}]. Its value becomes the channel of the function's name. The label is the value
itself within [0, 1], otherwise correct above 0, or above --correct-above X.
"""
import argparse
import asyncio
import inspect

from candor_adapter import label_of, load_function, numbers, serve

PASSED_ALREADY = ("prompt", "completion", "prompts", "completions", "completion_ids", "trainer_state")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("function", help="module:function or file.py:function")
    parser.add_argument("--correct-above", type=float, default=None, metavar="X")
    options = parser.parse_args()
    function = load_function(options.function)
    channel = getattr(function, "__name__", "reward").strip("<>") or "reward"
    if channel in ("accuracy", "soft", "format", "brier"):  # channels that Candor fills itself
        channel = "trl_" + channel
    parameters = inspect.signature(function).parameters
    takes_all = any(p.kind == inspect.Parameter.VAR_KEYWORD for p in parameters.values())

    def grade(request):
        row = request["row"] or {}
        prompt, completion = request["prompt"], request["completion"]
        if isinstance(row.get("prompt"), list):
            prompt, completion = row["prompt"], [{"role": "assistant", "content": completion}]
        columns = {name: [value] for name, value in row.items() if name not in PASSED_ALREADY}
        given = {"prompts": [prompt], "completions": [completion], "completion_ids": [[]], "trainer_state": None, **columns}
        if not takes_all:
            given = {name: value for name, value in given.items() if name in parameters}
        result = function(**given)
        if inspect.isawaitable(result):
            result = asyncio.run(result)
        value = result[0]
        return {"label": label_of(value, options.correct_above), "rewards": {} if value is None else numbers({channel: float(value)})}

    serve(grade)


if __name__ == "__main__":
    main()
