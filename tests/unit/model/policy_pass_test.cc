// The pass as a whole: engine and learner agree bit for bit in deterministic fp32, recompute changes nothing, units are asked for in the
// promised order, empty batches keep step.
#include "tests/unit/model/tiny_model.h"

namespace candor {
namespace {

// A paged decoder written only with the public pieces that an engine uses: one sequence, prompt in one piece, then token by token.
std::vector<float> EngineLogProbs(const ModelConfig& config, const Parameters& parameters, const std::vector<int32_t>& prompt,
                                  const std::vector<int32_t>& answer) {
  const Numerics numerics{DType::kFp32, true};
  const DecoderWeights weights = BindDecoder(config, parameters, numerics);
  std::vector<int32_t> table;
  for (int32_t i = 0; i < 16; ++i) table.push_back(15 - i);
  std::vector<at::Tensor> keys, values;
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    keys.push_back(at::zeros({16, config.num_kv_heads, config.head_dim, kBlockTokens}));
    values.push_back(at::zeros({16, config.num_kv_heads, kBlockTokens, config.head_dim}));
  }
  RopeTable rope(config);
  std::vector<float> log_probs;
  std::vector<int32_t> ids = prompt;
  int64_t position = 0;
  for (int32_t target : answer) {
    std::vector<int32_t> positions;
    std::vector<int64_t> slots;
    const int64_t first = position;
    for (size_t i = 0; i < ids.size(); ++i, ++position) {
      positions.push_back(static_cast<int32_t>(position));
      slots.push_back(table[static_cast<size_t>(position / kBlockTokens)] * kBlockTokens + position % kBlockTokens);
    }
    const PagedStep step{slots, {{0, static_cast<int64_t>(ids.size()), first, 0}}, table};
    const Attend attend = [&](int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
      const auto l = static_cast<size_t>(layer);
      StoreKeyValues(k, v, step, keys[l], values[l]);
      return PagedAttention(q, keys[l], values[l], step);
    };
    at::Tensor x = Embed(weights.embedding_VD, ids);
    for (const BlockWeights& block : weights.blocks_L) x = Block(config, block, x, rope, positions, attend, numerics);
    const at::Tensor hidden = FinalNorm(config, weights.final_norm_D, x.narrow(0, x.size(0) - 1, 1).contiguous());
    const at::Tensor logits = Logits(weights.head, hidden, numerics);
    log_probs.push_back(logits.const_data_ptr<float>()[target] -
                        RowStatistics(logits.const_data_ptr<float>(), config.vocab_size).log_sum_exp);
    ids = {target};
  }
  return log_probs;
}

TEST(DeterministicMode, EngineAndLearnerAgreeBitForBit) {
  at::NoGradGuard no_grad;
  for (Family family : {Family::kLlama, Family::kQwen2, Family::kQwen3}) {
    const ModelConfig config = TinyConfig(family);
    ASSERT_TRUE(SelfTestRowInvariance(config.hidden_size, config.intermediate_size, config.vocab_size));
    const Parameters parameters = RandomParameters(config, 5, at::kFloat, 0.2);
    const std::vector<int32_t> prompt = TestIds(21, 1, config.vocab_size), answer = TestIds(30, 2, config.vocab_size);
    PackedGroups batch;
    ASSERT_TRUE(batch.Add(TestIds(33, 8, config.vocab_size), {TestIds(4, 9, config.vocab_size)}));
    ASSERT_TRUE(batch.Add(prompt, {TestIds(11, 3, config.vocab_size), answer}));
    auto scores = ScoreTokens(config, parameters, {DType::kFp32, true}, batch);
    ASSERT_TRUE(scores);
    const std::vector<float> engine = EngineLogProbs(config, parameters, prompt, answer);
    const float* learner = scores->log_probs_M.const_data_ptr<float>() + 4 + 11;
    for (size_t i = 0; i < engine.size(); ++i) EXPECT_EQ(engine[i], learner[i]) << Name(family) << " token " << i;
  }
}

TEST(PolicyPass, SharingAPromptEqualsRepeatingIt) {
  const ModelConfig config = TinyConfig();
  const Parameters parameters = RandomParameters(config, 6, at::kFloat, 0.2);
  const std::vector<int32_t> prompt = TestIds(19, 1, config.vocab_size);
  const std::vector<std::vector<int32_t>> answers = {TestIds(6, 2, config.vocab_size), TestIds(14, 3, config.vocab_size)};
  PackedGroups shared, repeated;
  ASSERT_TRUE(shared.Add(prompt, answers));
  for (const auto& answer : answers) ASSERT_TRUE(repeated.Add(prompt, {answer}));
  EXPECT_LT(shared.rows(), repeated.rows());
  const at::Tensor dlog_probs = TestTensor({20}, 4), dselected = TestTensor({20, 2}, 5);
  const Gradients a = RunPass(config, parameters, shared, {3, 8}, dlog_probs, dselected),
                  b = RunPass(config, parameters, repeated, {3, 8}, dlog_probs, dselected);
  EXPECT_LE(MaxAbs(a.scores.log_probs_M - b.scores.log_probs_M), 1e-5);
  for (const std::string& name : a.gradients.Names()) EXPECT_LE(RelativeError(a.gradients.Get(name), b.gradients.Get(name)), 1e-5) << name;
}

TEST(PolicyPass, ACommonBeginningEqualsRepeatingIt) {
  for (Family family : {Family::kLlama, Family::kQwen3}) {
    const ModelConfig config = TinyConfig(family);
    const Parameters parameters = RandomParameters(config, 6, at::kFloat, 0.2);
    const PackedGroups common = CommonBatch(config.vocab_size), repeated = CommonBatch(config.vocab_size, true);
    EXPECT_EQ(common.rows(), repeated.rows() - 9 * 37);
    ASSERT_EQ(common.targets_M, repeated.targets_M);
    const Numerics deterministic{DType::kFp32, true};
    EXPECT_TRUE(at::equal(ScoreTokens(config, parameters, deterministic, common)->log_probs_M,
                          ScoreTokens(config, parameters, deterministic, repeated)->log_probs_M))
        << "deterministic mode: not a bit";
    const at::Tensor dlog_probs = TestTensor({common.scored()}, 4), dselected = TestTensor({common.scored(), 2}, 5);
    const Gradients a = RunPass(config, parameters, common, {3, 8}, dlog_probs, dselected),
                    b = RunPass(config, parameters, repeated, {3, 8}, dlog_probs, dselected),
                    other = RunPass(config, parameters, common, {3, 8}, dlog_probs * 1.001, dselected);
    EXPECT_LE(MaxAbs(a.scores.log_probs_M - b.scores.log_probs_M), 1e-5);
    double control = 0.0;
    for (const std::string& name : a.gradients.Names()) {
      EXPECT_LE(RelativeError(a.gradients.Get(name), b.gradients.Get(name)), 1e-5) << name;
      control = std::max(control, RelativeError(other.gradients.Get(name), b.gradients.Get(name)));
    }
    EXPECT_GT(control, 1e-5) << "the tolerance can fail";
  }
}

TEST(PackedGroups, WhatPromptsBeginWithAlike) {
  const auto common = [](const std::vector<std::vector<int32_t>>& prompts) {
    return static_cast<int>(CommonBeginning(prompts, std::identity()).size());
  };
  const std::vector<int32_t> twenty = TestIds(20, 1, 50);
  const auto with = [&](size_t at, int32_t id) {
    std::vector<int32_t> changed = twenty;
    changed[at] = id;
    return changed;
  };
  EXPECT_EQ(common({}), 0);
  EXPECT_EQ(common({twenty}), 0) << "one prompt shares nothing";
  EXPECT_EQ(common({twenty, twenty}), 19) << "the last token stays with its group";
  EXPECT_EQ(common({twenty, with(18, 51), with(17, 51)}), 17);
  EXPECT_EQ(common({with(17, 51), twenty, twenty}), 17);
  EXPECT_EQ(common({twenty, with(15, 51)}), 0) << "less than a block is not worth it";
  EXPECT_EQ(common({twenty, {}}), 0);
}

TEST(PolicyPass, RecomputeChangesNoBit) {
  for (at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const ModelConfig config = TinyConfig(Family::kQwen3);
    const Parameters parameters = RandomParameters(config, 7, dtype, 0.2);
    const PackedGroups batch = TestBatch(config.vocab_size);
    const at::Tensor dlog_probs = TestTensor({batch.scored()}, 4);
    const Gradients a = RunPass(config, parameters, batch, {}, dlog_probs, {}),
                    b = RunPass(config, parameters, batch, {}, dlog_probs, {}, {.recompute = true, .keep_for_backward = true});
    for (const std::string& name : a.gradients.Names()) EXPECT_TRUE(at::equal(a.gradients.Get(name), b.gradients.Get(name))) << name;
  }
}

TEST(PolicyPass, Bf16GradientsFollowFp32) {
  const ModelConfig config = TinyConfig();
  const Parameters low = RandomParameters(config, 8, at::kBFloat16, 0.1), high = low.Cast(at::kFloat);
  const PackedGroups batch = TestBatch(config.vocab_size);
  const at::Tensor dlog_probs = TestTensor({batch.scored()}, 4);
  const Gradients a = RunPass(config, low, batch, {}, dlog_probs, {}), b = RunPass(config, high, batch, {}, dlog_probs, {});
  for (const std::string& name : a.gradients.Names()) EXPECT_LE(RelativeError(a.gradients.Get(name), b.gradients.Get(name)), 0.03) << name;
}

// Writes down what the pass asks for.
class RecordingAccess : public WholeAccess {
 public:
  using WholeAccess::WholeAccess;
  Result<at::Tensor> Gather(size_t unit) override {
    log.push_back("gather " + std::to_string(unit));
    held = std::max(held, ++now);
    return WholeAccess::Gather(unit);
  }
  void Release(size_t) override { --now; }
  Result<at::Tensor> Gradient(size_t unit) override {
    log.push_back("gradient " + std::to_string(unit));
    return WholeAccess::Gradient(unit);
  }
  Status GradientReady(size_t unit) override {
    log.push_back("ready " + std::to_string(unit));
    return {};
  }
  std::vector<std::string> log;
  int now = 0, held = 0;
};

TEST(PolicyPass, UnitsComeInThePromisedOrderEvenForAnEmptyBatch) {
  for (bool tied : {true, false}) {
    ModelConfig config = TinyConfig();
    config.tie_embeddings = tied;
    const Parameters parameters = RandomParameters(config, 9, at::kFloat);
    Parameters gradients(config, at::kFloat);
    std::vector<std::string> logs[2];
    for (int empty = 0; empty < 2; ++empty) {
      RecordingAccess access(parameters, &gradients);
      PolicyPass pass(config, {DType::kFp32, false}, access);
      const PackedGroups batch = empty ? PackedGroups{} : TestBatch(config.vocab_size);
      ASSERT_TRUE(pass.Forward(batch));
      ASSERT_TRUE(pass.Backward(at::full({batch.scored()}, 0.5)));
      EXPECT_EQ(access.held, 1) << "one unit at a time";
      EXPECT_EQ(access.now, 0);
      logs[empty] = access.log;
    }
    EXPECT_EQ(logs[0], logs[1]);
    const std::string head = std::to_string(HeadUnit(config));
    std::vector<std::string> expected = {"gather 0",       "gather 1",       "gather 2",        "gather 3",
                                         "gather " + head, "gather " + head, "gradient " + head};
    if (!tied) expected.push_back("ready " + head);
    for (const char* unit : {"3", "2", "1"}) {
      for (const char* what : {"gather ", "gradient ", "ready "}) expected.push_back(std::string(what) + unit);
    }
    if (!tied) expected.push_back("gradient 0");
    expected.push_back("ready 0");
    EXPECT_EQ(logs[0], expected);
  }
}

TEST(TokenLogProbs, GradientsEqualNumericDifferences) {
  const int64_t vocab_size = 37, width = 24;
  Linear head{TestTensor({vocab_size, width}, 1), {}, {}};
  at::Tensor hidden = TestTensor({5, width}, 2);
  const std::vector<int32_t> targets = {3, 3, 36, 0, 12}, extra = {7, 20};
  const at::Tensor dlog_probs = TestTensor({5}, 3), dselected = TestTensor({5, 2}, 4);
  dlog_probs[1] = 0.0;
  dselected[1].fill_(0.0);  // a row without a gradient
  const Numerics numerics{DType::kFp32, false};
  const auto loss = [&] {
    const TokenScores s = ComputeTokenLogProbs(head, hidden, targets, extra, numerics);
    return ((s.log_probs_M * dlog_probs).sum() + (s.selected_ME * dselected).sum()).item<double>();
  };
  const Linear grad{at::zeros({vocab_size, width}), {}, {}};
  const at::Tensor dhidden = TokenLogProbsBackward(
      head, hidden, targets, extra, ComputeTokenLogProbs(head, hidden, targets, extra, numerics), dlog_probs, dselected, grad, numerics);
  const auto numeric = [&](at::Tensor& x, int64_t i) {
    float& place = x.mutable_data_ptr<float>()[i];
    const float kept = place;
    place = kept + 0.02f;
    const double up = loss();
    place = kept - 0.02f;
    const double down = loss();
    place = kept;
    return (up - down) / 0.04;
  };
  for (int64_t i = 0; i < hidden.numel(); i += 7) EXPECT_NEAR(dhidden.const_data_ptr<float>()[i], numeric(hidden, i), 2e-3) << i;
  for (int64_t i = 0; i < head.weight_OI.numel(); i += 31)
    EXPECT_NEAR(grad.weight_OI.const_data_ptr<float>()[i], numeric(head.weight_OI, i), 2e-3) << i;
  EXPECT_EQ(MaxAbs(dhidden[1]), 0.0);
}

// What forward kept gives backward what it would compute again, whichever rows were kept and whichever have a gradient.
TEST(TokenLogProbs, KeptGradientsEqualThoseComputedAgain) {
  const int64_t vocab_size = 5000, width = 32, rows = 9;
  const std::vector<int32_t> targets = {3, 3, 4999, 0, 12, 77, 4096, 1, 2}, extra = {7, 20};
  const at::Tensor dselected = TestTensor({rows, 2}, 4);
  at::Tensor dlog_probs = TestTensor({rows}, 3);
  for (const int64_t row : {1, 5, 7}) dlog_probs[row] = 0.0, dselected[row].fill_(0.0);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Numerics numerics{type == at::kFloat ? DType::kFp32 : DType::kBf16, false};
    const Linear head{TestTensor({vocab_size, width}, 1, type), {}, {}};
    const at::Tensor hidden = TestTensor({rows, width}, 2, type);
    const int64_t row_bytes = vocab_size * hidden.element_size();
    const auto gradients = [&](int64_t keep_bytes, const at::Tensor& dlog_probs_M) {
      const Linear grad{at::zeros({vocab_size, width}), {}, {}};
      const TokenScores scores = ComputeTokenLogProbs(head, hidden, targets, extra, numerics, keep_bytes);
      EXPECT_EQ(scores.kept_KV.defined() ? scores.kept_KV.size(0) : 0, std::min(rows, keep_bytes / row_bytes));
      const at::Tensor dhidden = TokenLogProbsBackward(head, hidden, targets, extra, scores, dlog_probs_M, dselected, grad, numerics);
      return std::pair(dhidden, grad.weight_OI);
    };
    const auto [dhidden, dhead] = gradients(0, dlog_probs);
    const double bound = type == at::kFloat ? 1e-6 : 8e-3;
    for (const int64_t kept : {int64_t{1}, int64_t{4}, rows}) {
      const auto [got_hidden, got_head] = gradients(kept * row_bytes + 1, dlog_probs);
      EXPECT_LE(RelativeError(got_hidden, dhidden), bound) << kept;
      EXPECT_LE(RelativeError(got_head, dhead), bound) << kept;
      EXPECT_EQ(MaxAbs(got_hidden[5]), 0.0);
    }
    // The control: the same with the rows' gradients in another order.
    EXPECT_GT(RelativeError(gradients(rows * row_bytes, dlog_probs.flip(0).contiguous()).first, dhidden), 0.1);
  }
}

}  // namespace
}  // namespace candor
