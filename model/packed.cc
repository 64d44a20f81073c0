// Builds the learner's flat batch.
#include "model/packed.h"

namespace candor {

Status PackedGroups::Add(const std::vector<int32_t>& prompt, const std::vector<std::vector<int32_t>>& answers) {
  if (prompt.empty())
    return Fail(ErrorCode::kInvalidInput, "a packed group has an empty prompt", "", "start the prompt with the model's first token");
  const auto append = [&](const std::vector<int32_t>& ids, int64_t count, int64_t first_position) {
    RowRange range{rows(), rows() + count};
    for (int64_t i = 0; i < count; ++i) {
      ids_N.push_back(ids[static_cast<size_t>(i)]);
      positions_N.push_back(static_cast<int32_t>(first_position + i));
    }
    return range;
  };
  PackedGroup group;
  const auto prompt_size = static_cast<int64_t>(prompt.size());
  group.prompt = append(prompt, prompt_size, 0);
  for (const std::vector<int32_t>& answer : answers) {
    const auto size = static_cast<int64_t>(answer.size());
    const RowRange range = append(answer, size > 0 ? size - 1 : 0, prompt_size);
    group.answers.push_back(range);
    for (int64_t i = 0; i < size; ++i) {
      predict_rows_M.push_back(i == 0 ? group.prompt.end - 1 : range.begin + i - 1);
      targets_M.push_back(answer[static_cast<size_t>(i)]);
    }
  }
  groups.push_back(std::move(group));
  plan.reset();
  return {};
}

}  // namespace candor
