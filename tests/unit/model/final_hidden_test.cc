// The hidden state behind a text's last token is the one that the head predicts the next token from.
#include "model/final_hidden.h"

#include "tests/unit/model/tiny_model.h"

namespace candor {
namespace {

TEST(FinalHidden, IsWhatTheHeadPredictsTheNextTokenFrom) {
  at::NoGradGuard no_grad;
  const ModelConfig config = TinyConfig();
  const Numerics numerics{DType::kFp32, true};
  const Parameters parameters = RandomParameters(config, 5, at::kFloat, 0.2);
  const std::vector<std::vector<int32_t>> texts = {TestIds(7, 1, config.vocab_size), TestIds(1, 2, config.vocab_size),
                                                   TestIds(30, 3, config.vocab_size)};
  const at::Tensor hidden_MD = *FinalHidden(config, parameters, numerics, texts);
  ASSERT_EQ(hidden_MD.size(0), 3);
  ASSERT_EQ(hidden_MD.size(1), config.hidden_size);
  const at::Tensor logits = Logits(BindDecoder(config, parameters, numerics).head, hidden_MD, numerics);
  for (int64_t i = 0; i < 3; ++i) {
    PackedGroups batch;
    ASSERT_TRUE(batch.Add(texts[static_cast<size_t>(i)], {{11}}));
    const float want = ScoreTokens(config, parameters, numerics, batch)->log_probs_M.item<float>();
    const float* row = logits.const_data_ptr<float>() + i * config.vocab_size;
    EXPECT_NEAR(row[11] - RowStatistics(row, config.vocab_size).log_sum_exp, want, 1e-5) << i;
  }
  EXPECT_GT(MaxAbs(hidden_MD[0] - hidden_MD[2]), 1e-2) << "another text, another state";
}

// A weighted sum of the states, as a function of every unit's parameters.
double WeightedSum(const ModelConfig& config, const Parameters& parameters, const std::vector<std::vector<int32_t>>& texts,
                   const at::Tensor& weights_MD) {
  return ((*FinalHidden(config, parameters, {DType::kFp32, true}, texts)).to(at::kDouble) * weights_MD.to(at::kDouble))
      .sum()
      .item<double>();
}

TEST(HiddenPass, ItsGradientIsThatOfFiniteDifferences) {
  at::NoGradGuard no_grad;
  for (Family family : {Family::kLlama, Family::kQwen3}) {
    const ModelConfig config = TinyConfig(family);
    Parameters parameters = RandomParameters(config, 5, at::kFloat, 0.2), gradients(config, at::kFloat);
    const std::vector<std::vector<int32_t>> texts = {TestIds(7, 1, config.vocab_size), TestIds(12, 2, config.vocab_size)};
    HiddenPass pass(config, {DType::kFp32, true}, parameters);
    const at::Tensor hidden_MD = *pass.Forward(texts);
    EXPECT_EQ(MaxAbs(hidden_MD - *FinalHidden(config, parameters, {DType::kFp32, true}, texts)), 0.0);
    const at::Tensor weights_MD = at::cos(at::arange(hidden_MD.numel(), at::kFloat).reshape(hidden_MD.sizes()));
    ASSERT_TRUE(pass.Backward(weights_MD, gradients));
    for (size_t unit = 0; unit < parameters.unit_count(); ++unit) {
      // Along the gradient itself the difference quotient is its squared norm.
      const at::Tensor direction = gradients.Flat(unit) / gradients.Flat(unit).norm().clamp_min(1e-12);
      const double norm = gradients.Flat(unit).norm().item<double>(), h = 2e-3;
      parameters.Flat(unit).add_(direction, h);
      const double above = WeightedSum(config, parameters, texts, weights_MD);
      parameters.Flat(unit).add_(direction, -2 * h);
      const double below = WeightedSum(config, parameters, texts, weights_MD);
      parameters.Flat(unit).add_(direction, h);
      EXPECT_NEAR((above - below) / (2 * h), norm, 0.02 * norm + 2e-3) << "unit " << unit;
      EXPECT_TRUE(unit != EmbeddingUnit() || norm > 1e-3) << "the control: something flows all the way down";
    }
  }
}

TEST(FinalHidden, AnEmptyTextAndATokenThatTheModelLacksAreRefused) {
  const ModelConfig config = TinyConfig();
  for (const int32_t id : {-1, static_cast<int32_t>(config.vocab_size)})
    EXPECT_FALSE(FinalHidden(config, RandomParameters(config, 5, at::kFloat, 0.2), {DType::kFp32, true}, {{1, 2}, {1, id}})) << id;
  EXPECT_FALSE(FinalHidden(config, RandomParameters(config, 5, at::kFloat, 0.2), {DType::kFp32, true}, {{}}));
}

}  // namespace
}  // namespace candor
