// The matrix unit's products against exact sums, on whole and ragged sizes, and a whole decoder packed for it against the plain one.
#include "model/packed_linear.h"

#include "model/large_pages.h"
#include "tests/unit/model/tiny_model.h"

namespace candor {
namespace {

Linear Packed(int64_t columns, int64_t k, bool bias, bool gate_up) {
  Linear linear{TestTensor({columns, k}, 1, at::kBFloat16), bias ? TestTensor({columns}, 2, at::kBFloat16) : at::Tensor(), {}};
  PackTiles(linear, gate_up, LargePages(TileElements(linear)));
  return linear;
}

at::Tensor Exact(const Linear& linear, const at::Tensor& x) {
  at::Tensor y = at::mm(x.to(at::kDouble), linear.weight_OI.to(at::kDouble).t());
  return linear.bias_O.defined() ? y + linear.bias_O.to(at::kDouble) : y;
}

TEST(PackedLinear, ProductsEqualExactSums) {
  if (!GetTileKernels()) GTEST_SKIP() << "this processor has no matrix unit";
  for (const int64_t columns : {32, 70, 96}) {
    for (const bool bias : {false, true}) {
      const Linear linear = Packed(columns, 64, bias, false);
      for (const int64_t rows : {0, 1, 15, 16, 17, 32, 33, 64, 130}) {
        const at::Tensor x = TestTensor({rows, 64}, 3, at::kBFloat16), want = Exact(linear, x);
        at::Tensor out = at::full({rows, columns}, -7.0), sum = TestTensor({rows, columns}, 5), before = sum.clone();
        ApplyToFloat(linear, x, out, {DType::kBf16, false});
        EXPECT_LE(RelativeError(out, want), 1e-6) << rows << " x " << columns;
        ApplyAdd(linear, x, sum, {DType::kBf16, false});
        EXPECT_LE(RelativeError(sum - before, want), 1e-5) << rows << " x " << columns;
        EXPECT_LE(RelativeError(Apply(linear, x, {DType::kBf16, false}), want), 4e-3) << rows << " x " << columns;
      }
    }
  }
  // Negative control: another layout of the same numbers is noticed.
  Linear wrong = Packed(64, 64, false, false);
  wrong.tiles = wrong.tiles.flip(0).contiguous();
  const at::Tensor x = TestTensor({4, 64}, 3, at::kBFloat16);
  EXPECT_GT(RelativeError(Apply(wrong, x, {DType::kBf16, false}), Exact(wrong, x)), 0.1);
}

TEST(PackedLinear, GateAndUpInOneProduct) {
  if (!GetTileKernels()) GTEST_SKIP() << "this processor has no matrix unit";
  const Linear linear = Packed(192, 64, false, true);
  for (const int64_t rows : {1, 16, 40}) {
    const at::Tensor x = TestTensor({rows, 64}, 3, at::kBFloat16) * 0.3, both = Exact(linear, x);
    const at::Tensor gate = both.narrow(1, 0, 96), up = both.narrow(1, 96, 96);
    at::Tensor kept;
    const at::Tensor out = ApplySwiGlu(linear, x, &kept);
    EXPECT_LE(RelativeError(out, gate * at::sigmoid(gate) * up), 8e-3) << rows;
    EXPECT_LE(RelativeError(kept, both), 4e-3) << rows;
    EXPECT_TRUE(at::equal(ApplySwiGlu(linear, x), out));
  }
}

TEST(LargePages, RoomIsGivenAgain) {
  const int64_t elements = 20 << 20;  // 40 MiB: more than malloc keeps
  const void* first = Room(elements).data_ptr();
  at::Tensor again = Room(elements - 1000);
  EXPECT_EQ(again.data_ptr(), first);
  const at::Tensor other = Room(elements);
  EXPECT_NE(other.data_ptr(), first);
  again.fill_(1);
  EXPECT_EQ(at::sum(LargePages(elements)).item<float>(), 0.0f);  // this memory is always new
}

TEST(PackedLinear, ADecoderPackedForTheUnitFollowsThePlainOne) {
  if (!GetTileKernels()) GTEST_SKIP() << "this processor has no matrix unit";
  at::NoGradGuard no_grad;
  for (const Family family : {Family::kLlama, Family::kQwen2, Family::kQwen3}) {
    ModelConfig config = TinyConfig(family);
    config.hidden_size = 64, config.intermediate_size = 96, config.num_heads = 4;
    const Numerics numerics{DType::kBf16, false};
    const Parameters parameters = RandomParameters(config, 8, at::kBFloat16, 0.1);
    const auto logits = [&](const DecoderWeights& weights) {
      const PackedGroups batch = TestBatch(config.vocab_size);
      RopeTable rope(config);
      at::Tensor x = Embed(weights.embedding_VD, batch.ids_N);
      const Attend attend = [&](int64_t, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
        return PackedAttention(q, k, v, batch, nullptr);
      };
      for (const BlockWeights& block : weights.blocks_L) x = Block(config, block, x, rope, batch.positions_N, attend, numerics);
      return Logits(weights.head, FinalNorm(config, weights.final_norm_D, x), numerics);
    };
    const DecoderWeights plain = BindDecoder(config, parameters, numerics), packed = BindDecoder(config, parameters, numerics, 64);
    EXPECT_TRUE(packed.blocks_L[1].gate_up.gate_up_tiles && packed.head.tiles.defined());
    EXPECT_LE(RelativeError(logits(packed), logits(plain)), 0.01) << Name(family);
  }
}

}  // namespace
}  // namespace candor
