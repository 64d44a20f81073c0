// Confidence signals of a finished trace, from what was recorded at its tokens. Names: "slot" sigmoid(z_high - z_low); "verbal" the number
// the policy wrote; "answer_span" exp(mean log p) over the answer's own tokens, "answer_prob" exp(sum log p), "answer_margin" mean p1 - p2
// over them (CoT decoding); "mean_log_prob", "self_certainty" over the sampled tokens; "lowest_window" the lowest mean of DeepConf's token
// confidence over a sliding window (2508.15260; a shorter trace is one window). The last three are not probabilities. A signal that cannot
// be had is absent, never 0. Pure functions.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace candor {

// sigmoid(z_high - z_low) without overflow.
double SlotConfidence(double z_high, double z_low);
// Lowest mean over `window` consecutive values; all of them when there are fewer. 0 for none.
double LowestWindow(const std::vector<float>& values, int64_t window);
double Mean(const std::vector<float>& values);

// Tokens whose bytes overlap [range.begin, range.end); token t covers [end_bytes[t-1], end_bytes[t]).
std::vector<int64_t> TokensWithin(const std::vector<int64_t>& end_bytes_T, ByteRange range);
// The range without white space at its ends.
ByteRange TrimRange(std::string_view text, ByteRange range);

// answer_span, answer_prob and answer_margin over the given tokens; nothing when there are none.
void AddAnswerSignals(const std::vector<int64_t>& answer_tokens, const std::vector<float>& log_probs_T, const std::vector<float>& margin_T,
                      std::map<std::string, double>& signals);

}  // namespace candor
