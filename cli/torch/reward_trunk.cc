#include "cli/torch/reward_trunk.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <optional>

#include "core/rng.h"
#include "model/device.h"
#include "model/final_hidden.h"
#include "text/prompt.h"
#include "trainer/optimizer.h"

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

namespace {

constexpr size_t kTrunkRowsPerPass = 4096;

std::span<float> AsSpan(const at::Tensor& flat) { return {flat.data_ptr<float>(), static_cast<size_t>(flat.numel())}; }

// fp32 weights on the host with AdamW's state.
struct TrunkState {
  Parameters masters, m, v, gradients;
  int64_t updates = 0;
  explicit TrunkState(const Parameters& weights, const ModelConfig& config)
      : masters(weights.To(at::Device(at::kCPU)).Cast(at::kFloat)),
        m(config, at::kFloat),
        v(config, at::kFloat),
        gradients(config, at::kFloat) {}

  Status Update(double lr) {
    AdamOptions adam;
    double squares = 0.0;
    for (size_t unit = 0; unit < masters.unit_count(); ++unit) squares += SumOfSquares(AsSpan(gradients.Flat(unit)));
    if (!std::isfinite(squares))
      return Fail(ErrorCode::kInvalidInput, "a gradient of the trunk is not finite", "--trunk-lr", "lower it, or look at the scores");
    const AdamWStep step = PlanAdamW(adam, lr, ++updates, ClipScale(std::sqrt(squares), adam.grad_clip));
    for (size_t unit = 0; unit < masters.unit_count(); ++unit) {
      ApplyAdamW(step, false, AsSpan(masters.Flat(unit)), AsSpan(m.Flat(unit)), AsSpan(v.Flat(unit)), AsSpan(gradients.Flat(unit)));
      gradients.Flat(unit).zero_();
    }
    return {};
  }
};

// Adds the gradient of the mean loss of these rows; the sum of their losses.
Result<double> AddTrunkGradient(HiddenPass& pass, const std::vector<std::vector<int32_t>>& texts, const std::vector<double>& scores,
                                std::span<const uint32_t> rows, const RewardHeads& heads, Parameters& gradients) {
  double loss = 0.0;
  for (size_t next = 0; next < rows.size();) {
    std::vector<std::vector<int32_t>> packed;
    const size_t first = next;
    for (size_t tokens = 0; next < rows.size() && (tokens == 0 || tokens + texts[rows[next]].size() <= kTrunkRowsPerPass); ++next)
      packed.push_back(texts[rows[next]]), tokens += packed.back().size();
    CANDOR_ASSIGN(const at::Tensor hidden_MD, pass.Forward(packed));
    const at::Tensor dhidden_MD = at::zeros_like(hidden_MD);
    const auto width = static_cast<size_t>(hidden_MD.size(1));
    for (size_t i = 0; i < packed.size(); ++i)
      loss += AddHeadLoss(heads, {hidden_MD.const_data_ptr<float>() + i * width, width}, scores[rows[first + i]],
                          1.0 / static_cast<double>(rows.size()), {dhidden_MD.data_ptr<float>() + i * width, width});
    CANDOR_TRY(pass.Backward(dhidden_MD, gradients));
  }
  return loss;
}

}  // namespace

Status RewardTrunk::Train(const std::vector<std::vector<int32_t>>& texts, const std::vector<double>& scores, const RewardHeads& heads,
                          const TrunkFitOptions& options, const std::function<void(int64_t, int64_t, double)>& progress) {
  at::NoGradGuard no_grad;
  if (impl_->parameters.Flat(0).device().type() != at::kCPU)
    return Fail(ErrorCode::kInvalidInput, "a trunk is trained on the processor", "--trunk-epochs", "add device=cpu");
  TrunkState state(impl_->parameters, impl_->config);
  HiddenPass pass(impl_->config, impl_->numerics, impl_->parameters);
  const size_t n = texts.size(), per_step = static_cast<size_t>(options.rows_per_step);
  const auto steps_of_epoch = static_cast<int64_t>((n + per_step - 1) / per_step), total = steps_of_epoch * options.epochs;
  std::vector<uint32_t> order(n);
  for (int64_t step = 0; step < total; ++step) {
    if (step % steps_of_epoch == 0)
      EpochOrder(options.seed, static_cast<uint64_t>(step / steps_of_epoch), static_cast<uint32_t>(n), order.data());
    const size_t first = static_cast<size_t>(step % steps_of_epoch) * per_step, count = std::min(per_step, n - first);
    CANDOR_ASSIGN(const double loss, AddTrunkGradient(pass, texts, scores, std::span(order).subspan(first, count), heads, state.gradients));
    CANDOR_TRY(state.Update(options.lr * (1.0 - static_cast<double>(step) / static_cast<double>(total))));
    for (size_t unit = 0; unit < state.masters.unit_count(); ++unit) impl_->parameters.Flat(unit).copy_(state.masters.Flat(unit));
    if (progress) progress(step + 1, total, loss / static_cast<double>(count));
  }
  return {};
}

Status RewardTrunk::Save(const std::string& folder) const {
  std::error_code error;
  std::vector<std::filesystem::path> old;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    if (entry.path().filename().string().find(".safetensors") != std::string::npos) old.push_back(entry.path());
  for (const auto& path : old) std::filesystem::remove(path, error);
  if (error) return Fail(ErrorCode::kIo, "cannot replace the policy's weights: " + error.message(), folder);
  return SaveParameters(impl_->parameters, folder);
}

size_t RewardTrunk::width() const { return static_cast<size_t>(impl_->config.hidden_size); }

}  // namespace candor::cli
