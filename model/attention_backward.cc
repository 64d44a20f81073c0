// Backward of packed attention: one task per (some groups, kv head) owns the gradients of that head's keys and values, so nothing is added
// by two threads and the order of sums is fixed. Of the common beginning each task has gradients of its own, which are added at the end.
#include <cmath>
#include <initializer_list>
#include <span>

#include "core/check.h"
#include "model/attention.h"
#include "model/kernels/kernels.h"
#include "model/parallel.h"
#include "model/portable/attention.h"

namespace candor {
namespace {

const TypedKernels& KernelsOf(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16 ? GetKernels().bf16 : GetKernels().fp32; }

// Keys and values of one kv head over one range of rows, in blocks of 16 (zero padded), with room for their gradients.
struct HeadKeys {
  RowRange range;
  std::vector<float> keys_Bdt, values_Bdt, keys_Btd, dkeys_Btd, dvalues_Btd;
};

struct Inputs {
  const at::Tensor& dout_NHd;
  const at::Tensor& q_NHd;
  const at::Tensor& k_NKd;
  const at::Tensor& v_NKd;
  const at::Tensor& out_NHd;
  const float* log_sum_exp_NH;
  int64_t heads, kv_heads, head_dim, group;
  float scale;
  AttentionGradients* gradients;
};

const void* RowOf(const at::Tensor& x, int64_t row, int64_t head) {
  return static_cast<const char*>(x.const_data_ptr()) + (row * x.size(1) + head) * x.size(2) * x.element_size();
}

HeadKeys LoadHeadKeys(const Inputs& in, RowRange range, int64_t kv_head) {
  HeadKeys head{range, {}, {}, {}, {}, {}};
  const int64_t d = in.head_dim;
  const auto size = static_cast<size_t>((range.size() + kBlockTokens - 1) / kBlockTokens * kBlockTokens * d);
  for (auto* v : {&head.keys_Bdt, &head.values_Bdt, &head.keys_Btd, &head.dkeys_Btd, &head.dvalues_Btd}) v->assign(size, 0.0f);
  const TypedKernels& kernels = KernelsOf(in.k_NKd);
  float value[256];
  for (int64_t i = 0; i < range.size(); ++i) {
    float* key = head.keys_Btd.data() + i * d;
    kernels.to_float(RowOf(in.k_NKd, range.begin + i, kv_head), key, d, 1.0f);
    kernels.to_float(RowOf(in.v_NKd, range.begin + i, kv_head), value, d, 1.0f);
    const int64_t base = i / kBlockTokens * kBlockTokens * d + i % kBlockTokens;
    for (int64_t j = 0; j < d; ++j) {
      head.keys_Bdt[static_cast<size_t>(base + j * kBlockTokens)] = key[j];
      head.values_Bdt[static_cast<size_t>(base + j * kBlockTokens)] = value[j];
    }
  }
  return head;
}

void StoreHeadGradients(const Inputs& in, const HeadKeys& head, int64_t kv_head) {
  const int64_t d = in.head_dim;
  for (int64_t i = 0; i < head.range.size(); ++i) {
    const int64_t to = ((head.range.begin + i) * in.kv_heads + kv_head) * d;
    std::copy_n(head.dkeys_Btd.data() + i * d, d, in.gradients->dk_NKd.mutable_data_ptr<float>() + to);
    std::copy_n(head.dvalues_Btd.data() + i * d, d, in.gradients->dv_NKd.mutable_data_ptr<float>() + to);
  }
}

struct Tile {
  alignas(64) float q[kAttentionTileRows * 256], dout[kAttentionTileRows * 256], out[kAttentionTileRows * 256],
      dq[kAttentionTileRows * 256];
  float log_sum_exp[kAttentionTileRows], delta[kAttentionTileRows];
  int64_t seen[kAttentionTileRows];
};

void LoadTile(const Inputs& in, int64_t row_begin, int64_t rows, int64_t head_begin, int64_t heads, Tile& tile) {
  const int64_t d = in.head_dim, width = heads * d;
  const TypedKernels& kernels = KernelsOf(in.q_NHd);
  for (int64_t row = 0; row < rows; ++row) {
    kernels.to_float(RowOf(in.q_NHd, row_begin + row, head_begin), tile.q + row * width, width, in.scale);
    kernels.to_float(RowOf(in.dout_NHd, row_begin + row, head_begin), tile.dout + row * width, width, 1.0f);
    kernels.to_float(RowOf(in.out_NHd, row_begin + row, head_begin), tile.out + row * width, width, 1.0f);
    std::copy_n(in.log_sum_exp_NH + (row_begin + row) * in.heads + head_begin, heads, tile.log_sum_exp + row * heads);
  }
  std::fill_n(tile.dq, rows * width, 0.0f);
  for (int64_t r = 0; r < rows * heads; ++r) {
    float delta = 0.0f;
    for (int64_t i = 0; i < d; ++i) delta += tile.dout[r * d + i] * tile.out[r * d + i];
    tile.delta[r] = delta;
  }
}

void RunTile(const Inputs& in, int64_t rows, int64_t heads, Tile& tile, HeadKeys& keys, bool causal, int64_t first_own) {
  int64_t longest = 0;
  for (int64_t r = 0; r < rows * heads; ++r) {
    tile.seen[r] = causal ? first_own + r / heads + 1 : keys.range.size();
    longest = std::max(longest, tile.seen[r]);
  }
  if (longest == 0) return;
  GetKernels().attention_backward({tile.q, tile.dout, tile.log_sum_exp, tile.delta, tile.seen, rows * heads, in.head_dim, longest,
                                   keys.keys_Bdt.data(), keys.values_Bdt.data(), keys.keys_Btd.data(), tile.dq, keys.dkeys_Btd.data(),
                                   keys.dvalues_Btd.data()});
}

// All queries of `own` (the common beginning, a prompt or an answer) that read this kv head; `contexts` are what they see whole.
void RunSegment(const Inputs& in, int64_t kv_head, HeadKeys& own, std::initializer_list<HeadKeys*> contexts) {
  Tile tile;
  const int64_t heads_per_tile = std::min<int64_t>(in.group, kAttentionTileRows), rows_per_tile = kAttentionTileRows / heads_per_tile;
  for (int64_t head = 0; head < in.group; head += heads_per_tile) {
    const int64_t heads = std::min(heads_per_tile, in.group - head), head_begin = kv_head * in.group + head;
    for (int64_t row = 0; row < own.range.size(); row += rows_per_tile) {
      const int64_t rows = std::min(rows_per_tile, own.range.size() - row);
      LoadTile(in, own.range.begin + row, rows, head_begin, heads, tile);
      for (HeadKeys* context : contexts) RunTile(in, rows, heads, tile, *context, false, 0);
      RunTile(in, rows, heads, tile, own, true, row);
      for (int64_t r = 0; r < rows; ++r) {
        float* to = in.gradients->dq_NHd.mutable_data_ptr<float>() + ((own.range.begin + row + r) * in.heads + head_begin) * in.head_dim;
        for (int64_t i = 0; i < heads * in.head_dim; ++i) to[i] = tile.dq[r * heads * in.head_dim + i] * in.scale;
      }
    }
  }
}

void RunGroup(const Inputs& in, const PackedGroup& group, int64_t kv_head, HeadKeys& common) {
  HeadKeys prompt = LoadHeadKeys(in, group.prompt, kv_head);
  RunSegment(in, kv_head, prompt, {&common});
  for (const RowRange& range : group.answers) {
    if (range.size() == 0) continue;
    HeadKeys answer = LoadHeadKeys(in, range, kv_head);
    RunSegment(in, kv_head, answer, {&common, &prompt});
    StoreHeadGradients(in, answer, kv_head);
  }
  StoreHeadGradients(in, prompt, kv_head);
}

// Tasks per kv head when there is a common beginning: enough to spread over threads, few enough that its gradients need little room. The
// same on every machine, for the order of sums.
constexpr int64_t kPartsWithCommon = 8;

// Part `part` of `parts` of the groups; the last one also runs the common beginning's own queries. Leaves the part's gradients of it.
HeadKeys RunPart(const Inputs& in, const PackedGroups& batch, int64_t part, int64_t parts, int64_t kv_head) {
  HeadKeys common = LoadHeadKeys(in, batch.common, kv_head);
  const auto groups = static_cast<int64_t>(batch.groups.size());
  for (int64_t g = part * groups / parts; g < (part + 1) * groups / parts; ++g)
    RunGroup(in, batch.groups[static_cast<size_t>(g)], kv_head, common);
  if (part + 1 == parts) RunSegment(in, kv_head, common, {});
  for (auto* keys : {&common.keys_Bdt, &common.values_Bdt, &common.keys_Btd}) *keys = {};
  return common;
}

void StoreSum(const Inputs& in, std::span<HeadKeys> parts, int64_t kv_head) {
  HeadKeys& sum = parts.front();
  for (const HeadKeys& part : parts.subspan(1)) {
    for (size_t i = 0; i < sum.dkeys_Btd.size(); ++i) sum.dkeys_Btd[i] += part.dkeys_Btd[i];
    for (size_t i = 0; i < sum.dvalues_Btd.size(); ++i) sum.dvalues_Btd[i] += part.dvalues_Btd[i];
  }
  StoreHeadGradients(in, sum, kv_head);
}

}  // namespace

AttentionGradients PackedAttentionBackward(const at::Tensor& dout_NHd, const at::Tensor& q_NHd, const at::Tensor& k_NKd,
                                           const at::Tensor& v_NKd, const at::Tensor& out_NHd, const PackedGroups& batch,
                                           const AttentionSaved& saved) {
  CANDOR_CHECK(dout_NHd.is_contiguous() && q_NHd.is_contiguous() && k_NKd.is_contiguous() && v_NKd.is_contiguous() &&
               out_NHd.is_contiguous());
  if (!q_NHd.is_cpu())
    return portable::PackedAttentionBackward(dout_NHd, q_NHd, k_NKd, v_NKd, out_NHd, portable::PlanOf(batch, q_NHd.device()), saved);
  const auto fp32 = q_NHd.options().dtype(at::kFloat);
  AttentionGradients gradients{at::empty(q_NHd.sizes(), fp32), at::empty(k_NKd.sizes(), fp32), at::empty(v_NKd.sizes(), fp32)};
  const int64_t heads = q_NHd.size(1), kv_heads = k_NKd.size(1), head_dim = q_NHd.size(2);
  const Inputs in{dout_NHd,
                  q_NHd,
                  k_NKd,
                  v_NKd,
                  out_NHd,
                  saved.log_sum_exp_NH.const_data_ptr<float>(),
                  heads,
                  kv_heads,
                  head_dim,
                  heads / kv_heads,
                  1.0f / std::sqrt(static_cast<float>(head_dim)),
                  &gradients};
  const auto groups = static_cast<int64_t>(batch.groups.size());
  const int64_t parts = batch.common.size() > 0 ? std::min(groups, kPartsWithCommon) : groups;
  std::vector<HeadKeys> commons_KP(static_cast<size_t>(kv_heads * parts));
  at::parallel_for(0, kv_heads * parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) commons_KP[static_cast<size_t>(i)] = RunPart(in, batch, i % parts, parts, i / parts);
  });
  if (batch.common.size() > 0)
    for (int64_t head = 0; head < kv_heads; ++head)
      StoreSum(in, std::span(commons_KP).subspan(static_cast<size_t>(head * parts), static_cast<size_t>(parts)), head);
  return gradients;
}

}  // namespace candor
