#include "cli/torch/reward_trunk.h"

#include <optional>

#include "model/device.h"
#include "model/final_hidden.h"
#include "text/prompt.h"

namespace candor::cli {

struct RewardTrunk::Impl {
  ModelConfig config;
  Parameters parameters;
  Numerics numerics;
  std::optional<Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;
  std::optional<PromptBuilder> prompts;
};

RewardTrunk::RewardTrunk(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RewardTrunk::RewardTrunk(RewardTrunk&&) noexcept = default;
RewardTrunk::~RewardTrunk() = default;

Result<RewardTrunk> RewardTrunk::Load(const std::string& folder, const Recipe& settings, int64_t threads) {
  if (threads > 0) at::set_num_threads(static_cast<int>(threads));
  auto impl = std::make_unique<Impl>();
  CANDOR_ASSIGN(const DType dtype, ParseDType(settings.run.dtype));
  CANDOR_ASSIGN(const at::Device device, OpenDevice(settings.run.device));
  CANDOR_ASSIGN(impl->config, ReadModelConfig(folder));
  impl->numerics.dtype = ResolveDType(dtype, device);
  CANDOR_ASSIGN(const Parameters loaded, LoadParameters(folder, impl->config, ToScalarType(impl->numerics.dtype)));
  impl->parameters = loaded.To(device);
  CANDOR_ASSIGN(impl->tokenizer, Tokenizer::Load(folder));
  CANDOR_ASSIGN(impl->chat_template, ChatTemplate::Load(folder));
  CANDOR_ASSIGN(impl->prompts, PromptBuilder::Make(&*impl->tokenizer, &*impl->chat_template, settings.format));
  return RewardTrunk(std::move(impl));
}

Result<std::vector<int32_t>> RewardTrunk::Encode(const DataRow& row, const std::string& completion) const {
  CANDOR_ASSIGN(PromptText prompt, impl_->prompts->Build(row));
  CANDOR_ASSIGN(const std::vector<int32_t> written, impl_->tokenizer->Encode(completion, false));
  std::vector<int32_t>& ids = prompt.ids_P;
  ids.insert(ids.end(), written.begin(), written.end());
  const auto room = static_cast<size_t>(impl_->config.max_positions);
  if (room > 0 && ids.size() > room) ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(room));
  return std::move(ids);
}

Status RewardTrunk::Read(const std::vector<std::vector<int32_t>>& texts, std::vector<float>& features) const {
  CANDOR_ASSIGN(const at::Tensor hidden_MD, FinalHidden(impl_->config, impl_->parameters, impl_->numerics, texts));
  const float* from = hidden_MD.const_data_ptr<float>();
  features.insert(features.end(), from, from + hidden_MD.numel());
  return {};
}

size_t RewardTrunk::width() const { return static_cast<size_t>(impl_->config.hidden_size); }

}  // namespace candor::cli
