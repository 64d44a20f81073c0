#include "trainer/packing.h"

namespace candor {

namespace {

int64_t RowsOf(const PackItem& item) {
  int64_t rows = item.prompt_tokens;
  for (int64_t tokens : item.answer_tokens) rows += AnswerRows(tokens);
  return rows;
}

// A group that is too large: as many answers as fit behind each copy of the prompt, at least one.
void AddSplit(const PackItem& item, size_t index, int64_t budget, std::vector<MicroBatch>& batches) {
  batches.emplace_back();
  for (size_t answer = 0; answer < item.answer_tokens.size(); ++answer) {
    int64_t rows = AnswerRows(item.answer_tokens[answer]);
    if (!batches.back().parts.empty() && batches.back().rows + rows > budget) batches.emplace_back();
    MicroBatch& batch = batches.back();
    if (batch.parts.empty()) {
      batch.parts.push_back({index, {}});
      batch.rows = item.prompt_tokens;
    }
    batch.parts.back().answers.push_back(answer);
    batch.rows += rows;
  }
}

}  // namespace

std::vector<MicroBatch> PlanMicroBatches(std::span<const PackItem> items, int64_t budget, int64_t common) {
  std::vector<MicroBatch> batches;
  bool open = false;  // whether the last micro-batch may take another group
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i].answer_tokens.empty()) continue;
    int64_t rows = RowsOf(items[i]);
    if (rows > budget && !items[i].whole) {
      AddSplit(items[i], i, budget, batches);
      open = false;
      continue;
    }
    if (!open || batches.back().rows + rows - common > budget) batches.push_back({{}, common, common});
    open = true;
    PackPart part{i, {}};
    for (size_t answer = 0; answer < items[i].answer_tokens.size(); ++answer) part.answers.push_back(answer);
    batches.back().parts.push_back(std::move(part));
    batches.back().rows += rows - common;
  }
  for (MicroBatch& batch : batches)
    if (batch.parts.size() == 1) batch.common = 0;
  return batches;
}

}  // namespace candor
