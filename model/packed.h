// The learner's batch: groups of answers that share a prompt, as flat tokens without padding. Rows of a group: the prompt once, then each
// answer. An answer's token attends to the whole prompt and to its own earlier tokens. The row that predicts an answer's first token is the
// prompt's last row; so a prompt needs at least one token. A plain sequence (supervised learning) is a group of one answer whose prompt is
// its first token or its unscored beginning. What all prompts begin with (a system prompt, few-shot examples, the question's form) can lie
// in front of all groups, computed once per batch.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/result.h"

namespace candor {

namespace portable {
struct SequencePlan;  // model/portable/sequences.h
}

struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};

struct PackedGroup {
  RowRange prompt;  // without the common beginning
  std::vector<RowRange> answers;
};

struct PackedGroups {
  std::vector<int32_t> ids_N;
  std::vector<int32_t> positions_N;
  RowRange common;  // what all prompts begin with; every row of every group sees it whole
  std::vector<PackedGroup> groups;
  // One entry per answer token, in row order of the answers: the row whose hidden state predicts it, and its id.
  std::vector<int64_t> predict_rows_M;
  std::vector<int32_t> targets_M;
  // The batch's index tensors on a device, made by the first layer that needs them and shared by copies of the batch; Add drops them.
  mutable std::shared_ptr<const portable::SequencePlan> plan = nullptr;

  int64_t rows() const { return static_cast<int64_t>(ids_N.size()); }
  int64_t scored() const { return static_cast<int64_t>(targets_M.size()); }
  // Of an empty batch: the tokens that the prompts of all groups to come begin with.
  void Begin(std::span<const int32_t> common);
  // Appends a group (the prompt whole, with the common beginning and longer than it); every answer token gets an entry in predict_rows_M
  // and targets_M. An answer's last token predicts nothing and so gets no row: an answer of T tokens has T - 1 rows. Empty answers are
  // allowed (they score nothing).
  Status Add(const std::vector<int32_t>& prompt, const std::vector<std::vector<int32_t>>& answers);
};

// What all prompts begin with, if it is worth computing once for all: at most one token less than the shortest has, nothing for fewer than
// two prompts or for less than a key-value block. A part of the first item's prompt; `prompt_of` gives an item's.
template <typename Items, typename PromptOf>
std::span<const int32_t> CommonBeginning(const Items& items, const PromptOf& prompt_of) {
  constexpr size_t kLeast = 16;
  std::span<const int32_t> common;
  size_t prompts = 0;
  for (const auto& item : items) {
    const std::span<const int32_t> prompt = std::invoke(prompt_of, item);
    if (prompts++ == 0) common = prompt;
    const auto same = static_cast<size_t>(std::mismatch(common.begin(), common.end(), prompt.begin(), prompt.end()).first - common.begin());
    common = common.first(std::min(same, std::max<size_t>(prompt.size(), 1) - 1));
  }
  return prompts < 2 || common.size() < kLeast ? std::span<const int32_t>() : common;
}

}  // namespace candor
