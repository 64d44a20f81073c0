// Packing: a rank's groups into micro-batches under a token budget, so that each group's prompt is computed once, and what all prompts
// begin with once per micro-batch. Integers only. Pure, any thread. Holds: every answer lies in exactly one micro-batch; groups keep their
// order; a micro-batch is over budget only when one prompt with one answer is, or a whole group; a group is split (and its prompt computed
// again) only when it does not fit into a micro-batch by itself and may be split.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace candor {

struct PackItem {
  int64_t prompt_tokens = 0;
  std::vector<int64_t> answer_tokens;  // T of each answer
  bool whole = false;                  // its answers are compared with each other: never split
};

// Some answers of one group, behind its prompt.
struct PackPart {
  size_t item = 0;
  std::vector<size_t> answers;
};
struct MicroBatch {
  std::vector<PackPart> parts;
  int64_t rows = 0;    // of the model's batch: prompt tokens and, of an answer of T tokens, T - 1; the common beginning once
  int64_t common = 0;  // tokens of it; 0 where there is one part
};

// Rows that one answer adds: its last token predicts nothing.
inline int64_t AnswerRows(int64_t tokens) { return tokens > 0 ? tokens - 1 : 0; }

// `common`: how many tokens all prompts begin with (CommonBeginning), fewer than any prompt has.
std::vector<MicroBatch> PlanMicroBatches(std::span<const PackItem> items, int64_t budget, int64_t common);

}  // namespace candor
