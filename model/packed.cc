// Builds the learner's flat batch.
#include "model/packed.h"

#include <algorithm>

#include "core/check.h"

namespace candor {

namespace {

RowRange Append(std::span<const int32_t> ids, int64_t first_position, PackedGroups& batch) {
  const RowRange range{batch.rows(), batch.rows() + static_cast<int64_t>(ids.size())};
  for (size_t i = 0; i < ids.size(); ++i) {
    batch.ids_N.push_back(ids[i]);
    batch.positions_N.push_back(static_cast<int32_t>(first_position + static_cast<int64_t>(i)));
  }
  return range;
}

}  // namespace

void PackedGroups::Begin(std::span<const int32_t> ids) {
  CANDOR_CHECK(ids_N.empty(), "the common beginning comes before all groups");
  common = Append(ids, 0, *this);
  plan.reset();
}

Status PackedGroups::Add(const std::vector<int32_t>& prompt, const std::vector<std::vector<int32_t>>& answers) {
  if (prompt.empty())
    return Fail(ErrorCode::kInvalidInput, "a packed group has an empty prompt", "", "start the prompt with the model's first token");
  const auto shared = static_cast<size_t>(common.size());
  CANDOR_CHECK(prompt.size() > shared && std::equal(prompt.begin(), prompt.begin() + common.size(), ids_N.begin()),
               "a prompt goes on behind the common beginning");
  PackedGroup group;
  const auto prompt_size = static_cast<int64_t>(prompt.size());
  group.prompt = Append(std::span(prompt).subspan(shared), common.size(), *this);
  for (const std::vector<int32_t>& answer : answers) {
    const RowRange range = Append(std::span(answer).first(answer.empty() ? 0 : answer.size() - 1), prompt_size, *this);
    group.answers.push_back(range);
    for (size_t i = 0; i < answer.size(); ++i) {
      predict_rows_M.push_back(i == 0 ? group.prompt.end - 1 : range.begin + static_cast<int64_t>(i) - 1);
      targets_M.push_back(answer[i]);
    }
  }
  groups.push_back(std::move(group));
  plan.reset();
  return {};
}

}  // namespace candor
