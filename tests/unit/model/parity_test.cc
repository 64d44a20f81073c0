// Logits, log-probabilities, loss and every gradient of two-layer models of each family against Hugging Face
// (tools/make_model_references.py), and proof that these checks can fail.
#include "tests/unit/model/tiny_model.h"

namespace candor {
namespace {

constexpr double kLogitTolerance = 2e-4, kGradientTolerance = 1e-4;

struct Reference {
  ModelConfig config;
  Parameters parameters;
  PackedGroups batch;
  std::vector<int32_t> extra_ids, all_ids;
  std::unique_ptr<SafetensorsFile> file;
  at::Tensor Get(const std::string& name) const { return file->tensors().at(name).clone(); }
};

Reference Load(const std::string& name) {
  Reference reference;
  const nlohmann::json json = nlohmann::json::parse(ReadText(GoldenPath(name + ".json")));
  auto config = ParseModelConfig(json["config"].dump(), "", name);
  EXPECT_TRUE(config) << config.error().Message();
  reference.config = *config;
  reference.parameters = RandomParameters(*config, json["seed"].get<uint64_t>(), at::kFloat, json["scale"].get<double>());
  for (const auto& group : json["groups"]) {
    EXPECT_TRUE(
        reference.batch.Add(group["prompt"].get<std::vector<int32_t>>(), group["answers"].get<std::vector<std::vector<int32_t>>>()));
  }
  reference.extra_ids = json["extra_ids"].get<std::vector<int32_t>>();
  for (int32_t id = 0; id < config->vocab_size; ++id) reference.all_ids.push_back(id);
  auto file = SafetensorsFile::Open(GoldenPath(name + ".safetensors"));
  EXPECT_TRUE(file) << file.error().Message();
  reference.file = std::move(*file);
  return reference;
}

double LogitError(const Reference& reference) {
  auto scores = ScoreTokens(reference.config, reference.parameters, {DType::kFp32, false}, reference.batch, reference.all_ids);
  EXPECT_TRUE(scores) << scores.error().Message();
  return MaxAbs(scores->selected_ME - reference.Get("logits"));
}

struct GradientError {
  double worst = 0.0;
  std::string name;
};
GradientError WorstGradient(const Reference& reference, PassOptions options = {}) {
  const Gradients run = RunPass(reference.config, reference.parameters, reference.batch, reference.extra_ids, reference.Get("dlog_probs"),
                                reference.Get("dselected"), options);
  GradientError error;
  for (const std::string& name : run.gradients.Names()) {
    const double relative = RelativeError(run.gradients.Get(name), reference.Get("grad." + name));
    if (!(relative <= error.worst)) error = {relative, name};
  }
  return error;
}

class FamilyParity : public ::testing::TestWithParam<const char*> {};

TEST_P(FamilyParity, LogitsAndLogProbsEqualHuggingFace) {
  const Reference reference = Load(GetParam());
  EXPECT_LE(LogitError(reference), kLogitTolerance);
  auto scores = ScoreTokens(reference.config, reference.parameters, {DType::kFp32, false}, reference.batch, reference.extra_ids);
  ASSERT_TRUE(scores);
  EXPECT_LE(MaxAbs(scores->log_probs_M - reference.Get("log_probs")), kLogitTolerance);
  const at::Tensor loss =
      (scores->log_probs_M * reference.Get("dlog_probs")).sum() + (scores->selected_ME * reference.Get("dselected")).sum();
  EXPECT_NEAR(loss.item<double>(), reference.Get("loss").item<double>(), 1e-4 * std::abs(loss.item<double>()) + 1e-4);
}

TEST_P(FamilyParity, EveryGradientEqualsHuggingFace) {
  const Reference reference = Load(GetParam());
  const GradientError error = WorstGradient(reference);
  EXPECT_LE(error.worst, kGradientTolerance) << error.name;
  EXPECT_EQ(reference.file->tensors().size(), reference.parameters.Names().size() + 5) << "a gradient for every parameter";
}

TEST_P(FamilyParity, RecomputedBlocksGiveTheSameGradients) {
  const GradientError error = WorstGradient(Load(GetParam()), {.recompute = true, .keep_for_backward = true});
  EXPECT_LE(error.worst, kGradientTolerance) << error.name;
}

TEST_P(FamilyParity, AnotherRopeThetaIsNoticed) {
  Reference reference = Load(GetParam());
  reference.config.rope_theta *= 1.5;
  EXPECT_GT(LogitError(reference), 10 * kLogitTolerance);
  EXPECT_GT(WorstGradient(reference).worst, 10 * kGradientTolerance);
}

TEST_P(FamilyParity, OnePerturbedWeightIsNoticed) {
  Reference reference = Load(GetParam());
  reference.parameters.Get("model.layers.1.mlp.up_proj.weight").mutable_data_ptr<float>()[5] += 0.05f;
  EXPECT_GT(LogitError(reference), 2 * kLogitTolerance);
  EXPECT_GT(WorstGradient(reference).worst, 2 * kGradientTolerance);
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyParity, ::testing::Values("llama", "llama_scaled", "qwen2", "qwen3"));

}  // namespace
}  // namespace candor
