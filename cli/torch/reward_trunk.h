// The trunk of a reward model: a policy's folder, from a row and a completion to the hidden state behind its last token. `candor train-rm`
// fits heads to these states (reward/reward_heads.h) and `candor reward-model` reads them; both come through here, so that they cannot
// differ.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "cli/recipe.h"
#include "core/result.h"
#include "text/rows.h"

namespace candor::cli {

// What stands in a reward model's folder besides the policy.
inline constexpr const char* kRewardHeadsFile = "reward_heads.json";
inline constexpr const char* kRewardSettingsFile = "reward_model.toml";  // the format that its rows were written in

class RewardTrunk {
 public:
  // `threads`: 0 = as many as LibTorch takes.
  static Result<RewardTrunk> Load(const std::string& folder, const Recipe& settings, int64_t threads = 0);
  RewardTrunk(RewardTrunk&&) noexcept;
  ~RewardTrunk();

  // Prompt and completion as the policy meets them; of a text that is longer than the model's positions, its end.
  Result<std::vector<int32_t>> Encode(const DataRow& row, const std::string& completion) const;
  // One row of `width` numbers per text, appended.
  Status Read(const std::vector<std::vector<int32_t>>& texts, std::vector<float>& features) const;
  size_t width() const;

 private:
  struct Impl;
  explicit RewardTrunk(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace candor::cli
