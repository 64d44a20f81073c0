// The trunk of a reward model: a policy's folder, from a row and a completion to the hidden state behind its last token. `candor train-rm`
// fits heads to these states (reward/reward_heads.h) and `candor reward-model` reads them; both come through here, so that they cannot
// differ.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/recipe.h"
#include "core/result.h"
#include "reward/reward_heads.h"
#include "text/rows.h"

namespace candor::cli {

// What stands in a reward model's folder besides the policy.
inline constexpr const char* kRewardHeadsFile = "reward_heads.json";
inline constexpr const char* kRewardSettingsFile = "reward_model.toml";  // the format that its rows were written in

// A trunk is trained by the squared error of heads that stay as they are meanwhile (AddHeadLoss).
struct TrunkFitOptions {
  int64_t epochs = 0;
  double lr = 1e-5;
  int64_t rows_per_step = 16;
  uint64_t seed = 1;
};

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
  // AdamW on all weights but an untied LM head, which no hidden state depends on. `progress` after each step, with its mean loss. Errors:
  // numbers that are not finite.
  Status Train(const std::vector<std::vector<int32_t>>& texts, const std::vector<double>& scores, const RewardHeads& heads,
               const TrunkFitOptions& options, const std::function<void(int64_t step, int64_t total, double loss)>& progress);
  // Writes the weights over those of a copy of the policy's folder.
  Status Save(const std::string& folder) const;

 private:
  struct Impl;
  explicit RewardTrunk(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace candor::cli
