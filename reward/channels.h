// The reward channels that Candor fills for every trace. An objective names one, or an expression over them (core/channel_expression.h) and
// the user's own channels.
//   F = 1 when the format held, a = 1 when the answer is correct, c = the confidence.
//   format     F
//   accuracy   F·a                    missing when the label is unknown
//   soft       F·(partial credit)     missing when the label is unknown
//   brier      F·(1 − (c − a)²)       missing when the label is unknown, or when the recipe asks for no confidence
// With these, accuracy + brier − 1 is the paper's RLCR reward a − (c − a)² (arXiv 2507.16806), and 0.5·format + 0.5·accuracy + 0.5·brier
// its code's. A completion that broke the format is wrong, not unknown: its accuracy and brier are 0, the least there is.
#pragma once
#include <map>
#include <optional>
#include <string>

#include "core/confidence.h"
#include "core/trace.h"

namespace candor {

struct ChannelInputs {
  bool format_ok = false;
  Label label = Label::kUnknown;  // kWrong when format_ok is false
  double soft_label = 0.0;
  bool wants_confidence = false;
  std::optional<Confidence> confidence;  // set when format_ok and wants_confidence
};

// Pure. A missing channel is absent from the map, never 0.
std::map<std::string, double> ComputeChannels(const ChannelInputs& inputs);

}  // namespace candor
