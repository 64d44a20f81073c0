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

TEST(FinalHidden, AnEmptyTextAndATokenThatTheModelLacksAreRefused) {
  const ModelConfig config = TinyConfig();
  for (const int32_t id : {-1, static_cast<int32_t>(config.vocab_size)})
    EXPECT_FALSE(FinalHidden(config, RandomParameters(config, 5, at::kFloat, 0.2), {DType::kFp32, true}, {{1, 2}, {1, id}})) << id;
  EXPECT_FALSE(FinalHidden(config, RandomParameters(config, 5, at::kFloat, 0.2), {DType::kFp32, true}, {{}}));
}

}  // namespace
}  // namespace candor
