#include "cli/memory_estimate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "core/fs.h"

namespace candor::cli {
namespace {

using ::testing::HasSubstr;

// SmolLM2-135M's shape; the main job's sizes.
ModelShape Smol() { return {134.5e6, 576, 1536, 30, 9, 3, 64, 49152}; }
Recipe Cities() {
  Recipe recipe;
  recipe.trainer.ranks = 2, recipe.trainer.sharding = "zero2", recipe.trainer.ema_decay = 0.9, recipe.trainer.tokens_per_microbatch = 2048;
  recipe.rollout.workers = 1, recipe.reward.workers = 1;
  recipe.run.dtype = "bf16";
  return recipe;
}

TEST(MemoryEstimate, CountsWhatARankHolds) {
  const TrainerMemory t = EstimateMemory(Cities(), Smol()).trainer;
  EXPECT_NEAR(t.weights, 269e6, 1e6);
  EXPECT_NEAR(t.optimizer, 16 * 134.5e6 / 2, 1e6) << "master, two moments and the average, split over two ranks";
  EXPECT_EQ(t.checkpoint, t.optimizer);
  EXPECT_NEAR(t.gradients, 4 * 134.5e6 / 2 + 4 * 49152.0 * 576, 1e6) << "a slice, and the embedding's whole";
  EXPECT_EQ(t.reference, 0);
  // Per token and layer, in bytes: 4608 residual, 2304 norms, 3072 attention, 9216 MLP, 44 statistics.
  EXPECT_NEAR(t.activations, 2048.0 * (30 * 19244.0 + 6 * 3072 + 4608) + (64 << 20) + 2048 * 2 * 49152.0 + 2 * 2 * 49152.0 * 576, 1e6);
}

TEST(MemoryEstimate, FollowsTheRecipe) {
  const MemoryEstimate before = EstimateMemory(Cities(), Smol());
  Recipe recipe = Cities();
  recipe.trainer.recompute = true;
  EXPECT_LT(EstimateMemory(recipe, Smol()).trainer.activations, before.trainer.activations / 2.5);
  recipe = Cities(), recipe.trainer.sharding = "none";
  EXPECT_NEAR(EstimateMemory(recipe, Smol()).trainer.optimizer, 2 * before.trainer.optimizer, 1);
  recipe = Cities(), recipe.trainer.sharding = "zero3";
  EXPECT_NEAR(EstimateMemory(recipe, Smol()).trainer.weights, before.trainer.weights / 2, 1);
  recipe = Cities(), recipe.trainer.correction.kl_weight = 0.1;
  EXPECT_EQ(EstimateMemory(recipe, Smol()).trainer.reference, before.trainer.weights);
  recipe = Cities(), recipe.run.dtype = "fp32";
  EXPECT_NEAR(EstimateMemory(recipe, Smol()).rollout.weights, 2 * before.rollout.weights, 1);
}

TEST(MemoryEstimate, AutoIsWhatTheMachineComputesIn) {
  const std::string path = testing::TempDir() + "/cpuinfo";
  ASSERT_TRUE(WriteFileAtomic(path, "processor : 0\nflags : fpu avx2 avx512f avx512_bf16 fma\n"));
  EXPECT_TRUE(MultipliesBf16(path));
  ASSERT_TRUE(WriteFileAtomic(path, "processor : 0\nflags : fpu avx2 avx512f fma\n"));
  EXPECT_FALSE(MultipliesBf16(path));
  EXPECT_FALSE(MultipliesBf16(path + ".missing"));
  Recipe automatic = Cities(), stated = Cities();
  automatic.run.dtype = "auto", automatic.run.device = "cpu";
  stated.run.dtype = MultipliesBf16("/proc/cpuinfo") ? "bf16" : "fp32";
  EXPECT_EQ(EstimateMemory(automatic, Smol()).on_one_machine, EstimateMemory(stated, Smol()).on_one_machine);
  automatic.run.device = "cuda", stated.run.dtype = "bf16";
  EXPECT_EQ(EstimateMemory(automatic, Smol()).on_one_machine, EstimateMemory(stated, Smol()).on_one_machine);
}

TEST(MemoryEstimate, WarnsOnAMachineThatIsTooSmall) {
  const std::string folder = testing::TempDir() + "/memory_estimate_model";
  std::filesystem::create_directories(folder);
  Recipe recipe = Cities();
  recipe.run.model = folder;
  EXPECT_EQ(MemoryWarning(recipe, 1.0), "") << "no model yet: nothing to say";
  ASSERT_TRUE(WriteFileAtomic(folder + "/config.json", R"({"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "torch_dtype": "bfloat16"})"));
  ASSERT_TRUE(WriteFileAtomic(folder + "/model.safetensors", std::string(1000, 'x')));
  const auto shape = ReadModelShape(folder);
  ASSERT_TRUE(shape) << shape.error().Message();
  EXPECT_EQ(shape->parameters, 500);
  std::filesystem::create_symlink("nowhere", folder + "/lost.safetensors");  // once ended the process with an exception
  EXPECT_EQ(ReadModelShape(folder)->parameters, 500);
  EXPECT_EQ(shape->head_dim, 64);
  EXPECT_THAT(MemoryWarning(recipe, 1e9),
              HasSubstr("1.0 GB are free here: lower trainer.tokens_per_microbatch (2048), set trainer.recompute"));
  EXPECT_EQ(MemoryWarning(recipe, 1e12), "");
  EXPECT_EQ(MemoryWarning(recipe, std::nullopt), "");
  const auto here = AvailableMemory();
  ASSERT_TRUE(here);
  EXPECT_GT(*here, 1e8);
  ASSERT_TRUE(WriteFileAtomic(folder + "/config.json", "[]"));
  EXPECT_FALSE(ReadModelShape(folder));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace candor::cli
