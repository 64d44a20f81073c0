// What `candor init` writes; @names@ are filled in.
#pragma once

namespace candor::cli {

inline constexpr const char* kInitRecipe = R"(# Every key with its default: candor check --reference
name   = @name@
model  = @model@          # Hugging Face folder
seed   = 1
stages = ["rl"]           # put "sft" before it, with [sft_rows] path = "..", when the model does not hold the format yet

[[data.train]]
path = @train@

[[eval]]                  # never trained on: the result
name = "test"
path = @test@

[format]
tags       = ["answer", "confidence"]   # "think" before them for a model that reasons
confidence = "slot"                     # read from two tokens; "verbal": the model writes a number
slot_high  = @high@
slot_low   = @low@

[rollout]
max_new_tokens = @tokens@
greedy_traces  = 1        # the answer that users get; it trains only the slot

[reward]
verifier = "mine"

[[verifier]]              # decides what is right; try it: candor verifier test recipe.toml
name      = "mine"
command   = ["python3", @verifier@]
timeout_s = 10.0
processes = 2

[[objective]]             # accuracy teaches the answer
channel   = "accuracy"
segment   = "answer"
advantage = "group_mean"
weight    = 1.0

[[objective]]             # squared error (Brier) teaches the confidence
channel = "accuracy"
segment = "slot"
loss    = "squared_error"
weight  = 0.5

[trainer]
steps            = 60
prompts_per_step = 28
group_size       = 4
lr               = 1e-5
ranks            = 1      # processes that share the learning
)";

inline constexpr const char* kInitVerifier = R"(#!/usr/bin/env python3
"""Says whether an answer is right. One JSON line in, one out; notes go to stderr.

in   {"id", "prompt", "completion", "answer": what stood in the answer tag or null, "row": the data row}
out  {"id", "label": "correct" | "wrong" | "unknown" | 0..1, "rewards"?: {"name": number}, "reason"?: why}
"""
import json
import sys


def normal(text):
    return " ".join(str(text).lower().replace(".", " ").replace(",", " ").split())


def accepted(row):
    answers = row["answer"] if "answer" in row else row["reward_model"]["ground_truth"]
    return answers if isinstance(answers, list) else [answers]


for line in sys.stdin:
    case = json.loads(line)
    given = normal(case["answer"] or "")
    right = given != "" and given in [normal(answer) for answer in accepted(case["row"])]
    reply = {"id": case["id"], "label": "correct" if right else "wrong"}
    if not right:
        reply["reason"] = "not among the accepted answers"
    print(json.dumps(reply), flush=True)
)";

}  // namespace candor::cli
